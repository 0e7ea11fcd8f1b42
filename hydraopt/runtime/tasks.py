"""Load a task's factors or method: one loader for each way to swap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import BundleError, require
from ..formats.manifest import FORWARD, PROGRAM, UNPACK, Manifest
from ..formats.pack import SHARED, Pack
from ..formats.swaps import Data, Inputs, Methods
from .inputs import check_classes
from .native import Running, load_program, loading

if TYPE_CHECKING:
    from executorch.runtime import Program


@dataclass(frozen=True)
class Ready:
    """A loaded task.

    Attributes:
        task: its name.
        method: the method of the program that runs it.
        factors: the last inputs of the method, float32, in manifest order; empty unless factors
            are inputs.
    """

    task: str
    method: Running
    factors: Sequence[torch.Tensor] = ()


def task_loader(bundle: Path, manifest: Manifest) -> Callable[[str], Ready]:
    """Load a bundle's program and return a function that loads one of its tasks.

    That function raises ``BundleError`` if the task's pack or .ptd file was damaged or replaced, or
    if its head does not have the number of classes that the manifest states. Tasks loaded before
    remain valid.

    Raises:
        BundleError: ExecuTorch rejects the program, or it lacks a method.
    """
    path, swap = bundle / PROGRAM, manifest.swap
    program = load_program(path, manifest.executorch)
    if isinstance(swap, Inputs):
        return _inputs_loader(bundle, manifest, swap, program)
    if isinstance(swap, Data):
        return _data_loader(bundle, manifest, swap)
    methods = swap.methods if isinstance(swap, Methods) else dict.fromkeys(swap.tasks, FORWARD)
    return lambda task: Ready(task, _method(methods[task], program, path))


def _inputs_loader(
    bundle: Path, manifest: Manifest, swap: Inputs, program: "Program"
) -> Callable[[str], Ready]:
    forward, unpack = (_method(name, program, bundle / PROGRAM) for name in (FORWARD, UNPACK))
    binding = bytes.fromhex(swap.binding)
    first = () if swap.static_rows else (_payload(_shared_pack(manifest), bundle, binding),)

    def ready(task: str) -> Ready:
        payload = _payload(swap.packs[task], bundle, binding)
        factors = unpack.execute([*first, payload])  # ExecuTorch copies the outputs
        named = dict(zip(swap.factors, factors, strict=True))
        check_classes(named, task, manifest.classes.get(task))
        return Ready(task, forward, factors)

    return ready


def _data_loader(bundle: Path, manifest: Manifest, swap: Data) -> Callable[[str], Ready]:
    path = bundle / PROGRAM

    def ready(task: str) -> Ready:
        pack = swap.packs[task]
        pack.read(bundle)
        program = load_program(path, manifest.executorch, bundle / pack.file)
        return Ready(task, _method(FORWARD, program, path))

    return ready


def _shared_pack(manifest: Manifest) -> Pack:
    record = manifest.files[SHARED]
    return Pack(SHARED, 0, record.bytes, record.sha256)


def _payload(pack: Pack, bundle: Path, binding: bytes) -> torch.Tensor:
    return torch.from_numpy(pack.payload(bundle, pack.payload_bytes, binding))


def _method(name: str, program: "Program", path: Path) -> Running:
    if name not in program.method_names:
        raise BundleError(f"{path} has no method {name!r}; export again")
    with loading(f"method {name} of {path}"):
        method = program.load_method(name)
    return Running(require(method, f"method {name}"), f"{name} of {path}")
