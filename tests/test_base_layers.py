"""A layer that the base has not, or has in another form, is refused by its cause."""

import pytest
from conftest import tiny_llama
from llama_data import llama_set
from multimodal import tiny_gemma

from hydraopt.adapters import AdapterSet
from hydraopt.base_layers import linear_layer
from hydraopt.errors import DataError, LoweringError
from hydraopt.evaluation import Evaluator
from hydraopt.fitting import next_logits, places

Q = "self_attn.q_proj"
CAUSES = {
    "a typing error": (f"model.layers.0.{Q}x", (64, 64), rf"nearest are model.layers.0.{Q}, "),
    "fewer layers": (f"model.layers.5.{Q}", (64, 64), r"it has 1 layers model.layers; .*has more"),
    "experts": ("model.layers.0.mlp.experts.3.w1", (9, 9), "experts of model.layers.0.mlp in one"),
    "an embedding": ("model.embed_tokens", (64, 258), "is a Embedding.*without the token embed"),
    "a group of layers": ("model.layers.0.mlp", (9, 9), "model.layers.0.mlp.gate_proj, .*inside"),
    "no layer": ("model.norm", (64, 64), "is a LlamaRMSNorm.*train them without it"),
    "transposed": ("model.layers.0.mlp.up_proj", (64, 96), "is transposed"),
    "another size": ("model.layers.0.mlp.up_proj", (99, 64), "has another size"),
    "another vocabulary": ("lm_head", (300, 64), "vocabulary has 258 tokens, theirs 300"),
}


@pytest.mark.parametrize(("name", "shape", "says"), CAUSES.values(), ids=CAUSES)
def test_a_layer_that_does_not_fit_is_refused_by_its_cause(name, shape, says):
    with pytest.raises(LoweringError, match=says) as refused:
        linear_layer(tiny_llama(), name, shape, LoweringError)
    assert "\n" not in str(refused.value)


def test_a_tied_head_is_refused_by_its_cause():
    with pytest.raises(LoweringError, match="lm_head, whose weights the base model ties to its"):
        linear_layer(tiny_gemma(), "lm_head", (258, 64), LoweringError)


def test_a_layer_that_is_no_linear_one_is_refused_not_left_out():
    shapes = {f"model.layers.0.{Q}": (64, 64), "model.layers.0.self_attn": (64, 64)}
    with pytest.raises(LoweringError, match=r"is a LlamaAttention, .*self_attn\.q_proj"):
        places(tiny_llama(), shapes, next_logits, LoweringError)


@pytest.mark.parametrize("error", [DataError, LoweringError])
def test_a_layer_that_runs_and_does_not_fit_is_refused(error):
    with pytest.raises(error, match=r"lm_head of the base model is .* 300: pass the base model"):
        places(tiny_llama(), {"lm_head": (300, 64)}, next_logits, error)


def test_adapters_of_a_deeper_base_are_not_scored(base):
    (adapter,) = llama_set(tasks=1).adapters
    deeper = adapter.placed({f"model.layers.0.{Q}": f"model.layers.7.{Q}"})
    evaluator = Evaluator.load(str(base), {"task0": [("one", "eins")]})
    with pytest.raises(DataError, match=r"it has 1 layers model\.layers; pass the base model"):
        evaluator.unmerged(AdapterSet([deeper]))
