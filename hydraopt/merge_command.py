"""``hydraopt merge``: from its options to merged adapters."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from .adapters import AdapterSet, read_adapters
from .errors import UsageError
from .merging import Merged, find_method, merge_with
from .packing import CodedAdapters, Coder

UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*(%|" + "|".join(UNITS) + ")")


class Dial(NamedTuple):
    """The byte budget, given or to be found for a quality; and what it or a method reads."""

    budget: str | None
    max_drop: float | None
    base: str | None
    validation: Path | None
    calibration: Path | None
    data: Path | None


def merge(
    sources: Sequence[str], dial: Dial, method: str | None, settings: Mapping[str, object]
) -> Merged:
    """Merge adapters as the options say.

    Raises:
        UsageError: options that do not go together.
        HydraOptError: as the steps raise it.
    """
    if dial.budget is None and dial.max_drop is None:
        return _by_method(sources, dial, method or "hydraopt", settings)
    if dial.data:
        raise UsageError("--data is for methods that need it; a byte budget takes --calibration")
    if method or settings:
        option = "method" if method else next(iter(settings))
        raise UsageError(f"--{option} does not go with a byte budget, which chooses by itself")
    if dial.budget and dial.max_drop is not None:
        raise UsageError("pass either --budget or --max-drop")
    if dial.max_drop is not None and not (dial.base and dial.validation):
        raise UsageError("--max-drop needs --base and --validation")
    if dial.calibration and not dial.base:
        raise UsageError("--calibration needs --base")
    if dial.calibration and dial.max_drop is not None:
        raise UsageError("--max-drop measures data-free codes; pass --calibration with --budget")
    adapters = read_adapters(sources)
    if dial.max_drop is not None:
        return _holding(adapters, dial)
    if dial.calibration is None:
        return _within(adapters, dial.budget)
    from .calibration import calibrate, read_prompts
    from .training import CalibrationData

    prompts = read_prompts(dial.calibration, adapters.tasks)
    data = CalibrationData.of(dial.base, prompts)
    data.check(adapters, labels=False)  # coding takes a while
    return calibrate(_within(adapters, dial.budget), adapters, data)


def _by_method(
    sources: Sequence[str], dial: Dial, method: str, settings: Mapping[str, object]
) -> Merged:
    if dial.validation or dial.calibration:
        raise UsageError("--validation and --calibration go with a byte budget")
    needs = find_method(method).needs
    given = (dial.base, dial.data)
    if needs == "nothing" and any(given):
        raise UsageError(
            f"method {method} takes neither --base nor --data; --base goes with a byte budget"
        )
    if needs != "nothing" and not all(given):
        fields = "task, prompt and answer" if needs == "labels" else "task and prompt"
        raise UsageError(f"method {method} needs --base and --data, JSON lines of {fields}")
    adapters = read_adapters(sources)
    if needs == "nothing":
        return merge_with(method, adapters, **settings)
    from .training import CalibrationData

    labels = needs == "labels"
    data = CalibrationData.read(dial.base, dial.data, adapters.tasks, labels=labels)
    return merge_with(method, adapters, data, **settings)


def _within(adapters: AdapterSet, text: str) -> CodedAdapters:
    limit = parse_budget(text, adapters.fp16_bytes)
    return Coder.of(adapters).code(limit)


def _holding(adapters: AdapterSet, dial: Dial) -> CodedAdapters:
    from .evaluation import Evaluator
    from .evaluation.smallest import smallest_budget
    from .training import read_examples

    evaluator = Evaluator.of(dial.base, read_examples(dial.validation, adapters.tasks))
    found = smallest_budget(Coder.of(adapters), adapters, evaluator, dial.max_drop)
    settings = {"max_drop": dial.max_drop, "drop": round(found.drop, 4)}
    return replace(found.coded, settings=settings | {"evaluations": found.evaluations})


def parse_budget(text: str, fp16_bytes: int) -> int:
    """Bytes of ``10%`` (of the adapters in fp16) or ``12MB``.

    Raises:
        UsageError: neither form.
    """
    match = BUDGET.fullmatch(text.strip())
    if not match or not float(match[1]):
        raise UsageError(f"--budget {text!r}, expected a share like 10% or bytes like 12MB")
    number, unit = float(match[1]), match[2]
    return int(number / 100 * fp16_bytes if unit == "%" else number * UNITS[unit])
