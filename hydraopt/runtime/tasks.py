"""Load what a session runs: a task, a mixture or the base; one loader for each way to swap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..errors import BundleError, TaskError, require
from ..formats.manifest import FORWARD, PROGRAM, UNPACK, Manifest
from ..formats.pack import SHARED, Pack
from ..formats.swaps import Data, Inputs, Methods
from .inputs import check_classes
from .mixtures import Mixture, mixed
from .native import Running, load_program, loading

if TYPE_CHECKING:
    from executorch.runtime import Program


@dataclass(frozen=True)
class Ready:
    """A loaded mixture of tasks.

    Attributes:
        mixture: the tasks' weights; empty for the base.
        method: the method of the program that runs it.
        factors: the last inputs of the method, float32, in manifest order; empty unless factors
            are inputs.
    """

    mixture: Mixture
    method: Running
    factors: Sequence[torch.Tensor] = ()

    @property
    def task(self) -> str | None:
        """The name of the one task; None for the base and for several."""
        return next(iter(self.mixture)) if len(self.mixture) == 1 else None


def task_loader(bundle: Path, manifest: Manifest) -> Callable[[Mixture], Ready]:
    """Load a bundle's program and return a function that loads a mixture of its tasks.

    That function raises ``BundleError`` if a task's pack or .ptd file was damaged or replaced, or
    if its head does not have the number of classes that the manifest states, and ``TaskError`` if
    the bundle cannot mix these tasks. What was loaded before remains valid.

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

    def ready(mixture: Mixture) -> Ready:
        method = methods[_whole_task(mixture, bundle, manifest)]
        return Ready(mixture, _method(method, program, path))

    return ready


def _inputs_loader(
    bundle: Path, manifest: Manifest, swap: Inputs, program: "Program"
) -> Callable[[Mixture], Ready]:
    forward, unpack = (_method(name, program, bundle / PROGRAM) for name in (FORWARD, UNPACK))
    binding = bytes.fromhex(swap.binding)
    first = () if swap.static_rows else (_payload(_shared_pack(manifest), bundle, binding),)

    def unpacked(task: str) -> dict[str, torch.Tensor]:
        payload = _payload(swap.packs[task], bundle, binding)
        factors = unpack.execute([*first, payload])  # ExecuTorch copies the outputs
        named = dict(zip(swap.factors, factors, strict=True))
        check_classes(named, task, manifest.classes.get(task))
        return named

    def ready(mixture: Mixture) -> Ready:
        if manifest.classes and len(mixture) != 1:
            what = "mixed" if mixture else "left out"
            raise TaskError(
                f"the tasks of {bundle} have classifiers of their own, which cannot be {what}; "
                "switch to one task"
            )
        weights = mixture or {swap.tasks[0]: 0.0}
        factors = mixed({task: unpacked(task) for task in weights}, weights)
        return Ready(mixture, forward, factors)

    return ready


def _data_loader(bundle: Path, manifest: Manifest, swap: Data) -> Callable[[Mixture], Ready]:
    path = bundle / PROGRAM

    def ready(mixture: Mixture) -> Ready:
        pack = swap.packs[_whole_task(mixture, bundle, manifest)]
        pack.read(bundle)
        program = load_program(path, manifest.executorch, bundle / pack.file)
        return Ready(mixture, _method(FORWARD, program, path))

    return ready


def _whole_task(mixture: Mixture, bundle: Path, manifest: Manifest) -> str:
    """Return the one task of a mixture with weight 1; raise ``TaskError`` for any other."""
    match list(mixture.items()):
        case [(task, 1.0)]:
            return task
    what = "a weight or a mixture" if mixture else "the base without an adapter"
    raise _needs_inputs(bundle, manifest, what)


def check_keeps_cache(bundle: Path, manifest: Manifest) -> None:
    """Raise ``TaskError`` if each task runs in a method of its own, which has its own KV cache."""
    if not isinstance(manifest.swap, Inputs):
        raise _needs_inputs(bundle, manifest, "a switch that keeps the KV cache")


def _needs_inputs(bundle: Path, manifest: Manifest, what: str) -> TaskError:
    return TaskError(
        f"{bundle} has swap {manifest.swap.mode!r}, expected 'inputs' for {what}; export again",
        options=["swap=inputs"],
    )


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
