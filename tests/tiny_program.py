"""A real program with the methods of a bundle, small enough to lower in a second.

``forward`` keeps a cache of what it saw, so that a wrong position or a cache that a switch does
not forget shows in its logits.
"""

import struct
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from hydraopt.lowering.backends import find_backend
from hydraopt.lowering.program import to_backend, to_executorch

VOCABULARY, WIDTH, RANK, CONTEXT = 32, 16, 4, 64
SHARED_BYTES, TASK_BYTES = WIDTH * RANK, RANK * WIDTH


class Unpack(nn.Module):
    """``unpack``: bytes to factors, 1/64 a step."""

    def forward(self, shared, task):
        a = (shared.to(torch.float32) - 127.5) / 64
        b = (task.to(torch.float32) - 127.5) / 64
        return a.view(1, WIDTH, RANK), b.view(1, RANK, WIDTH)


class Model(nn.Module):
    """``forward``: mean of the embeddings so far, through a layer with a low-rank adapter."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.layer = nn.Linear(WIDTH, WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.register_buffer("cache", torch.zeros(CONTEXT, WIDTH))

    def forward(self, input_ids, cache_position, *factors):
        self.cache.index_copy_(0, cache_position, self.embedding(input_ids)[0])
        last = cache_position[-1:]
        seen = (torch.arange(CONTEXT) <= last).to(torch.float32)
        mean = (seen @ self.cache) / (last + 1).to(torch.float32)
        hidden = mean.view(1, 1, WIDTH)
        adapted = self.layer(hidden)
        if factors:
            adapted = adapted + torch.bmm(torch.bmm(hidden, factors[0]), factors[1])
        return self.head(torch.tanh(adapted))


class Baked(nn.Module):
    """The model with one task's factors as constants."""

    def __init__(self, model, factors):
        super().__init__()
        self.model = model
        self.a, self.b = (nn.Parameter(factor) for factor in factors)

    def forward(self, input_ids, cache_position):
        return self.model(input_ids, cache_position, self.a, self.b)


@dataclass(frozen=True)
class Tiny:
    """What :func:`write_bundle` writes: files by name, and the payloads that go into packs."""

    files: dict[str, Path]
    shared: torch.Tensor
    tasks: dict[str, torch.Tensor]

    def reference(self, task: str | None, prompt: list[int], steps: int):
        """Tokens and last logits of eager PyTorch for a new sequence."""
        model = Model()
        factors = Unpack()(self.shared, self.tasks[task]) if task else ()
        tokens, ids = [], prompt
        with torch.no_grad():
            for _ in range(steps + 1):
                position = len(prompt) + len(tokens) - len(ids)
                positions = torch.arange(position, position + len(ids))
                logits = model(torch.tensor([ids]), positions, *factors)[0, -1]
                tokens.append(int(logits.argmax()))
                ids = tokens[-1:]
        return tokens, logits


def pack(payload: torch.Tensor) -> bytes:
    """A pack file: 64-byte header, then the payload."""
    content = payload.numpy().tobytes()
    header = struct.pack(
        "<8sQ16s32s", b"HYDRAPK1", len(content), bytes(16), sha256(content).digest()
    )
    return header + content


def payloads() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The shared payload and those of two tasks."""
    generator = torch.Generator().manual_seed(1)

    def payload(size):
        return torch.randint(0, 256, (size,), generator=generator, dtype=torch.uint8)

    shared = payload(SHARED_BYTES)
    return shared, {"one": payload(TASK_BYTES), "two": payload(TASK_BYTES)}


def write_bundle(directory: Path) -> None:
    """Write model.pte, packs of two tasks, and the programs of the alternatives."""
    shared, tasks = payloads()
    content = {"shared.pack": pack(shared)}
    content |= {f"packs/{name}.pack": pack(task) for name, task in tasks.items()}
    unpack = torch.export.export(Unpack(), (shared, tasks["one"]), strict=True)
    factors = Unpack()(shared, tasks["one"])
    content["model.pte"] = _program({"forward": _export(Model(), factors), "unpack": unpack})
    baked = {"forward": _export(Baked(Model(), factors))}
    content["baked.pte"] = _program(baked)
    content["outside.pte"], content["outside.ptd"] = _program_and_data(baked)
    for name, data in content.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)


def read_bundle(directory: Path) -> Tiny:
    """What was written to a directory."""
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return Tiny({str(path.relative_to(directory)): path for path in paths}, *payloads())


def _export(module: nn.Module, factors=()) -> torch.export.ExportedProgram:
    length = torch.export.Dim("length", min=1, max=CONTEXT - 1)
    arguments = (torch.zeros(1, 4, dtype=torch.int64), torch.arange(4), *factors)
    dynamic = ({1: length}, {0: length})
    if isinstance(module, Model):
        dynamic = (*dynamic, tuple(None for _ in factors))
    with torch.no_grad():
        return torch.export.export(module.eval(), arguments, dynamic_shapes=dynamic, strict=True)


def _program(methods) -> bytes:
    return bytes(to_executorch(to_backend(methods, find_backend())).buffer)


def _program_and_data(methods) -> tuple[bytes, bytes]:
    program = to_executorch(to_backend(methods, find_backend()), external_constants=True)
    (data,) = program._tensor_data.values()
    return bytes(program.buffer), bytes(data)
