"""TCP ports of this machine's loopback interface, for devices that start at the same time."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..errors import ProfilingError


@contextmanager
def claimed_port(ports: range, purpose: str) -> Iterator[int]:
    """A free port that no other process gets from here while the block runs.

    The claim is the name of an abstract socket: the kernel keeps it apart for everybody who shares
    the ports, whichever user, and drops it with the process.

    Args:
        ports: to choose from, in this order.
        purpose: what needs one.

    Raises:
        ProfilingError: all are taken.
    """
    for port in ports:
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0hydraopt-port-{port}")
            except OSError:  # somebody is about to listen there
                continue
            if not accepts(port):
                yield port
                return
    raise ProfilingError(f"no port in {ports} is free for {purpose}; stop what uses them")


def accepts(port: int) -> bool:
    """Whether something listens on a port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
