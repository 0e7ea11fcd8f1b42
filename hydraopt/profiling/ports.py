"""Free TCP ports of the loopback interface, for devices that start at the same time."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from filelock import FileLock, Timeout

from ..errors import ProfilingError
from .cache import cache_directory


@contextmanager
def claimed_port(ports: range, purpose: str) -> Iterator[int]:
    """Reserve a free port, among this user's processes, while the block runs.

    Args:
        ports: candidates, in order.
        purpose: user of the port, for messages.

    Raises:
        ProfilingError: no port is free.
    """
    claims = cache_directory() / "ports"
    claims.mkdir(parents=True, exist_ok=True)
    for port in ports:
        with ExitStack() as claim:
            try:
                claim.enter_context(FileLock(claims / f"{port}.lock", timeout=0))
            except Timeout:  # another process is about to listen there
                continue
            if not accepts(port):
                yield port
                return
    raise ProfilingError(f"no port in {ports} is free for {purpose}; stop what uses them")


def accepts(port: int) -> bool:
    """Return whether a process listens on a port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
