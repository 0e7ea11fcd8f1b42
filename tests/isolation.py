"""No test reaches beyond this machine, and none but those marked ``device`` starts adb.

An audit hook sees what Python itself does, whichever library asks for it. What device tests and
those on a real encoder fetch (Debian's packages, wheels) is fetched by programs that they start.
"""

import os
import shutil
import socket
import sys
from pathlib import Path

import pytest

DEVICE_PROGRAMS = {name: shutil.which(name) for name in ("adb", "bwrap", "qemu-system-aarch64")}

_may_use_devices = False


def _refuse(event: str, arguments: tuple) -> None:
    if event == "socket.connect":
        connection, address = arguments
        if connection.family != socket.AF_UNIX and not _is_loopback(address[0]):
            pytest.fail(f"a test connects to {address}; tests use this machine alone")
    elif event == "subprocess.Popen" and not _may_use_devices:
        name = Path(os.fsdecode(arguments[0])).name
        # a test may put a program of its own in the place of adb
        if DEVICE_PROGRAMS.get(name) and shutil.which(name) == DEVICE_PROGRAMS[name]:
            pytest.fail(f"a test without the marker `device` starts {name}")


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


sys.addaudithook(_refuse)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item):
    global _may_use_devices  # noqa: PLW0603 an audit hook cannot be taken away
    _may_use_devices = item.get_closest_marker("device") is not None
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """What device tests share is ended after whichever test comes last."""
    global _may_use_devices  # noqa: PLW0603 see above
    _may_use_devices = True
