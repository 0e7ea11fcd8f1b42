"""Embeddings of few bits and norms as products give what the layers gave that they replace."""

import pytest
import torch
from families import SIZES, tiny
from torch import nn

from hydraopt.errors import LoweringError
from hydraopt.lowering.backends import find_backend
from hydraopt.lowering.decoder import Decoder, restructure
from hydraopt.lowering.kinds import CausalLM
from hydraopt.lowering.program import export_forward, lower
from hydraopt.lowering.quantization import quantize, round_base
from hydraopt.lowering.settings import ExportSettings
from hydraopt.lowering.simplify import (
    GROUP,
    QuantizedEmbedding,
    RootMeanSquareNorm,
    delegate_norms,
    quantized_embedding,
)

IDS = torch.arange(SIZES["vocab_size"])[None]


def unpacked(layer: QuantizedEmbedding, bits: int) -> torch.Tensor:
    """Rows from codes and scales, by the layout that the operator documents."""
    codes = layer.codes.float()
    if bits == 4:
        pairs = layer.codes.int()
        codes = torch.stack([pairs // 16, pairs % 16], -1).flatten(1).float() - 8
    return codes * layer.scales.repeat_interleave(GROUP, dim=1)


@pytest.mark.parametrize(("scheme", "bits"), [("4w", 4), ("8w", 8)])
def test_a_quantised_embedding_gives_its_dequantised_rows(scheme, bits):
    weight = torch.randn(96, 64)
    layer = QuantizedEmbedding(weight, bits)
    found = layer(IDS)[0]
    assert torch.equal(found, unpacked(layer, bits))
    assert (found - weight).norm() < {4: 0.11, 8: 0.007}[bits] * weight.norm()


@pytest.mark.parametrize(("scheme", "bits"), [("4w", 4), ("8w", 8)])
def test_sizes_of_a_quantised_embedding(scheme, bits):
    layer = QuantizedEmbedding(torch.randn(96, 64), bits)
    assert (layer.codes.element_size(), layer.codes.numel()) == (1, 96 * 64 * bits // 8)
    assert layer.scales.shape == (96, 64 // GROUP)
    assert {name for name, _ in layer.named_buffers()} == {"codes", "scales"}
    assert not list(layer.parameters())


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
@pytest.mark.parametrize(("scheme", "error"), [("4w", 0.11), ("8w", 0.007)])
def test_a_scaled_embedding_keeps_its_scale_and_the_tied_head_its_weights(family, scheme, error):
    model = tiny(family, tie_word_embeddings=True)
    wanted, head = model.get_input_embeddings()(IDS), model.lm_head.weight
    before = head.clone()
    found = quantized_embedding(model, scheme)(IDS)
    assert 0 < (found - wanted).norm() < error * wanted.norm()
    assert model.lm_head.weight is head and torch.equal(head, before)


def test_embeddings_of_other_kinds_are_refused_in_one_line():
    class Shifted(nn.Embedding):
        def forward(self, ids):
            return super().forward(ids) + 1

    model = tiny("llama")
    model.set_input_embeddings(Shifted(*model.model.embed_tokens.weight.shape))
    with pytest.raises(LoweringError, match=r"a Shifted, does more than .* without quantising it$"):
        quantized_embedding(model, "4w")
    assert quantized_embedding(model, "none") is None
    narrow = tiny("llama", hidden_size=40, num_attention_heads=2, head_dim=16)
    with pytest.raises(LoweringError, match="rows of 40 values, expected a multiple of 32"):
        quantized_embedding(narrow, "8w")
    with pytest.raises(LoweringError, match="unknown embedding '2w', expected 4w, 8w, none"):
        quantized_embedding(narrow, "2w")


def norms(model: nn.Module) -> dict[str, nn.Module]:
    return {name: x for name, x in model.named_modules() if "Norm" in type(x).__name__}


@pytest.mark.parametrize(
    ("family", "count"),
    [("llama", 3), ("qwen3", 5), ("gemma3_text", 2 * 6 + 1), ("olmo2", 5), ("mistral", 3)],
)
def test_norms_are_replaced_by_equal_ones(family, count):
    model = tiny(family)
    before = norms(model)
    delegate_norms(model)
    after = norms(model)
    assert len(before) == count and set(after) == set(before)
    for name, norm in after.items():
        assert type(norm) is RootMeanSquareNorm
        for shape in ((5,), (1, 3, 7)):  # norms of queries and keys see heads as well
            x = 3 * torch.randn(*shape, len(norm.weight))
            torch.testing.assert_close(norm(x), before[name](x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "opt", "cohere"])
def test_layer_norms_stay(family):
    model = tiny(family)
    before = norms(model)
    delegate_norms(model)
    assert before and norms(model) == before


def test_what_only_looks_like_a_norm_stays():
    class Gated(nn.RMSNorm):
        def forward(self, x, gate=None):
            return super().forward(x) if gate is None else super().forward(x) * gate

    class Absolute(nn.RMSNorm):
        def forward(self, x):
            return x / (x.abs().mean(-1, keepdim=True) + self.eps) * self.weight

    model = nn.ModuleDict(
        {
            "gated": Gated(8, eps=1e-6),
            "absolute": Absolute(8, eps=1e-6),
            "centred": nn.LayerNorm(8, bias=False),
            "norm": nn.RMSNorm(8, eps=1e-6),
        }
    )
    delegate_norms(model)
    assert [type(x) for x in model.values()] == [Gated, Absolute, nn.LayerNorm, RootMeanSquareNorm]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "embedding", "expected"),
    [("none", "none", 4 + 4), ("8da4w", "none", 4 + 0.5), ("8da4w", "4w", 0.5 + 0.5)],
)
def test_bytes_of_each_tied_weight_in_a_program(scheme, embedding, expected):
    vocabulary, width = 4096, 64
    model = tiny("llama", vocab_size=vocabulary, num_hidden_layers=0, tie_word_embeddings=True)
    settings = CausalLM().resolve(ExportSettings(quantize=scheme, embedding=embedding), model)
    decoder = Decoder(model, restructure(model, settings), settings.max_length, {})
    quantize(model, settings, round_base(model, settings))
    exported = export_forward(decoder, {}, settings.prefill_length)
    program = lower({"forward": exported}, find_backend())
    weight = len(program.buffer) / (vocabulary * width)
    assert expected < weight < expected + 0.5  # scales, and the program itself
