"""Peak memory of this process."""

import re
from pathlib import Path


def peak_bytes() -> int:
    """The most resident memory that this process had so far.

    From the kernel's status file: ``getrusage`` counts the process that started this one too.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "the kernel reports no peak memory"
    return 1024 * int(found[1])
