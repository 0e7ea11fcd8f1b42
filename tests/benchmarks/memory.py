"""Peak memory of this process."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hydraopt.progress import showing_stages

INTERVAL = 0.02  # seconds between samples


class Memory(NamedTuple):
    """Resident bytes; those of mapped files are reclaimable, anonymous ones are not."""

    resident: int
    anonymous: int


def peak_bytes() -> int:
    """The most resident memory that this process had so far.

    From the kernel's status file: ``getrusage`` counts the process that started this one too.
    """
    return _bytes("VmHWM")


@contextmanager
def peaks_by_stage() -> Iterator[dict[str, Memory]]:
    """Sample this process's memory in the block; the peaks by stage of an export, in order."""
    peaks: dict[str, Memory] = {}
    stage, done = "Loading the base model", threading.Event()

    def begins(name: str) -> None:
        nonlocal stage
        stage = re.sub(r"\s+\d+( of \d+)?", "", name)

    def sample() -> None:
        while not done.wait(INTERVAL):
            found = Memory(_bytes("VmRSS"), _bytes("RssAnon"))
            before = peaks.get(stage, found)
            peaks[stage] = Memory(*map(max, found, before))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        with showing_stages(begins):
            yield peaks
    finally:
        done.set()
        thread.join()


def _bytes(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, f"the kernel reports no {field}"
    return 1024 * int(found[1])
