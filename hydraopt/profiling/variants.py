"""The compared ways to ship adapters: the bundle and its alternatives."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import sha256
from ..formats.manifest import FORWARD, PROGRAM, UNPACK, Manifest
from ..formats.pack import SHARED, Pack
from ..formats.swaps import Inputs
from ..lowering.alternatives import Alternative, read_alternatives, write_alternatives
from ..packing import CodedAdapters
from .cache import cached, drop_unused

BUNDLE = "bundle"
CACHE = "alternatives"


@dataclass(frozen=True)
class Variant:
    """A way to ship adapters, with the runner's commands that load it and switch tasks.

    Attributes:
        name: ``bundle``, ``baked``, ``constants`` or ``ptd``.
        files: all files, by name on the device.
        load: commands that load it.
        switches: for every task, the commands that switch to it.
    """

    name: str
    files: Mapping[str, Path]
    load: Sequence[str]
    switches: Sequence[Sequence[str]]

    @property
    def reloads(self) -> bool:
        """Whether switching reloads the program."""
        return self.switches == (self.load,)

    @property
    def ready(self) -> Sequence[str]:
        """Commands between ``load`` and the first token."""
        return () if self.reloads else self.switches[0]


def bundle_variant(bundle: Path, manifest: Manifest) -> Variant:
    """Return the bundle as a variant."""
    if not isinstance(manifest.swap, Inputs):
        return reloading_variant(BUNDLE, Alternative(bundle / PROGRAM))
    packs = manifest.swap.packs.values()
    shared = () if manifest.swap.static_rows else (SHARED,)
    return Variant(
        BUNDLE,
        {name: bundle / name for name in (PROGRAM, *shared, *(pack.file for pack in packs))},
        (
            f"program {PROGRAM}",
            *(f"method {name}" for name in (UNPACK, FORWARD)),
            *(f"shared {name}" for name in shared),
        ),
        tuple((f"switch {pack.file} {pack.offset} {pack.length}",) for pack in packs),
    )


def reloading_variant(name: str, program: Alternative) -> Variant:
    """Return a program that switches tasks by reloading."""
    files = {path.name: path for path in program.files}
    load = (f"program {' '.join(files)}", f"method {FORWARD}")
    return Variant(name, files, load, (load,))


def lowered_variants(
    bundle: Path, manifest: Manifest, swap: Inputs, base: str
) -> Mapping[str, Alternative]:
    """Return the alternatives' programs for the bundle's first task, exported the first time.

    Raises:
        LoweringError: ``base`` is not the bundle's, or cannot be loaded.
    """
    task, pack = next(iter(swap.packs.items()))
    coded = CodedAdapters.of_bundle(bundle, manifest, swap, [task])

    def build(directory: Path) -> None:
        write_alternatives(coded.task_factors(task), manifest, base, directory)

    drop_unused(CACHE)
    return read_alternatives(
        cached(f"{CACHE}/{_identity(manifest, pack, swap.binding, base)}", build)
    )


def _identity(manifest: Manifest, pack: Pack, binding: str, base: str) -> str:
    """Hash everything the programs depend on: bundle, base and the code that lowers them."""
    weights = sorted(Path(base).glob("*.safetensors"))
    source = sorted(Path(__file__).parent.parent.glob("lowering/**/*.py"))
    parts = [pack.sha256, binding, manifest.files[PROGRAM].sha256]
    parts += [manifest.executorch, *(map(sha256, weights) if weights else [base])]
    return hashlib.sha256("\n".join([*parts, *map(sha256, source)]).encode()).hexdigest()[:16]
