"""Small real programs on ExecuTorch's operators for language models, as the runner takes them.

``forward(input_ids, cache_position)`` gives all values of its result in one row, so that the
runner's ``logits`` hold every one.
"""

from dataclasses import dataclass

import torch
from executorch.exir import EdgeCompileConfig, to_edge
from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401  registers llama::*
from torch import nn

VOCABULARY, CAPACITY = 32, 64


@dataclass(frozen=True)
class Attention:
    """Attention on a cache; what only a misuse sets is at the end.

    Attributes:
        heads: of the queries; ``groups`` of keys and values.
        window: a query sees so many keys, by a mask; 0: all up to its own, without a mask.
        everything: a query sees all keys so far, later ones too.
        mask_width: keys that the mask covers.
        shift: positions by which the operators start too early.
        updates: the cache takes the keys and values of the tokens.
    """

    heads: int
    groups: int
    width: int
    scale: float | None = None
    window: int = 0
    everything: bool = False
    key_width: int = 0
    mask_width: int = CAPACITY
    causal_with_mask: bool = False
    dtype: torch.dtype = torch.float32
    shift: int = 0
    updates: bool = True


class Attend(nn.Module):
    """Attention between embeddings of the tokens."""

    def __init__(self, shape: Attention):
        super().__init__()
        self.shape = shape
        key_width = shape.key_width or shape.width
        generator = torch.Generator().manual_seed(0)

        def table(heads, width):
            values = torch.randn(VOCABULARY, heads * width, generator=generator)
            return nn.Embedding.from_pretrained(values)

        self.query = table(shape.heads, shape.width)
        self.key, self.value = table(shape.groups, key_width), table(shape.groups, key_width)
        for name in ("keys", "values"):
            cache = torch.zeros(1, CAPACITY, shape.groups, key_width, dtype=shape.dtype)
            self.register_buffer(name, cache)

    def forward(self, input_ids, cache_position):
        shape, length = self.shape, input_ids.shape[1]
        start = cache_position[0].item() - shape.shift
        torch._check(start >= 0)
        torch._check(start + length <= CAPACITY)
        query, key, value = (
            table(input_ids).view(1, length, heads, -1).to(shape.dtype)
            for table, heads in (
                (self.query, shape.heads),
                (self.key, shape.groups),
                (self.value, shape.groups),
            )
        )
        if shape.updates:
            torch.ops.llama.update_cache(key, self.keys, start)
            torch.ops.llama.update_cache(value, self.values, start)
        mask = self.mask(cache_position) if shape.window else None
        causal = shape.causal_with_mask or not (shape.window or shape.everything)
        out = torch.ops.llama.custom_sdpa(
            query, self.keys, self.values, start, mask, 0.0, causal, shape.scale
        )
        return out.to(torch.float32).view(1, 1, -1)

    def mask(self, positions):
        distance = positions[:, None] - torch.arange(self.shape.mask_width)
        seen = (distance >= 0) & (distance < self.shape.window)
        return torch.where(seen, 0.0, -float("inf"))


class Update(nn.Module):
    """The cache after an update."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.register_buffer("cache", torch.zeros(1, CAPACITY, 2, 3, dtype=dtype))

    def forward(self, input_ids, cache_position):
        start, length = cache_position[0].item(), input_ids.shape[1]
        torch._check(start >= 0)
        torch._check(start + length <= CAPACITY)
        value = input_ids.view(1, length, 1, 1) + torch.arange(6).view(2, 3)
        torch.ops.llama.update_cache(value.to(self.cache.dtype), self.cache, start)
        return self.cache.to(torch.float32).view(1, 1, -1)


class Embed(nn.Module):
    """Quantised embeddings of the tokens."""

    def __init__(self, bits: int):
        super().__init__()
        from executorch.examples.models.llama.source_transformation.quantize import (
            EmbeddingQuantHandler,
        )

        torch.manual_seed(0)
        self.embedding = nn.Embedding(VOCABULARY, 64)
        handler = EmbeddingQuantHandler(
            self, device="cpu", bitwidth=bits, group_size=32, packed=bits == 4
        )
        handler.quantized_model()

    def forward(self, input_ids, cache_position):
        return (self.embedding(input_ids) + cache_position[:, None]).view(1, 1, -1)


def program(module: nn.Module) -> bytes:
    """The module as a .pte, for 1 to CAPACITY - 1 tokens at a time."""
    length = torch.export.Dim("length", min=1, max=CAPACITY - 1)
    example = (torch.zeros(1, 4, dtype=torch.int64), torch.arange(4) + 4)
    with torch.no_grad():
        exported = torch.export.export(
            module.eval(), example, dynamic_shapes=({1: length}, {0: length}), strict=False
        )
    edge = to_edge(exported, compile_config=EdgeCompileConfig(_check_ir_validity=False))
    return bytes(edge.to_executorch().buffer)
