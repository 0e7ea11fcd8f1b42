"""Add a task to a bundle, with codes calibrated for the bundle's base if there are prompts."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from . import bundles
from .adapters import AdapterSet, LoraAdapter
from .errors import UsageError
from .factors import Places
from .fitting import reversed_places
from .packing import CodedAdapters
from .stored import Rounding


def add_task(
    bundle: str | Path,
    source: str,
    task: str,
    *,
    version: int = 1,
    delta: str | Path | None = None,
    sign: str | Path | None = None,
    calibration: str | Path | None = None,
    base: str | None = None,
    compressed: str | Path | None = None,
    bfloat16: bool = False,
) -> CodedAdapters:
    """Code an adapter in the layout of a bundle as a new task, see :func:`.bundles.add_task`.

    Args:
        bundle: directory of a bundle whose factors are inputs.
        source: PEFT directory or hub id.
        task: the new task's name.
        version: its version, at least 1; a greater one than the bundle's replaces the task.
        delta: a file to write, which adds the task to other copies of the bundle.
        sign: Ed25519 private key in PEM that signs ``delta``.
        calibration: JSON lines of ``prompt``, and ``task`` unless for all tasks, as of
            :func:`.compress`. The task's columns are fitted to them.
        base: directory or hub id of the base model; required by ``calibration``.
        compressed: the directory from which the bundle was exported, if its packs were calibrated
            for a rounded base: the new task's are, too.
        bfloat16: calibrate with bfloat16 matrix products.

    Raises:
        UsageError: ``calibration`` and ``base`` do not come together, or ``compressed`` holds no
            rounded base or is not what the bundle was exported from.
        DataError: ``calibration`` or ``base`` cannot be read or does not fit the adapter.
        LoweringError: ``base`` is not the one that was rounded.
        HydraOptError: as :func:`.bundles.add_task`.
    """
    tune = None
    if calibration is not None:
        if base is None:
            raise UsageError("calibration needs the base model; pass base", options=["base"])
        kept = None if compressed is None else Path(compressed)
        tune = _Calibration(Path(calibration), base, kept, bfloat16)
    elif base is not None or compressed is not None:
        raise UsageError(
            "there are no prompts to calibrate the new task with; pass some, or leave the base out",
            options=["calibration"],
        )
    return bundles.add_task(
        bundle, source, task, version=version, delta=delta, sign=sign, tune=tune
    )


def _rounding(compressed: Path, of_bundle: CodedAdapters, layers: Places) -> Rounding:
    """Return the rounded base of compressed adapters, from which a bundle was exported."""
    found = CodedAdapters.load(compressed).placed(layers)
    if found.rounding is None:
        raise UsageError(
            f"{compressed} holds no rounded base: its packs were not calibrated for one; leave it "
            "out",
            options=["compressed"],
        )
    if found.layout != of_bundle.layout or not found.shared.equal(of_bundle.shared):
        raise UsageError(
            f"the bundle was not exported from {compressed}, whose layout is another; pass the "
            "directory that it was exported from",
            options=["compressed"],
        )
    return found.rounding


@dataclass(frozen=True)
class _Calibration:
    """Fits a new task's codes to prompts."""

    prompts: Path
    base: str
    compressed: Path | None
    bfloat16: bool

    def __call__(self, coded: CodedAdapters, adapter: LoraAdapter, layers: Places) -> CodedAdapters:
        from .calibration import calibrate, read_prompts
        from .lowering.kept_rounding import kept_student
        from .training import CalibrationData, use_bfloat16

        rounding = self.compressed and _rounding(self.compressed, coded, layers)
        data = CalibrationData.load(self.base, read_prompts(self.prompts, [adapter.name]))
        places = data.places(AdapterSet([adapter]))
        found = AdapterSet([adapter.placed(places)])
        data.check(found, labels=False)
        kept = rounding and kept_student(data.model, rounding)
        if self.bfloat16:  # only after the base's weights were compared
            use_bfloat16(data.model)
        own = coded.placed(reversed_places(layers)).placed(places)
        tuned = calibrate(own, found, data, kept.running if kept else nullcontext)
        return tuned.placed(reversed_places(places)).placed(layers)
