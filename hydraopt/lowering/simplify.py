"""Replace layers by faster ones: quantised embeddings, and norms that can be delegated.

Layers are recognised by what they compute, not by class: a layer is replaced only if the
replacement has the same outputs on random inputs.
"""

from collections.abc import Iterator
from inspect import signature

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..errors import LoweringError
from ..formats.codes import GROUP
from ..private.executorch import register_operators
from ..rounding import round_half_quadratic
from ..schemes import EMBEDDING_BITS, Grid

CLOSE = 1e-5  # relative; float32 sums in another order


class QuantizedEmbedding(nn.Module):
    """Embedding with 4 or 8 bits per value and a scale per group of 32.

    Args:
        weight: ``[n, d]`` float32.
        bits: 4 or 8.
        factor: multiplies the weight.
    """

    def __init__(self, weight: torch.Tensor, bits: int, factor: float = 1):
        super().__init__()
        register_operators()
        rounded = round_half_quadratic(weight, Grid(bits, GROUP), factor)
        codes, scales = rounded.values, rounded.scales
        if bits == 4:  # two per byte, the first in the high bits
            shifted = codes.add_(8).view(torch.uint8)
            codes = (shifted[:, ::2] * 16).add_(shifted[:, 1::2])
        self.operator = {
            4: torch.ops.quantized_decomposed.embedding_4bit.dtype,
            8: torch.ops.quantized_decomposed.embedding_byte.dtype,
        }[bits]
        self.range = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """``ids [1, S]`` int64 -> ``[1, S, d]`` float32."""
        return self.operator(self.codes, self.scales, None, *self.range, ids, dtype=torch.float32)


def quantized_embedding(model: PreTrainedModel, scheme: str) -> QuantizedEmbedding | None:
    """Quantise the token embedding, and return it; None for float32.

    A program stores tied weights twice, as with ExecuTorch's own exporter: XNNPACK and the
    embedding operator lay out codes and scales differently, and operators outside XNNPACK cannot
    read its float32 data.

    Raises:
        LoweringError: the scheme is unknown, or the width is no multiple of a group.
    """
    if scheme not in EMBEDDING_BITS:
        expected = ", ".join(EMBEDDING_BITS)
        raise LoweringError(
            f"unknown embedding {scheme!r}, expected {expected}", options=["embedding"]
        )
    bits = EMBEDDING_BITS[scheme]
    if bits is None:
        return None
    layer = model.get_input_embeddings()
    if layer.weight.shape[1] % GROUP:
        raise LoweringError(
            f"the embedding has rows of {layer.weight.shape[1]} values, expected a multiple of "
            f"{GROUP} for {scheme}; export without quantising it",
            options=["embedding=none"],
        )
    with torch.no_grad():
        ids = torch.arange(min(64, len(layer.weight)))
        plain, found = layer.weight[ids], layer(ids)
        factor = (found * plain).sum() / plain.square().sum()  # Gemma scales its embeddings
        if not _same(plain * factor, found):
            raise LoweringError(
                f"the embedding, a {type(layer).__name__}, does more than look up rows; "
                "export without quantising it",
                options=["embedding=none"],
            )
        return QuantizedEmbedding(layer.weight, bits, float(factor))


class RootMeanSquareNorm(nn.Module):
    """RMS norm with the mean as a matrix product, which XNNPACK takes; it takes no mean.

    ``x / sqrt(mean(x^2) + eps) * weight``.

    Args:
        weight: ``[d]``.
        eps: added to the mean.
    """

    def __init__(self, weight: torch.Tensor, eps: float):
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", weight.detach().float())
        self.register_buffer("mean", torch.full((1, len(weight)), 1 / len(weight)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x [..., d]`` float32."""
        return x * torch.rsqrt(F.linear(x * x, self.mean) + self.eps) * self.weight


def delegate_norms(model: nn.Module) -> None:
    """Replace every RMS norm of ``model`` with :class:`RootMeanSquareNorm`, in place."""
    for name, module in list(model.named_modules()):
        for norm in _candidates(module):
            x = torch.randn(2, len(norm.weight), generator=torch.Generator().manual_seed(0))
            with torch.no_grad():
                if _same(norm(x), module(x)):
                    model.set_submodule(name, norm)
                    break


def _candidates(module: nn.Module) -> Iterator[RootMeanSquareNorm]:
    """Yield the norms that a layer may be; Gemma stores ``weight - 1``."""
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    weights = dict(module.named_parameters())
    inputs = signature(module.forward).parameters  # a gated norm has two
    vector = list(weights) == ["weight"] and weights["weight"].dim() == 1
    if isinstance(eps, float) and vector and len(inputs) == 1:
        yield from (RootMeanSquareNorm(weights["weight"] + more, eps) for more in (0.0, 1.0))


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    return bool((first - second).norm() <= CLOSE * second.norm())
