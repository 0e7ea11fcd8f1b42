"""Heads: a task's own classifier goes through merging, packs and programs as it is."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from command_line import fails, succeeds
from conftest import FLOAT32
from encoders import (
    ENCODER_ID,
    bert_config,
    classifier,
    save_base,
    save_classifier,
    save_lora,
)
from encoders import HEADS as CLASSES
from peft import PeftModel
from safetensors.torch import load_file, save_file
from sealed_files import reseal
from transformers import BertForMaskedLM
from unlowered import Unlowered

from hydraopt.adapters import read_adapter, read_adapters
from hydraopt.bundles import add_task, remove_task
from hydraopt.errors import AdapterError, BundleError, LoweringError, TaskError
from hydraopt.factors import classes_of
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.static import static_merged
from hydraopt.merging import METHODS, merge_with
from hydraopt.merging.hydraopt import hydraopt
from hydraopt.merging.private import private
from hydraopt.packing import Coder, code_verbatim, open_stored
from hydraopt.runtime import Session, verify

TARGETS = ["query", "pooler.dense"]
WEIGHTS = "adapter_model.safetensors"
IDS = [5, 17, 99, 200, 3]


def logits(model) -> torch.Tensor:
    """Of one text, by PEFT."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([IDS])).logits[0]


@pytest.fixture(scope="module")
def root(classifiers):
    return classifiers


@pytest.fixture(scope="module")
def models(root) -> dict[str, PeftModel]:
    """The PEFT models of three tasks, of different numbers of classes."""
    return {
        task: PeftModel.from_pretrained(classifier(classes), root / task).eval()
        for task, classes in CLASSES.items()
    }


@pytest.fixture(scope="module")
def adapters(root, models):
    return read_adapters([root / task for task in models])


@pytest.fixture(scope="module")
def bundle(root):
    return root / "bundle"


def run(bundle, task, given=IDS):
    session = Session.open(bundle)
    session.switch(task)
    return session.run(given)


def test_a_head_is_read_as_peft_has_it(adapters, models):
    for adapter in adapters.adapters:
        wanted = models[adapter.name].base_model.model.classifier.modules_to_save["default"]
        head = adapter.heads["classifier.task_head"]
        assert torch.equal(head.a, wanted.weight)
        assert torch.equal(head.b[0], wanted.bias)
        assert classes_of(head) == CLASSES[adapter.name]


def test_heads_count_as_bytes_of_the_adapters(adapters):
    modules = sum(f.a.numel() + f.b.numel() for x in adapters.adapters for f in x.factors.values())
    heads = sum(classes * (64 + 1) for classes in CLASSES.values())
    assert adapters.fp16_bytes == 2 * (modules + heads)


@pytest.mark.parametrize("method", [n for n, m in METHODS.items() if m.needs == "nothing"])
def test_no_method_merges_heads(adapters, method):
    merged = merge_with(method, adapters)
    for adapter in adapters.adapters:
        wanted = adapter.heads["classifier.task_head"]
        found = merged.task_factors(adapter.name)["classifier.task_head"]
        assert torch.equal(found.a[: len(wanted.a)], wanted.a)
        assert not found.a[len(wanted.a) :].any()


