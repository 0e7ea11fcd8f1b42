"""Load what a session runs: a task, a mixture or the base; one loader for each way to swap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
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


Loader = Callable[[Mixture, bool], Ready]  # the flag: keep the KV cache


def task_loader(bundle: Path, manifest: Manifest) -> Loader:
    """Load a bundle's program and return a function that loads a mixture of its tasks.

    That function raises ``BundleError`` if a task's pack or .ptd file was damaged or replaced, or
    if its head does not have the number of classes that the manifest states, and ``TaskError`` if
    the bundle cannot mix these tasks or keep its KV cache. What was loaded before remains valid.

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

    def ready(mixture: Mixture, keep_cache: bool) -> Ready:
        method = methods[_whole_task(mixture, keep_cache, bundle, manifest)]
        return Ready(mixture, _method(method, program, path))

    return ready


def _inputs_loader(bundle: Path, manifest: Manifest, swap: Inputs, program: "Program") -> Loader:
    path = bundle / PROGRAM
    forward, unpack = (_method(name, program, path) for name in (FORWARD, UNPACK))
    binding = bytes.fromhex(swap.binding)
    first = () if swap.static_rows else (_payload(_shared_pack(manifest), bundle, binding),)

    @cache
    def unpack_apart() -> Running:
        """Methods of one program share memory: ``unpack`` overwrites the KV cache."""
        return _method(UNPACK, load_program(path, manifest.executorch), path)

    def unpacked(task: str, unpack: Running) -> dict[str, torch.Tensor]:
        payload = _payload(swap.packs[task], bundle, binding)
        factors = unpack.execute([*first, payload])  # ExecuTorch copies the outputs
        named = dict(zip(swap.factors, factors, strict=True))
        check_classes(named, task, manifest.classes.get(task))
        return named

    def ready(mixture: Mixture, keep_cache: bool) -> Ready:
        if manifest.classes and len(mixture) != 1:
            what = "mixed" if mixture else "left out"
            raise TaskError(
                f"the tasks of {bundle} have classifiers of their own, which cannot be {what}; "
                "switch to one task"
            )
        weights = mixture or {swap.tasks[0]: 0.0}
        may_fail = len(weights) > 1  # and leave the KV cache as it is
        method = unpack_apart() if keep_cache or may_fail else unpack
        factors = mixed({task: unpacked(task, method) for task in weights}, weights)
        return Ready(mixture, forward, factors)

    return ready


def _data_loader(bundle: Path, manifest: Manifest, swap: Data) -> Loader:
    path = bundle / PROGRAM

    def ready(mixture: Mixture, keep_cache: bool) -> Ready:
        pack = swap.packs[_whole_task(mixture, keep_cache, bundle, manifest)]
        pack.read(bundle)
        program = load_program(path, manifest.executorch, bundle / pack.file)
        return Ready(mixture, _method(FORWARD, program, path))

    return ready


def _whole_task(mixture: Mixture, keep_cache: bool, bundle: Path, manifest: Manifest) -> str:
    """Return the one task of a mixture with weight 1.

    Raises:
        TaskError: any other mixture, or a cache to keep, as each method has its own.
    """
    match list(mixture.items()):
        case [(task, 1.0)] if not keep_cache:
            return task
        case [(_, 1.0)]:
            what = "a switch that keeps the KV cache"
        case []:
            what = "the base without an adapter"
        case _:
            what = "a weight or a mixture"
    raise TaskError(
        f"{bundle} has swap {manifest.swap.mode!r}, expected 'inputs' for {what}; export again",
        options=["swap=inputs"],
    )


def _shared_pack(manifest: Manifest) -> Pack:
    record = manifest.files[SHARED]
    return Pack(SHARED, 0, record.bytes, record.sha256)


def _payload(pack: Pack, bundle: Path, binding: bytes) -> torch.Tensor:
    if not (bundle / pack.file).exists():
        raise BundleError(
            f"pack {bundle / pack.file} is gone, as after an update of its task; open the bundle "
            "again, or copy it again"
        )
    return torch.from_numpy(pack.payload(bundle, pack.payload_bytes, binding))


def _method(name: str, program: "Program", path: Path) -> Running:
    if name not in program.method_names:
        raise BundleError(f"{path} has no method {name!r}; export again")
    with loading(f"method {name} of {path}"):
        method = program.load_method(name)
    return Running(require(method, f"method {name}"), f"{name} of {path}")
