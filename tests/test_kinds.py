"""Kinds of base models: encoders and image models in a program compute what PEFT computes."""

from dataclasses import replace

import pytest
import torch
from conftest import FLOAT32
from encoders import (
    ENCODER_ID,
    IMAGE_ID,
    PREPROCESSOR,
    SHAPE,
    VIEWS,
    save_base,
    save_lora,
    tiny_bert,
    tiny_vit,
    viewer,
)
from peft import PeftModel
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel
from unlowered import Unlowered

from hydraopt.adapters import read_adapters
from hydraopt.errors import BundleError, LoweringError, TaskError
from hydraopt.evaluation.program import evaluate
from hydraopt.factors import is_head
from hydraopt.formats.manifest import Manifest
from hydraopt.formats.models import Encoder, Image, Pooling, Preprocessing
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.bundle import export_bundle
from hydraopt.lowering.factors import slot_factors
from hydraopt.lowering.kinds import kind_of
from hydraopt.lowering.lowered import slotted
from hydraopt.lowering.settings import ExportSettings
from hydraopt.merging.private import private
from hydraopt.runtime import Session, verify

pytestmark = pytest.mark.slow

TARGETS = ["query", "value", "dense"]


def embedding(model, ids):
    """Of one text, by PEFT."""
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([ids])).last_hidden_state
    return F.normalize(hidden.mean(1))[0]


def quantised_eager(base, coded, task, *inputs):
    """What PyTorch makes of the module that is exported, with 8da4w layers in it."""
    heads = any(map(is_head, coded.layout.modules))
    loaded = load_base(base, coded.base_model, coded.task_type, heads=heads)
    settings = loaded.kind.resolve(ExportSettings(quantize="8da4w"), loaded.model)
    module = slotted(loaded, settings, coded.layout.shapes)
    with torch.no_grad():
        return module(*inputs, slot_factors(coded.task_factors(task)))[0]


@pytest.fixture(scope="module")
def embedders(tmp_path_factory):
    """Two tasks of an encoder without heads: the PEFT models and a bundle."""
    root = tmp_path_factory.mktemp("embedders")
    base = save_base(tiny_bert(), root / "base")
    models = {
        task: save_lora(root / task, tiny_bert(), ENCODER_ID, seed, target_modules=TARGETS)
        for seed, task in enumerate(("alpha", "beta"))
    }
    merged = private(read_adapters([root / task for task in models]))
    export_bundle(merged, str(base), root / "bundle", FLOAT32)
    return models, root / "bundle"


def test_an_encoder_gives_the_embeddings_of_peft(embedders):
    models, bundle = embedders
    session = Session.open(bundle)
    for task in ("alpha", "beta", "alpha"):
        session.switch(task)
        for text in ("hello", "a", "a text of 32 tokens, as many as"):
            wanted = embedding(models[task], session.encode(text))
            torch.testing.assert_close(session.run(text), wanted, atol=1e-4, rtol=0)


def test_padding_does_not_exist_and_masks_hide(embedders):
    """The mask is an input: what it hides changes nothing."""
    _, bundle = embedders
    session = Session.open(bundle)
    session.switch("beta")
    wanted = session.run([5, 17, 99])
    inputs = [torch.tensor([[5, 17, 99, 3, 7]]), torch.tensor([[1, 1, 1, 0, 0]])]
    (found,) = session._current.method.execute([*inputs, *session.factors])
    torch.testing.assert_close(found[0], wanted, atol=1e-5, rtol=0)


def test_the_manifest_says_what_the_base_is(embedders):
    _, bundle = embedders
    manifest = Manifest.read(bundle)
    assert manifest.model == Encoder(258, 32, "none", pooling=Pooling("mean", normalized=True))
    assert verify(bundle)["tasks"] == 2


def test_what_an_encoder_cannot_do_is_said(embedders):
    _, bundle = embedders
    session = Session.open(bundle)
    with pytest.raises(TaskError, match="no task is current"):
        session.run("hello")
    session.switch("alpha")
    for call in (
        lambda: session.generate("hello"),
        lambda: session.stream("hello"),
        lambda: session.forward([1]),
    ):
        with pytest.raises(TaskError, match="is of kind encoder; call run"):
            call()
    for ids, message in [
        ([], "the prompt is empty"),
        ([258], "token id 258 is outside the vocabulary of 258"),
        ([1] * 33, "33 tokens, expected at most 32"),
    ]:
        with pytest.raises(TaskError, match=message):
            session.run(ids)


def test_a_causal_lm_does_not_run(bundle):
    session = Session.open(bundle)
    session.switch("alpha")
    with pytest.raises(TaskError, match="is of kind causal_lm; call generate, stream or forward"):
        session.run("hello")


@pytest.fixture(scope="module")
def seen(viewers):
    """Two tasks of an image model without heads: the PEFT models and a bundle."""
    models = {task: PeftModel.from_pretrained(tiny_vit(), viewers / task).eval() for task in VIEWS}
    return models, viewers / "bundle"


def test_an_image_model_gives_the_features_of_peft(seen):
    models, bundle = seen
    session = Session.open(bundle)
    mean, std = tuple(PREPROCESSOR["image_mean"]), tuple(PREPROCESSOR["image_std"])
    steps = Preprocessing("bicubic", 1 / 255, mean, std)
    assert session.manifest.model == Image(SHAPE, steps)
    for task in ("alpha", "beta", "alpha"):
        session.switch(task)
        pixels = torch.randn(SHAPE)
        with torch.no_grad():
            wanted = models[task](pixel_values=pixels[None]).pooler_output[0]
        torch.testing.assert_close(session.run(pixels), wanted, atol=1e-4, rtol=0)


