"""Times of operators, from an ETDump."""

import warnings
from pathlib import Path
from statistics import median

from ..private.executorch import DELEGATE, NATIVE, event_operator

WARM_UP = 1  # runs


def operator_times(trace: Path) -> list[dict]:
    """Return the milliseconds that each operator takes in one call of ``forward``, longest first.

    Args:
        trace: an ETDump of at most one switch and several calls.

    Returns:
        Records of ``operator``, ``delegated`` (to XNNPACK), ``calls`` per call of ``forward`` and
        ``ms``, the sum of their median times. XNNPACK counts whole microseconds; the time that it
        takes beyond the sum of its operators is a record of its own.
    """
    # slow to import, with pandas
    from executorch.devtools import Inspector

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tensors, which are not traced
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
