"""Compress adapters within a byte budget."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from .adapters import AdapterSet
from .errors import UsageError
from .factors import Places
from .files import Unfinished
from .fitting import reversed_places
from .packing import CodedAdapters, Coder
from .sizes import parse_size

if TYPE_CHECKING:
    import torch

    from .lowering.kept_rounding import Student
    from .lowering.settings import ExportSettings


def compress(
    adapters: AdapterSet,
    budget: str | int,
    *,
    calibration: str | Path | None = None,
    base: str | None = None,
    settings: "ExportSettings | None" = None,
    bfloat16: bool = False,
    mixable: bool = False,
    unfinished: Unfinished | None = None,
) -> CodedAdapters:
    """Compress adapters to codes within a byte budget.

    Args:
        adapters: LoRA adapters of one base model.
        budget: a share of the adapters' fp16 bytes (``"10%"``), a size (``"12MB"``), or bytes.
        calibration: JSON lines of ``prompt`` and optionally ``task``; a prompt without a task is
            used for all tasks. Codes are fitted to them, which improves quality at equal size.
        base: directory or hub id of the base model; required by ``calibration``. With it, layers
            that the program never runs take no bytes.
        settings: calibrate for the base as an export with these quantises it: its weights are
            rounded first, for the same prompts, and the codes make up for a part of the error. The
            export then takes the integers as they are. Only ``quantize``, ``embedding`` and
            ``overrides`` count.
        bfloat16: calibrate with bfloat16 matrix products.
        mixable: let tasks share all rows, so that a session can mix them.
        unfinished: keeps calibrated tasks for another run, if this one ends early.

    Raises:
        UsageError: ``budget`` is invalid, ``base`` is missing, or ``settings`` quantise nothing
            or come without ``calibration``.
        MergeError: the budget is too small for any code.
        DataError: ``calibration`` or ``base`` cannot be read or does not fit the adapters.
        LoweringError: without ``calibration``, ``base`` cannot be read or does not fit; with
            ``settings``, it does not support them.
    """
    if calibration is None:
        if settings is not None:
            raise UsageError(
                "packs are calibrated for a quantised base, and there are no prompts to calibrate "
                "with; pass some",
                options=["calibration"],
            )
        places = _places(adapters, base) if base else {}
        found = adapters.placed(places)
        coded = Coder.from_adapters(found, mixable=mixable).code(_limit(budget, found))
        return coded.placed(reversed_places(places))
    from .calibration import calibrate, read_prompts
    from .training import CalibrationData
    from .training.precision import use_bfloat16

    if base is None:
        raise UsageError("calibration needs the base model; pass base")
    prompts = read_prompts(Path(calibration), adapters.tasks)
    student = None if settings is None else _student(base, adapters, settings, prompts)
    data = CalibrationData.load(base, prompts)
    places = data.places(adapters)
    if bfloat16:  # only after the base's weights were compared
        use_bfloat16(data.model)
    found = adapters.placed(places)
    data.check(found, labels=False)  # before coding, which takes a while
    coded = Coder.from_adapters(found, mixable=mixable).code(_limit(budget, found))
    if unfinished is not None:
        unfinished = unfinished.of(_contents(data.model.state_dict(), student))
    if student is None:
        return calibrate(coded, found, data, unfinished=unfinished).placed(reversed_places(places))
    calibrated = calibrate(coded, found, data, student.running, unfinished)
    return replace(calibrated, rounding=student.rounding).placed(reversed_places(places))


def compress_within_drop(
    adapters: AdapterSet,
    max_drop: float,
    base: str,
    validation: str | Path,
    *,
    mixable: bool = False,
) -> CodedAdapters:
    """Compress adapters to the smallest size that loses at most ``max_drop`` points.

    Args:
        adapters: LoRA adapters of one base model.
        max_drop: largest drop of the mean exact match, in points.
        base: directory or hub id of the base model.
        validation: JSON lines of ``task``, ``prompt`` and ``answer``.
        mixable: as in :func:`compress`.

    Raises:
        MergeError: codes as large as the adapters in fp16 lose more.
        DataError: ``validation`` or ``base`` cannot be read or does not fit the adapters.
    """
    from .evaluation import Evaluator
    from .evaluation.smallest import smallest_budget
    from .training import read_examples

    evaluator = Evaluator.load(base, read_examples(Path(validation), adapters.tasks))
    places = evaluator.places(adapters)
    found = adapters.placed(places)
    coder = Coder.from_adapters(found, mixable=mixable)
    smallest = smallest_budget(coder, found, evaluator, max_drop)
    settings = {"max_drop": max_drop, "drop": round(smallest.drop, 4)}
    coded = smallest.coded.placed(reversed_places(places))
    return replace(coded, settings=settings | {"evaluations": smallest.evaluations})


def _places(adapters: AdapterSet, base: str) -> Places:
    """Locate the adapters' modules in a base model's program."""
    from .lowering.base_model import load_base
    from .lowering.layers import layer_places
    from .lowering.settings import ExportSettings

    heads = bool(adapters.adapters[0].heads)
    loaded = load_base(base, adapters.base_model, adapters.task_type, heads=heads)
    settings = loaded.kind.resolve(ExportSettings(), loaded.model)
    return layer_places(loaded, settings, adapters.all_shapes, adapters.base_weights)


def _student(
    base: str,
    adapters: AdapterSet,
    settings: "ExportSettings",
    prompts: Mapping[str, Sequence[tuple[str, None]]],
) -> "Student":
    from .lowering.kept_rounding import round_student

    texts = {task: [prompt for prompt, _ in pairs] for task, pairs in prompts.items()}
    return round_student(base, adapters, settings, texts)


def _contents(
    weights: Mapping[str, "torch.Tensor"], student: "Student | None"
) -> Iterator[bytes | memoryview]:
    """Yield what the models are that packs are calibrated with."""
    import torch

    if student is not None:
        yield json.dumps(student.rounding.describe(), sort_keys=True).encode()
        integers = student.rounding.weights.items()
        weights = {**weights, **{f"{name} rounded": x.values for name, x in integers}}
    for name, tensor in weights.items():
        yield name.encode()
        yield tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _limit(budget: str | int, adapters: AdapterSet) -> int:
    return parse_size(budget, adapters.fp16_bytes) if isinstance(budget, str) else budget
