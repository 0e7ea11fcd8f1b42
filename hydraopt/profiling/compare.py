"""Two results of one device: what became slower or larger."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from ..errors import UsageError
from .results import COMPLETE, Measurements

# all of them are better when smaller
METRICS = (
    *("load_cold_ms", "load_warm_ms", "first_inference_ms", "swap_ms", "first_token_ms"),
    *("prefill_ms", "decode_ms", "peak_bytes"),
)
NOT_TIMES = ("peak_bytes",)
SAME = ("model", "abi", "device_type")


@dataclass(frozen=True)
class Change:
    """One figure in both results; ``share`` is the change, positive if worse."""

    figure: str
    before: float
    after: float
    share: float
    regression: bool

    def record(self) -> dict:
        """As JSON."""
        return asdict(self)


def compare(before: Mapping, after: Mapping, threshold: float) -> list[Change]:
    """Every figure that both results have, those that became worst first.

    A size is a regression if it grew by more than ``threshold``; a time or a peak of memory, if
    its median did and every round of the later run is above every round of the earlier one.

    Raises:
        UsageError: results of different devices, ways or lengths, or an incomplete one.
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
            "one of the results was measured in the app, the other was not; compare two of one kind"
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
            "--max-length"
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
