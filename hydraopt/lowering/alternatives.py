"""Other ways to ship adapters with ExecuTorch, lowered as baselines for profiling.

- ``baked``: adapter merged into the base's weights, one program per task; the lowest latency;
- ``constants``: factors as constants of the slots, one program per task;
- ``ptd``: one program for all tasks, and a .ptd file of factors per task.

All three switch tasks by loading again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..adapters import FEATURES, TOKEN_CLS
from ..errors import LoweringError
from ..factors import Factors
from ..formats.manifest import FORWARD, Manifest
from ..formats.models import Encoder
from .backends import find_backend
from .base_model import BaseModel, load_base
from .data_files import lower_with_data
from .decoder import Decoder
from .factors import slot_factors
from .lowered import lower_base, slotted
from .program import export_forward, lower
from .settings import ExportSettings
from .slots import set_constants
from .static import add_to_weights

ALTERNATIVES = ("baked", "constants", "ptd")


@dataclass(frozen=True)
class Alternative:
    """Files of one alternative.

    Attributes:
        program: the .pte file.
        data: the task's .ptd file, if the program takes one.
    """

    program: Path
    data: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, in the order in which they are loaded."""
        return (self.program, self.data) if self.data else (self.program,)


def write_alternatives(
    factors: Mapping[str, Factors],
    manifest: Manifest,
    base: str,
    directory: Path,
    names: Collection[str] = ALTERNATIVES,
) -> None:
    """Lower alternatives for one task, quantised like the bundle.

    Args:
        factors: the task's factors by module.
        manifest: the bundle's manifest.
        base: directory or hub id of the base model that the bundle was exported with.
        directory: existing directory for ``NAME.pte`` and ``ptd.ptd``.
        names: alternatives to write.

    Raises:
        LoweringError: ``base`` is not the bundle's base model.
    """
    lower_as = {"baked": _baked, "constants": _constants, "ptd": _with_data}
    for alternative in tqdm(names, desc="lower alternatives", disable=None):
        for name, content in lower_as[alternative](factors, manifest, base).items():
            (directory / name).write_bytes(content)


def read_alternatives(directory: Path) -> dict[str, Alternative]:
    """Return the files of :func:`write_alternatives` by name."""
    return {
        "baked": Alternative(directory / "baked.pte"),
        "constants": Alternative(directory / "constants.pte"),
        "ptd": Alternative(directory / "ptd.pte", directory / "ptd.ptd"),
    }


def load_base_of(manifest: Manifest, base: str) -> BaseModel:
    """Load a bundle's base model and compare the hash of its configuration.

    Raises:
        LoweringError: the base is another model or cannot be loaded.
    """
    model, task_type = manifest.model, None
    if isinstance(model, Encoder):
        task_type = TOKEN_CLS if model.per_token else FEATURES if model.pooling else None
    loaded = load_base(base, manifest.base_model, task_type, heads=bool(manifest.classes))
    if loaded.config_sha256 != manifest.base_config_sha256:
        raise LoweringError(
            f"base model {base} has configuration {loaded.config_sha256[:12]}…, the bundle's has "
            f"{manifest.base_config_sha256[:12]}…; pass the base that it was exported with"
        )
    return loaded


def _baked(factors: Mapping[str, Factors], manifest: Manifest, base: str) -> dict[str, bytes]:
    loaded, settings = load_base_of(manifest, base), ExportSettings.of(manifest)
    layers = add_to_weights(loaded.model, factors)
    return {"baked.pte": lower_base(loaded, settings, layers).buffer}


def _constants(factors: Mapping[str, Factors], manifest: Manifest, base: str) -> dict[str, bytes]:
    decoder = _slotted(factors, manifest, base)
    set_constants(decoder, factors)
    exported = export_forward(decoder, {}, manifest.causal_lm.prefill_length)
    return {"constants.pte": lower({FORWARD: exported}, find_backend(manifest.backend)).buffer}


def _with_data(factors: Mapping[str, Factors], manifest: Manifest, base: str) -> dict[str, bytes]:
    own = slot_factors(factors)
    decoder, prefill_length = _slotted(factors, manifest, base), manifest.causal_lm.prefill_length
    lowered = lower_with_data(decoder, own, prefill_length, find_backend(manifest.backend))
    return {"ptd.pte": lowered.program.buffer, "ptd.ptd": lowered.data(own)}


def _slotted(factors: Mapping[str, Factors], manifest: Manifest, base: str) -> Decoder:
    shapes = {name: update.shape for name, update in factors.items()}
    return slotted(load_base_of(manifest, base), ExportSettings.of(manifest), shapes)
