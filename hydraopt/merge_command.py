"""``hydraopt merge``: from its options to merged adapters."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from .adapters import AdapterSet, read_adapters
from .calibration import calibrate, read_prompts
from .errors import UsageError
from .evaluation import Evaluator, load_model, read_examples
from .evaluation.smallest import smallest_budget
from .merging import MergedAdapters, merge_with
from .packing import CodedAdapters, Coder

UNITS = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*(%|" + "|".join(UNITS) + ")")


class Dial(NamedTuple):
    """The byte budget: given, or to be found for a quality."""

    budget: str | None
    max_drop: float | None
    base: str | None
    validation: Path | None
    calibration: Path | None


def merge(
    sources: Sequence[str], dial: Dial, method: str | None, settings: Mapping[str, object]
) -> MergedAdapters | CodedAdapters:
    """Merge adapters as the options say.

    Raises:
        UsageError: options that do not go together.
        HydraOptError: as the steps raise it.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if dial.budget is None and dial.max_drop is None:
        if dial.base or dial.validation or dial.calibration:
            raise UsageError("--base, --validation and --calibration go with a byte budget")
        return merge_with(method or "hydraopt", read_adapters(sources), **given)
    if method or given:
        option = "method" if method else next(iter(given))
        raise UsageError(f"--{option} does not go with a byte budget, which chooses by itself")
    if dial.budget and dial.max_drop is not None:
        raise UsageError("pass either --budget or --max-drop")
    if dial.max_drop is not None and not (dial.base and dial.validation):
        raise UsageError("--max-drop needs --base and --validation")
    if dial.calibration and not dial.base:
        raise UsageError("--calibration needs --base")
    adapters = read_adapters(sources)
    prompts = read_prompts(dial.calibration, adapters.tasks) if dial.calibration else None
    coded = _holding(adapters, dial) if dial.budget is None else _within(adapters, dial.budget)
    return coded if prompts is None else _calibrated(coded, adapters, dial.base, prompts)


def _within(adapters: AdapterSet, text: str) -> CodedAdapters:
    limit = parse_budget(text, adapters.fp16_bytes)
    return Coder.of(adapters).code(limit)


def _holding(adapters: AdapterSet, dial: Dial) -> CodedAdapters:
    evaluator = Evaluator.of(dial.base, read_examples(dial.validation, adapters.tasks))
    found = smallest_budget(Coder.of(adapters), adapters, evaluator, dial.max_drop)
    settings = {"max_drop": dial.max_drop, "drop": round(found.drop, 4)}
    return replace(found.coded, settings=settings | {"evaluations": found.evaluations})


def _calibrated(
    coded: CodedAdapters, adapters: AdapterSet, base: str, prompts: Mapping[str, Sequence[str]]
) -> CodedAdapters:
    model, tokenizer = load_model(base)
    return calibrate(coded, adapters, model, tokenizer, prompts)


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