def coded(adapters, kind):
    if kind == "budget":
        return Coder.from_adapters(adapters).code(adapters.fp16_bytes // 2)
    merged = private(adapters) if kind == "private" else hydraopt(adapters, clusters=2)
    return merged if kind == "private" else code_verbatim(merged)


@pytest.mark.parametrize("kind", ["private", "verbatim", "budget"])
def test_heads_survive_packs_and_come_back_to_peft(adapters, tmp_path, kind):
    coded(adapters, kind).save(tmp_path / "merged")
    merged = open_stored(tmp_path / "merged")
    for adapter in adapters.adapters:
        merged.to_peft(adapter.name, tmp_path / adapter.name)
        again = read_adapter(tmp_path / adapter.name)
        assert again.task_type == "SEQ_CLS"
        wanted, found = (x.heads["classifier.task_head"] for x in (adapter, again))
        assert found.a.shape == wanted.a.shape
        torch.testing.assert_close(found.a, wanted.a, atol=2e-4, rtol=0)
        torch.testing.assert_close(found.b, wanted.b, atol=2e-4, rtol=0)


def test_peft_computes_with_what_unmerge_writes(models, adapters, tmp_path):
    for task, model in models.items():
        private(adapters).to_peft(task, tmp_path / task)
        again = PeftModel.from_pretrained(classifier(CLASSES[task]), tmp_path / task).eval()
        torch.testing.assert_close(logits(again), logits(model), atol=2e-3, rtol=0)


def test_a_budget_counts_the_heads(adapters):
    coder = Coder.from_adapters(adapters)
    for limit in (coder.smallest, adapters.fp16_bytes // 2):
        assert 0.9 * limit < coder.code(limit).stored_bytes <= limit


@pytest.mark.slow
def test_a_program_gives_the_logits_of_peft_for_every_task(bundle, models):
    session = Session.open(bundle)
    assert session.manifest.classes == CLASSES
    for task in ("topic", "mood", "tone", "topic"):
        session.switch(task)
        found = session.run(IDS)
        assert found.shape == (CLASSES[task],)
        torch.testing.assert_close(found, logits(models[task]), atol=1e-4, rtol=0)
    assert verify(bundle)["tasks"] == 3


def test_one_method_per_task_and_one_model_for_all_have_heads(root, models, adapters):
    alone = private(read_adapters([root / "mood"]))
    base = root / "base"
    for found, tasks in (
        (Unlowered(private(adapters), base, swap="methods"), CLASSES),
        (Unlowered(static_merged(alone), base), ["mood"]),
    ):
        for task in tasks:
            found.switch(task)
            torch.testing.assert_close(found.run(IDS), logits(models[task]), atol=1e-4, rtol=0)
    with pytest.raises(LoweringError, match="result differ"):
        static_merged(merge_with("average", adapters))


@pytest.mark.slow
def test_tasks_with_heads_are_scaled_but_neither_mixed_nor_left_out(bundle):
    session = Session.open(bundle)
    session.switch("topic", scale=1e-3)
    head = session.factors[-2:]
    session.switch("topic")
    assert all(torch.equal(*pair) for pair in zip(head, session.factors[-2:], strict=True))
    wanted = session.run(IDS)
    for asked, what in ((None, "left out"), ({"topic": 0.5, "mood": 0.5}, "mixed")):
        with pytest.raises(TaskError, match=f"classifiers of their own, which cannot be {what};"):
            session.switch(asked)
    assert session.task == "topic"
    assert torch.equal(session.run(IDS), wanted)


@pytest.mark.slow
def test_a_task_is_added_with_its_head_and_taken_out(copied, tmp_path):
    model = save_classifier(tmp_path / "later", 4, 9)
    add_task(copied, str(tmp_path / "later"), "later")
    torch.testing.assert_close(run(copied, "later"), logits(model), atol=1e-3, rtol=0)
    assert Manifest.read(copied).classes == CLASSES | {"later": 4}
    remove_task(copied, "topic")
    assert Manifest.read(copied).classes == {"mood": 2, "tone": 3, "later": 4}
    assert verify(copied)["tasks"] == 3


@pytest.mark.slow
def test_a_head_that_the_bundle_has_no_place_for_is_refused(copied, tmp_path):
    save_classifier(tmp_path / "large", 6, 9)
    with pytest.raises(AdapterError, match=r"has 6 classes in classifier\.task_head, but"):
        add_task(copied, str(tmp_path / "large"), "large")
    settings = {"target_modules": TARGETS, "task_type": "FEATURE_EXTRACTION"}
    save_lora(tmp_path / "none", classifier(2), ENCODER_ID, 9, **settings)
    with pytest.raises(AdapterError, match=r"has 0 classes in classifier\.task_head"):
        add_task(copied, str(tmp_path / "none"), "none")


@pytest.mark.slow
def test_a_pack_with_another_number_of_classes_is_refused(copied):
    path = copied / "manifest.json"
    reseal(path, classes=json.loads(path.read_text())["classes"] | {"mood": 3})
    session = Session.open(copied)
    session.switch("topic")
    wanted = session.run(IDS)
    with pytest.raises(BundleError, match="'mood' has a head of 2 classes, expected 3"):
        session.switch("mood")
    assert session.task == "topic"
    assert session.run(IDS).equal(wanted)


def changed(directory, target, change):
    """A copy of an adapter with other tensors."""
    shutil.copytree(directory, target)
    tensors = load_file(target / WEIGHTS)
    change(tensors)
    save_file(tensors, target / WEIGHTS)
    return target


WEIGHT, BIAS = (f"base_model.model.classifier.{name}" for name in ("weight", "bias"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(BIAS), r"classifier.weight \[2, 64\]; expected one linear head"),
        (lambda t: t.update({BIAS: torch.zeros(3)}), r"bias \[3\].*expected one linear head"),
        (lambda t: t.update({"score.weight": torch.ones(2)}), "expected one linear head"),
        (lambda t: t[WEIGHT][1].zero_(), r"\[2, 64\], 1 rows of them zero"),
        (lambda t: t[WEIGHT][1].fill_(1e6), "classifier: NaN, infinite weights"),
    ],
)
def test_what_is_no_linear_head_is_refused(root, models, tmp_path, change, message):
    with pytest.raises(AdapterError, match=message):
        read_adapter(changed(root / "mood", tmp_path / "changed", change))


def test_tasks_with_and_without_heads_do_not_belong_together(root, models, tmp_path):
    settings = {"target_modules": TARGETS, "task_type": "FEATURE_EXTRACTION"}
    save_lora(tmp_path / "none", classifier(2), ENCODER_ID, 9, **settings)
    with pytest.raises(
        AdapterError, match=r"'none' has no head, expected classifier\.task_head of 64"
    ):
        read_adapters([root / "mood", tmp_path / "none"])


def test_a_causal_lm_takes_no_heads(adapters, base, tmp_path):
    with pytest.raises(LoweringError, match=r"task_type is SEQ_CLS \(for classes of a whole"):
        export_bundle(private(adapters), str(base), tmp_path / "out", FLOAT32)
    untyped = replace(private(adapters), task_type=None)
    with pytest.raises(LoweringError, match="is a causal_lm, which takes no classifiers"):
        export_bundle(untyped, str(base), tmp_path / "out", FLOAT32)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_run_prints_the_outputs_and_profile_takes_causal_lms_only(bundle, tmp_path):
    arguments = ("run", bundle, "--task", "mood", "--ids", ",".join(map(str, IDS)))
    wanted = run(bundle, "mood").tolist()
    assert json.loads(succeeds(*arguments)) == pytest.approx(wanted)
    record = json.loads(succeeds(*arguments, "--json"))
    assert record == {"task": "mood", "mixture": {"mood": 1.0}, "output": pytest.approx(wanted)}
    assert json.loads(succeeds("info", bundle, "--json"))["kind"] == "encoder"
    for options in (["--chat"], ["--temperature", "0.5"]):
        text = ("run", bundle, "--task", "mood", "--prompt", "a")
        assert f"{options[0]} is for models that generate text" in fails(*text, *options, code=2)
    message = "is of kind encoder, expected causal_lm"
    assert message in fails("profile", bundle, "--serial", "host", "-o", tmp_path / "report")


def test_a_base_without_the_pooler_that_a_classifier_needs_is_refused(adapters, tmp_path):
    model = BertForMaskedLM(bert_config())  # it has no pooler
    save_base(model, tmp_path / "masked")
    message = r"lacks 2 weights of a BertForSequenceClassification \(first: bert.pooler.dense.bias"
    with pytest.raises(LoweringError, match=message):
        export_bundle(private(adapters), str(tmp_path / "masked"), tmp_path / "out", FLOAT32)
