"""Token classification: a program gives the classes of every token as PEFT's own model does."""

import json
import shutil

import pytest
import torch
from command_line import succeeds
from conftest import FLOAT32
from encoders import (
    ENCODER_ID,
    bert_config,
    save_base,
    save_lora,
    save_tagger,
    tagger,
    tiny_bert,
)
from encoders import TAGS as CLASSES
from families import sequence, tiny
from peft import PeftModel
from test_kinds import quantised_eager
from transformers import AutoModelForTokenClassification, BertForTokenClassification
from unlowered import Unlowered

from hydraopt.adapters import read_adapters
from hydraopt.bundles import add_task
from hydraopt.errors import AdapterError, BundleError, LoweringError
from hydraopt.evaluation.program import evaluate
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.settings import ExportSettings
from hydraopt.lowering.static import static_merged
from hydraopt.merging.private import private
from hydraopt.packing import Coder, code_verbatim
from hydraopt.runtime import Session, verify

TARGETS = ["query", "value"]
TEXTS = ("Ada met Grace", "a", "a text of 32 tokens, as many as")


def logits(model, ids) -> torch.Tensor:
    """Of every token of one text, by PEFT: ``[S, classes]``."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0]


@pytest.fixture(scope="module")
def root(taggers):
    return taggers


@pytest.fixture(scope="module")
def models(root) -> dict[str, PeftModel]:
    return {
        task: PeftModel.from_pretrained(tagger(classes), root / task).eval()
        for task, classes in CLASSES.items()
    }


@pytest.fixture(scope="module")
def adapters(root, models):
    return read_adapters([root / task for task in models])


@pytest.fixture(scope="module")
def bundle(root):
    return root / "bundle"


def session_of(bundle, task) -> Session:
    session = Session.open(bundle)
    session.switch(task)
    return session


@pytest.mark.slow
def test_a_program_gives_the_logits_of_every_token_for_every_task(bundle, models):
    session = Session.open(bundle)
    assert session.manifest.model.per_token
    assert session.manifest.classes == CLASSES
    for task in ("names", "places", "names"):
        session.switch(task)
        for text in TEXTS:
            found, ids = session.run(text), session.encode(text)
            assert (found.dtype, found.shape) == (torch.float32, (len(ids), CLASSES[task]))
            torch.testing.assert_close(found, logits(models[task], ids), atol=1e-4, rtol=0)
    assert verify(bundle)["tasks"] == 2


@pytest.mark.slow
def test_the_command_line_prints_them_and_says_what_they_are(bundle, models):
    wanted = logits(models["places"], [5, 17, 99]).tolist()
    arguments = ("run", bundle, "--task", "places", "--ids", "5,17,99")
    assert json.loads(succeeds(*arguments)) == [pytest.approx(row, abs=1e-4) for row in wanted]
    record = json.loads(succeeds(*arguments, "--json"))
    assert record["output"] == [pytest.approx(row, abs=1e-4) for row in wanted]
    about = json.loads(succeeds("info", bundle, "--json"))
    assert (about["kind"], about["per_token"], about["pooling"]) == ("encoder", True, None)


@pytest.mark.slow
def test_a_quantised_program_is_near_the_one_that_pytorch_quantises(root, adapters, tmp_path):
    merged = Coder.from_adapters(adapters).code(adapters.fp16_bytes // 2)
    base = str(root / "base")
    export_bundle(merged, base, tmp_path / "q", ExportSettings(quantize="8da4w"))
    for task, classes in CLASSES.items():
        session = session_of(tmp_path / "q", task)
        ids = session.encode(TEXTS[0])
        inputs = torch.tensor([ids]), torch.ones(1, len(ids)).long()
        wanted = quantised_eager(base, merged, task, *inputs)[:, :classes]
        assert (session.run(ids) - wanted).norm() < 0.03 * wanted.norm()


@pytest.mark.parametrize(
    ("kind", "task"), [*(("methods", x) for x in CLASSES), ("static", "places")]
)
def test_one_method_per_task_and_one_model_for_all(root, models, adapters, kind, task):
    if kind == "methods":
        found = Unlowered(private(adapters), root / "base", swap="methods")
    else:
        alone = private(read_adapters([root / task]))
        found = Unlowered(static_merged(alone), root / "base")
    found.switch(task)
    ids = list(TEXTS[0].encode())
    torch.testing.assert_close(found.run(ids), logits(models[task], ids), atol=1e-4, rtol=0)
    assert found.plan.base.about == {"per_token": True}


def test_a_base_that_classifies_tokens_itself_needs_no_heads(tmp_path):
    save_base(tagger(4), tmp_path / "base")
    settings = {"target_modules": TARGETS}  # as they are trained without a task type
    model = save_lora(tmp_path / "one", tagger(4), ENCODER_ID, 0, **settings)
    model.base_model.model.classifier.load_state_dict(
        BertForTokenClassification.from_pretrained(tmp_path / "base").classifier.state_dict()
    )
    merged = private(read_adapters([tmp_path / "one"]))
    found = Unlowered(merged, tmp_path / "base")
    found.switch("one")
    ids = list(TEXTS[0].encode())
    assert (found.plan.base.about, found.plan.classes) == ({"per_token": True}, {})
    torch.testing.assert_close(found.run(ids), logits(model, ids), atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_bundle_takes_further_tasks_of_its_own_task_type_only(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "copy")
    model = save_tagger(tmp_path / "dates", 2, 7)
    add_task(tmp_path / "copy", str(tmp_path / "dates"), "dates")
    session = session_of(tmp_path / "copy", "dates")
    torch.testing.assert_close(session.run([5, 17]), logits(model, [5, 17]), atol=1e-3, rtol=0)
    assert Manifest.read(tmp_path / "copy").classes == CLASSES | {"dates": 2}
    config = tmp_path / "dates" / "adapter_config.json"
    config.write_text(config.read_text().replace("TOKEN_CLS", "SEQ_CLS"))
    with pytest.raises(AdapterError, match="SEQ_CLS, but the bundle gives classes of every token"):
        add_task(tmp_path / "copy", str(tmp_path / "dates"), "whole")


@pytest.mark.parametrize("kind", ["merged", "coded"])
def test_what_unmerge_writes_is_a_token_classifier_to_peft(models, adapters, tmp_path, kind):
    merged = private(adapters) if kind == "merged" else code_verbatim(private(adapters))
    for task, classes in CLASSES.items():
        merged.to_peft(task, tmp_path / task)
        again = PeftModel.from_pretrained(tagger(classes), tmp_path / task).eval()
        assert again.peft_config["default"].task_type == "TOKEN_CLS"
        ids = [5, 17, 99]
        torch.testing.assert_close(logits(again, ids), logits(models[task], ids), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("saved", "task_type", "heads", "found"),
    [
        ("ForTokenClassification", None, False, "BertForTokenClassification"),
        ("ForTokenClassification", None, True, "BertForTokenClassification"),
        ("ForTokenClassification", "FEATURE_EXTRACTION", False, "BertModel"),
        ("ForSequenceClassification", None, False, "BertForSequenceClassification"),
        ("ForSequenceClassification", "TOKEN_CLS", True, "BertForTokenClassification"),
        ("Model", None, True, "BertForSequenceClassification"),
        ("Model", "TOKEN_CLS", True, "BertForTokenClassification"),
        ("Model", None, False, "BertModel"),
    ],
)
def test_the_task_type_tells_what_a_base_is_loaded_as_or_else_what_it_was_saved_as(
    tmp_path, saved, task_type, heads, found
):
    import transformers

    save_base(getattr(transformers, f"Bert{saved}")(bert_config()), tmp_path / "base")
    if saved == "ForTokenClassification" and not heads and task_type is None:
        assert load_base(str(tmp_path / "base"), "", None).about == {"per_token": True}
    loaded = load_base(str(tmp_path / "base"), "", task_type, heads=heads)
    assert type(loaded.model).__name__ == found


def test_a_language_model_classifies_tokens_by_its_score(tmp_path):
    """Adapters of ``….ForTokenClassification`` on a decoder: causal masks, a head named score."""
    save_base(tiny("llama", num_hidden_layers=2), tmp_path / "base")
    model = AutoModelForTokenClassification.from_pretrained(tmp_path / "base", num_labels=3)
    settings = {"task_type": "TOKEN_CLS", "target_modules": ["q_proj", "v_proj"]}
    model = save_lora(tmp_path / "one", model, "tests/tiny-llama", 0, **settings)
    coded = code_verbatim(private(read_adapters([tmp_path / "one"])))
    assert "score.task_head" in coded.layout.modules
    found = Unlowered(coded, tmp_path / "base")
    found.switch("one")
    ids = sequence(16).tolist()
    torch.testing.assert_close(found.run(ids), logits(model, ids), atol=1e-4, rtol=0)


def test_a_base_without_a_classifier_is_refused_where_tasks_have_none(root, tmp_path):
    save_lora(tmp_path / "none", tiny_bert(), ENCODER_ID, 0, target_modules=TARGETS)
    config = tmp_path / "none" / "adapter_config.json"
    config.write_text(config.read_text().replace('"task_type": null', '"task_type": "TOKEN_CLS"'))
    merged = private(read_adapters([tmp_path / "none"]))
    with pytest.raises(LoweringError, match=r"lacks 2 weights .*first: classifier\.bias"):
        export_bundle(merged, str(root / "base"), tmp_path / "out", FLOAT32)


@pytest.mark.slow
def test_classes_of_every_token_are_not_evaluated(bundle, tmp_path):
    data = tmp_path / "data.jsonl"
    task = Session.open(bundle).tasks[0]
    data.write_text(json.dumps({"task": task, "prompt": "a", "answer": "0"}))
    with pytest.raises(BundleError, match="gives classes of every token"):
        evaluate(bundle, data)
