"""An export compares its model with transformers and the unmerged adapter, before it quantises."""

from functools import partial

import pytest
import torch
from conftest import save_adapter, tiny_llama
from encoders import bert_config, save_base, tiny_bert, tiny_vit
from families import CONTEXT, FAMILIES, tiny
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import BertForSequenceClassification

from hydraopt.adapters import read_adapter
from hydraopt.errors import AdapterError, BundleError, LoweringError, TaskError
from hydraopt.factors import Factors
from hydraopt.formats.manifest import Manifest
from hydraopt.lowering.against_base import verify_against
from hydraopt.lowering.base_model import BaseModel
from hydraopt.lowering.check import beside_layers, expect, largest_deviation
from hydraopt.lowering.factors import slot_factors
from hydraopt.lowering.kinds import CausalLM, Encoder, ImageModel, Kind
from hydraopt.lowering.lowered import float_module
from hydraopt.lowering.settings import ExportSettings

LONGROPE = {
    "original_max_position_embeddings": 16,
    "rope_parameters": {
        **{"rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
        **{"long_factor": [4.0] * 4, "short_factor": [1.0] * 4},
    },
}


def adapter_of(model: nn.Module) -> dict[str, Factors]:
    """A random adapter of all linear layers but the head's."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: Factors(
            0.1 * torch.randn(4, layer.in_features, generator=generator),
            0.1 * torch.randn(layer.out_features, 4, generator=generator),
        )
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and name not in ("lm_head", "pooler.dense")
    }


def checked(
    model,
    kind: Kind | None = None,
    settings: ExportSettings | None = None,
    fault=lambda module: None,
):
    """The deviation of the module that would be exported, after a ``fault`` in it."""
    kind = kind or CausalLM()
    base = BaseModel(model, kind, None, "", None, {})
    settings = settings or kind.resolve(ExportSettings(), model)
    adapter = adapter_of(model)
    expected = expect(base, settings, {"task": adapter})
    module = float_module(base, settings, {name: x.shape for name, x in adapter.items()})
    fault(module)
    return largest_deviation(kind, module, expected, lambda _: slot_factors(adapter))


@pytest.mark.parametrize("attention", ["llm", "portable"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_causal_lm_is_exported_as_transformers_has_it(family, attention):
    model = tiny(family)
    settings = CausalLM().resolve(ExportSettings(attention=attention), model)
    assert checked(model, settings=settings) < 1e-5


@pytest.mark.parametrize(("model", "kind"), [(tiny_bert, Encoder()), (tiny_vit, ImageModel())])
def test_encoders_and_image_models_are_exported_as_transformers_has_them(model, kind):
    assert checked(model(), kind) < 1e-5


@pytest.mark.parametrize(
    "layer",
    ["model.embed_tokens", "model.layers.1.self_attn.v_proj", "model.layers.0.mlp.act_fn"],
)
def test_the_first_layer_that_differs_is_named(layer):
    def fault(module):
        place = module.model.get_submodule(layer)
        place.register_forward_hook(lambda _, inputs, output: 1.01 * output)

    with pytest.raises(LoweringError, match=f"the first layer that differs is {layer};"):
        checked(tiny("llama", num_hidden_layers=2), fault=fault)


def test_a_window_that_the_program_would_not_keep_is_found():
    model = tiny("mistral", num_hidden_layers=2)

    def fault(module):
        for layer in module.model.model.layers:
            layer.self_attn.cache.window = None

    with pytest.raises(LoweringError, match=r"layers\.0\.self_attn"):
        checked(model, fault=fault)


def test_texts_are_longer_than_windows_and_than_the_original_rope():
    short, long = CausalLM().probes(
        tiny("gemma3_text", sliding_window=300, max_position_embeddings=1000),
        ExportSettings(max_length=1000, prefill_length=128),
    )
    assert (short.inputs.shape[1], short.splits[0], short.layers) == (24, (24,), None)
    assert (long.inputs.shape[1], long.splits[0]) == (308, (128, 256, 308))
    assert long.layers == 2  # one of each kind
    rope = {"rope_type": "llama3", "factor": 8.0, "rope_theta": 1e4}
    rope |= {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
    model = tiny("llama", rope_parameters={**rope, "original_max_position_embeddings": 16})
    assert checked(model) < 1e-5
    assert len(CausalLM().probes(model, CausalLM().resolve(ExportSettings(), model))) == 2


def test_a_rope_that_depends_on_the_length_ends_where_it_changes():
    model = tiny("phi3", **LONGROPE)
    settings = CausalLM().resolve(ExportSettings(), model)
    assert settings.max_length == 16
    assert checked(model, settings=settings) < 1e-5
    with pytest.raises(LoweringError, match=r"expected 8 to 16, .* one rope"):
        CausalLM().resolve(ExportSettings(max_length=CONTEXT), model)


def test_what_differs_in_several_calls_only_is_found():
    """Beyond its original length this rope depends on how long the text of a call is."""
    model = tiny("phi3", **LONGROPE)
    settings = ExportSettings(embedding="none", max_length=CONTEXT, prefill_length=CONTEXT - 1)
    with pytest.raises(LoweringError, match="no layer differs in its first call"):
        checked(model, settings=settings)


def test_outputs_of_another_shape_differ():
    def fault(module):
        module.register_forward_hook(lambda _, inputs, output: output[:, :-1])

    with pytest.raises(LoweringError, match="by inf"):
        checked(tiny_bert(), Encoder(), fault=fault)


def test_adapters_are_applied_as_peft_does(tmp_path):
    peft = save_adapter(tmp_path / "task", rank_pattern={"q_proj": 2}, use_rslora=True)
    model, ids = tiny_llama(), torch.arange(5)[None]
    with torch.no_grad(), beside_layers(model, read_adapter(tmp_path / "task").factors):
        found = model(ids).logits
    with torch.no_grad():
        assert (found - peft(ids).logits).norm() <= 1e-6 * found.norm()
        assert not torch.equal(found, model(ids).logits)  # it is gone afterwards


def test_heads_are_applied_as_peft_does(tmp_path):
    torch.manual_seed(1)
    make = partial(BertForSequenceClassification, bert_config(num_labels=3))
    lora = LoraConfig(TaskType.SEQ_CLS, target_modules=["query"], init_lora_weights=False)
    peft = get_peft_model(make().eval(), lora)
    peft.save_pretrained(tmp_path / "task")
    base = peft.get_base_model()
    peft.peft_config["default"].base_model_name_or_path = "base"
    peft.save_pretrained(tmp_path / "task")
    adapter, ids = read_adapter(tmp_path / "task"), torch.arange(5)[None]
    with torch.no_grad():
        wanted = peft(ids).logits
        plain = peft.unload()
        plain.classifier = nn.Linear(64, 3)
        with beside_layers(plain, {**adapter.factors, **adapter.heads}):
            found = plain(ids).logits
    assert base is plain
    assert (found - wanted).norm() <= 1e-6 * wanted.norm()


@pytest.mark.slow
def test_the_deviation_is_in_the_manifest_unless_nothing_was_compared(
    bundle, methods_bundle, quantised_bundle
):
    for compared in (bundle, methods_bundle):
        assert 0 < Manifest.read(compared).deviation < 1e-5
    assert Manifest.read(quantised_bundle).deviation is None


@pytest.mark.slow
def test_a_bundle_is_verified_against_its_base(bundle, quantised_bundle, base):
    for exported, limit in ((bundle, 1e-5), (quantised_bundle, 0.1)):
        found = verify_against(exported, str(base))
        assert found.deviation < 1e-5
        assert found.program_error < limit
        assert found.adapter_errors == found.answer_errors == {}


@pytest.mark.slow
def test_a_bundle_is_verified_against_its_base_and_adapters(
    quantised_bundle, adapter_dirs, base, tmp_path
):
    found = verify_against(quantised_bundle, str(base), [str(adapter_dirs[1])])
    assert 0 < found.adapter_errors["beta"] < 0.3
    assert found.deviation < found.answer_errors["beta"] < 0.6
    with pytest.raises(AdapterError, match=r"'beta' differs .* made of another adapter"):
        verify_against(quantised_bundle, str(base), [f"beta={adapter_dirs[0]}"])
    with pytest.raises(TaskError, match="no task 'other'; there are: alpha, beta, gamma; name an"):
        verify_against(quantised_bundle, str(base), [f"other={adapter_dirs[0]}"])
    other = negated(save_base(tiny_llama(), tmp_path / "base"))
    with pytest.raises(BundleError, match="differs from PyTorch with the same weights"):
        verify_against(quantised_bundle, str(other))


def negated(base):
    """A base of the same configuration whose head gives other logits."""
    weights = load_file(base / "model.safetensors")
    weights["lm_head.weight"].neg_()
    save_file(weights, base / "model.safetensors", {"format": "pt"})
    return base
