"""Compare two results of one device: which figures became slower or larger."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from ..errors import UsageError
from .results import COMPLETE, Measurements

# smaller is better for all
METRICS = (
    *("load_cold_ms", "load_warm_ms", "first_inference_ms", "swap_ms", "first_token_ms"),
    *("prefill_ms", "decode_ms", "peak_bytes"),
)
NOT_TIMES = ("peak_bytes",)
SAME = ("model", "abi", "device_type")


@dataclass(frozen=True)
class Change:
    """One figure of both results; ``share`` is its relative change, positive if worse."""

    figure: str
    before: float
    after: float
    share: float
    regression: bool

    def record(self) -> dict:
        """Return the fields, for JSON."""
        return asdict(self)


def compare(before: Mapping, after: Mapping, threshold: float) -> list[Change]:
    """Compare every figure that both results have, the worst first.

    A size regresses if it grows by more than ``threshold``; a time or peak of memory, if its median
    does and every later round is above every earlier one.

    Raises:
        UsageError: the results are of different devices, prompt lengths or ways of measuring, or
            one is incomplete.
    """
    _check(before, after)
    changes = [*_sizes(before, after, threshold), *_measurements(before, after, threshold)]
    return sorted(changes, key=lambda change: -change.share)


def _check(before: Mapping, after: Mapping) -> None:
    for results in (before, after):
        if results["status"] != COMPLETE:
            raise UsageError(
                f"a result is {results['status']} ({results['lost']}); profile again to compare"
            )
    if ("run_id" in before) != ("run_id" in after):
        raise UsageError(
            "only one of the results was measured in the app; compare two of the app, or none"
        )
    for key in SAME:
        first, second = before["device"][key], after["device"][key]
        if first != second:
            raise UsageError(
                f"the results are of different devices: {key} {first!r} and {second!r}; "
                "compare results of one device"
            )
    first, second = before["settings"]["prompt"], after["settings"]["prompt"]
    if first != second:
        raise UsageError(
            f"the results have prompts of {first} and {second} tokens; compare bundles of one "
            "maximum length",
            options=["max_length"],
        )


def _sizes(before: Mapping, after: Mapping, threshold: float) -> Iterator[Change]:
    parts = after["sizes"]["bundle"]
    for name, old in before["sizes"]["bundle"].items():
        if name in parts:
            share = _growth(old, parts[name])
            yield Change(f"size of {name}, bytes", old, parts[name], share, share > threshold)


def _measurements(before: Mapping, after: Mapping, threshold: float) -> Iterator[Change]:
    valid = before["timing_valid"] and after["timing_valid"]
    new = Measurements(after).by_key
    for key, old in Measurements(before).by_key.items():
        if key in new and key.metric in METRICS and (valid or key.metric in NOT_TIMES):
            row = new[key]
            share = _growth(old["median"], row["median"])
            apart = min(row["round_medians"]) > max(old["round_medians"])
            name = f"{key.variant} {key.metric}, {key.threads} thread(s)"
            regression = share > threshold and apart
            yield Change(name, old["median"], row["median"], share, regression)


def _growth(before: float, after: float) -> float:
    return after / before - 1 if before else 0.0
