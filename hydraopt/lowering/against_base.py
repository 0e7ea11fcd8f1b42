"""Compare a bundle's program with its base model and adapters."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from ..adapters import AdapterSet, read_adapters
from ..errors import AdapterError, BundleError, LoweringError, check_task
from ..factors import Factors
from ..fitting import check_base_weights
from ..formats.manifest import Manifest
from ..formats.swaps import Inputs
from ..packing import CodedAdapters, shared_rows
from ..progress import report_stage
from ..stored import relative_errors
from .alternatives import load_base_of
from .check import Expected, expect, largest_deviation, relative_error
from .factors import input_factors, slot_factors
from .kinds import Probe
from .lowered import float_module
from .program_check import largest_error, last_row, program_answers
from .quantization import quantize, round_base
from .settings import ExportSettings
from .slots import insert_slots

CALIBRATED_LIMIT = 0.5  # relative; wrong weights differ by 1 or more


@dataclass(frozen=True)
class Verified:
    """Relative errors of a bundle.

    Attributes:
        deviation: model before quantisation, against transformers with the packed adapters.
        program_error: program, against PyTorch with the same quantised weights; or against the
            float model, if the weights were rounded for texts, which cannot be repeated.
        adapter_errors: task -> packed delta, against the given adapter's; mean over modules.
        answer_errors: task -> output of the program, against transformers in float32 with the given
            adapter.
    """

    deviation: float
    program_error: float
    adapter_errors: Mapping[str, float]
    answer_errors: Mapping[str, float]


def verify_against(bundle: str | Path, base: str, sources: Sequence[str] = ()) -> Verified:
    """Compare a bundle with its base model and, optionally, the adapters of its tasks.

    Compares the first and the last task, or the tasks whose adapters are given.

    Args:
        bundle: directory of a bundle with packs.
        base: directory or hub id of the base model that the bundle was exported with.
        sources: PEFT directories or hub ids; ``NAME=SOURCE`` if the task has another name.

    Raises:
        BundleError: the bundle is damaged or has no packs, or its program differs from PyTorch.
        TaskError: an adapter is for a task that the bundle lacks.
        AdapterError: a pack was not made from the given adapter.
        LoweringError: the base is another model, or the restructured model differs from it.
    """
    bundle = Path(bundle)
    manifest = Manifest.read(bundle)
    coded = _coded(bundle, manifest)
    given = read_adapters(sources).placed(manifest.layers) if sources else None
    errors = _adapter_errors(given, coded) if given else {}
    tasks = [*errors] or [*dict.fromkeys((coded.tasks[0], coded.tasks[-1]))]
    deviation, packed, plain = _deviation(manifest, base, coded, tasks, given)
    references = _whole(packed, manifest)
    probe = next(x.probe for x in packed if x.probe.layers is None)
    if manifest.calibration is None:
        references = _quantized(manifest, base, coded, tasks, probe)
    answers = program_answers(bundle, tasks, probe)
    program_error = largest_error(answers, references)
    _check_program(bundle, manifest, program_error)
    unmerged = _whole(plain, manifest)
    return Verified(
        deviation,
        program_error,
        errors,
        {task: relative_error(answers[task], unmerged[task]) for task in errors},
    )


def _check_program(bundle: Path, manifest: Manifest, error: float) -> None:
    calibrated = manifest.calibration is not None
    limit = CALIBRATED_LIMIT if calibrated else manifest.loosest_scheme.limit
    if not error <= limit:
        what = "the float model" if calibrated else "PyTorch with the same weights"
        raise BundleError(
            f"the program of {bundle} differs from {what} by {error:.1e}, expected at most "
            f"{limit:.0e}; export it again"
        )


def _coded(bundle: Path, manifest: Manifest) -> CodedAdapters:
    if not isinstance(manifest.swap, Inputs):
        raise BundleError(
            f"{bundle} has its adapters in the program, expected packs to compare with a base "
            "model; export it with factors as inputs",
            options=["swap=inputs"],
        )
    return CodedAdapters.of_bundle(bundle, manifest, manifest.swap, manifest.tasks)


def _adapter_errors(given: AdapterSet, coded: CodedAdapters) -> dict[str, float]:
    for task in given.tasks:
        check_task(task, coded.tasks, "name an adapter's task with NAME=DIRECTORY")
    if missing := given.shapes.keys() - coded.layout.modules.keys():
        raise AdapterError(
            f"the adapters given change {min(missing)}, which the bundle's do not; pass those that "
            "it was made of"
        )
    errors = {
        task: mean(by_module.values()) for task, by_module in relative_errors(given, coded).items()
    }
    for task, error in errors.items():
        if error >= 1:  # as large as without any adapter
            raise AdapterError(
                f"the pack of task {task!r} differs from the adapter given by {error:.2f} of it, "
                "expected less than 1; it was made of another adapter"
            )
    return errors


@torch.no_grad()
def _deviation(
    manifest: Manifest,
    base: str,
    coded: CodedAdapters,
    tasks: Collection[str],
    given: AdapterSet | None,
) -> tuple[float, list[Expected], list[Expected]]:
    """Return the float model's deviation, and transformers' outputs with packs and adapters."""
    loaded, settings = load_base_of(manifest, base), ExportSettings.of(manifest)
    packed = {task: slot_factors(coded.task_factors(task)) for task in tasks}
    expected = expect(loaded, settings, {task: coded.task_factors(task) for task in tasks})
    unmerged: dict[str, Mapping[str, Factors]] = {
        x.name: {**x.factors, **x.heads} for x in (given.adapters if given else ())
    }
    check_base_weights(loaded.model, given.base_weights if given else {}, LoweringError)
    plain = expect(loaded, settings, unmerged)
    module = float_module(loaded, settings, coded.layout.shapes)
    deviation = largest_deviation(loaded.kind, module, expected, packed.__getitem__)
    return deviation or 0.0, expected, plain


def _whole(expected: Sequence[Expected], manifest: Manifest) -> dict[str, torch.Tensor]:
    """Return task -> last row of the whole model's outputs, ``[1, n]``."""
    whole = [x for x in expected if x.probe.layers is None]
    return {x.task: last_row(x.outputs, manifest, x.task) for x in whole}


@torch.no_grad()
def _quantized(
    manifest: Manifest, base: str, coded: CodedAdapters, tasks: Collection[str], probe: Probe
) -> dict[str, torch.Tensor]:
    """Return PyTorch's outputs with the program's quantised weights, task -> ``[1, n]``."""
    report_stage("Running the quantised base model in PyTorch")
    loaded, settings = load_base_of(manifest, base), ExportSettings.of(manifest)
    static = isinstance(manifest.swap, Inputs) and manifest.swap.static_rows
    rows = shared_rows(coded.layout, coded.shared) if static else None
    rounded = round_base(loaded.model, settings)
    inputs = insert_slots(loaded.model, coded.layout.shapes)
    quantize(loaded.model, settings, rounded, rows)
    outputs = {}
    for task in tasks:
        inputs.update(input_factors(coded, task, static_rows=static))
        outputs[task] = last_row(loaded.kind.reference(loaded.model, probe), manifest, task)
    return outputs