def test_images_are_classified_as_by_peft(seen, tmp_path):
    classes, pixels = {"topic": 5, "mood": 2}, torch.randn(SHAPE)
    models = {
        task: save_lora(
            tmp_path / task,
            viewer(count),
            IMAGE_ID,
            seed,
            target_modules=["q_proj", "fc1"],
            modules_to_save=["classifier"],
        )
        for seed, (task, count) in enumerate(classes.items())
    }
    merged = private(read_adapters([tmp_path / task for task in models]))
    found = Unlowered(merged, seen[1].parent / "base")
    for task, model in models.items():
        found.switch(task)
        with torch.no_grad():
            wanted = model(pixel_values=pixels[None]).logits[0]
        torch.testing.assert_close(found.run(pixels), wanted, atol=1e-4, rtol=0)
        merged.to_peft(task, tmp_path / "again" / task)
        again = PeftModel.from_pretrained(viewer(classes[task]), tmp_path / "again" / task).eval()
        with torch.no_grad():
            written = again(pixel_values=pixels[None]).logits[0]
        torch.testing.assert_close(written, wanted, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("bases", "layer", "message"),
    [
        ("embedders", "embeddings.word_embeddings", "word_embeddings is a Embedding, expected"),
        ("seen", "embeddings.patch_embeddings.projection", "projection is a Conv2d, expected"),
        ("embedders", "nowhere", "the base model has no module nowhere"),
    ],
)
def test_a_layer_that_takes_no_slot_is_refused_by_name_and_type(
    request, tmp_path, bases, layer, message
):
    models, bundle = request.getfixturevalue(bases)
    merged = private(read_adapters([bundle.parent / task for task in models]))
    sides = next(iter(merged.modules.values()))
    wrong = replace(merged, modules={layer: sides, **merged.modules})
    with pytest.raises(LoweringError, match=message):
        export_bundle(wrong, str(bundle.parent / "base"), tmp_path / "out", FLOAT32)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("bases", "settings", "message"),
    [
        ("embedders", ExportSettings(max_length=33), "max length is 33, expected 4 to 32"),
        (
            "embedders",
            ExportSettings(prefill_length=8),
            "reads a text at once; leave prefill_length out",
        ),
        ("seen", ExportSettings(max_length=32), "reads no tokens; leave max_length out"),
        ("seen", ExportSettings(embedding="4w"), "reads no tokens; leave embedding out"),
    ],
)
def test_settings_that_a_kind_cannot_have_are_refused(request, tmp_path, bases, settings, message):
    models, bundle = request.getfixturevalue(bases)
    merged = private(read_adapters([bundle.parent / task for task in models]))
    with pytest.raises(LoweringError, match=message):
        export_bundle(merged, str(bundle.parent / "base"), tmp_path / "out", settings)
    with pytest.raises(LoweringError, match="expected a causal LM for files of factors"):
        export_bundle(merged, str(bundle.parent / "base"), tmp_path / "out", FLOAT32, swap="data")


@pytest.mark.parametrize("family", ["roberta", "distilbert", "mpnet"])
def test_other_encoders_read_texts_of_any_length_that_they_have(tmp_path, family):
    config = AutoConfig.for_model(
        family,
        vocab_size=258,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=18,
        pad_token_id=1,
    )
    model = AutoModel.from_config(config).eval()
    save_base(model, tmp_path / "base")
    targets = {"roberta": ["query"], "distilbert": ["q_lin"], "mpnet": ["q"]}[family]
    model = save_lora(tmp_path / "one", model, ENCODER_ID, 0, target_modules=targets)
    merged = private(read_adapters([tmp_path / "one"]))
    found = Unlowered(merged, tmp_path / "base")
    found.switch("one")
    longest = found.plan.settings.max_length
    assert longest == (18 if family == "distilbert" else 16)
    for ids in ([7], [*range(2, 2 + longest)]):
        torch.testing.assert_close(found.run(ids), embedding(model, ids), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("architecture", "model_type", "kind"),
    [
        ("BertModel", "bert", "encoder"),
        ("BertForMaskedLM", "bert", "encoder"),
        ("BertLMHeadModel", "bert", "causal_lm"),
        ("ViTForImageClassification", "vit", "image"),
        ("LlamaForCausalLM", "llama", "causal_lm"),
        (None, "distilbert", "encoder"),
        (None, "qwen3", "causal_lm"),
    ],
)
def test_the_kind_of_a_base_is_read_off_its_config(architecture, model_type, kind):
    config = AutoConfig.for_model(model_type)
    config.architectures = architecture and [architecture]
    assert kind_of(config).name == kind


def test_an_image_of_another_size_is_refused(seen):
    session = Session.open(seen[1])
    session.switch("alpha")
    for given in (torch.zeros(3, 16, 16), [1, 2], "a text"):
        with pytest.raises(TaskError, match=r"expected an image \(3, 16, 24\) \(channels,"):
            session.run(given)


def test_embeddings_and_images_are_not_evaluated(embedders, seen, tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"task": "alpha", "prompt": "a", "answer": "0"}')
    for (_, bundle), message in ((embedders, "gives embeddings"), (seen, "takes images")):
        with pytest.raises(BundleError, match=message):
            evaluate(bundle, data)
