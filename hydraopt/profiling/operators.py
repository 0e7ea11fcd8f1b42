"""Time of every operator, from an ETDump."""

import warnings
from pathlib import Path
from statistics import median

from ..private.executorch import DELEGATE, NATIVE, event_operator

WARM_UP = 1  # runs


def operator_times(trace: Path) -> list[dict]:
    """Milliseconds of each kind of operator in one step of ``forward``, the longest first.

    Args:
        trace: an ETDump of one switch at most and several steps.

    Returns:
        Records of ``operator``, ``delegated`` (to XNNPACK), ``calls`` in a step and ``ms``, the
        sum over the calls of their medians over the steps. XNNPACK counts whole microseconds;
        what its calls take beyond the sum of its operators is a row of its own.
    """
    # not at the top: it takes seconds, with pandas
    from executorch.devtools import Inspector

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors, which are not traced
        blocks = Inspector(etdump_path=str(trace)).event_blocks
    rows: dict[tuple[str, bool], list[float]] = {}
    in_delegates = 0.0
    for block in blocks:
        for event in block.events:
            raw = event.perf_data.raw if event.perf_data else []
            if len(raw) <= 1 + WARM_UP:
                continue  # `unpack` ran once
            took, delegated = float(median(raw[WARM_UP:])), bool(event.is_delegated_op)
            if event.name == DELEGATE:
                in_delegates += took
            elif delegated or event.name.startswith(NATIVE):
                rows.setdefault((event_operator(event.name), delegated), []).append(took)
    rest = in_delegates - sum(sum(times) for (_, delegated), times in rows.items() if delegated)
    if rest > 0:
        rows["other work in XNNPACK", True] = [rest]
    records = [
        {"operator": name, "delegated": delegated, "calls": len(times), "ms": sum(times)}
        for (name, delegated), times in rows.items()
    ]
    return sorted(records, key=lambda record: -record["ms"])
