"""Find a device among those that adb lists."""

import subprocess

from ..errors import DeviceError
from .adb import TIMEOUT, Device, adb, last_line

NOT_READY = {
    "unauthorized": "is unauthorized; unlock it and accept the debugging prompt on its screen",
    "offline": "is offline; reconnect it, or run: adb reconnect offline",
    "no permissions": "may not be opened by this user; see Android's udev rules for USB devices",
}


def find_device(serial: str | None = None) -> Device:
    """Return the device with a serial, or the only device that is ready.

    Raises:
        DeviceError: adb or the device is missing, the device is not ready, or several are.
    """
    states = _states()
    ready = [name for name, state in states.items() if state == "device"]
    if serial is None and len(ready) > 1:
        raise DeviceError(f"several devices: {', '.join(ready)}; choose one", options=["serial"])
    if serial is None and not states:
        raise DeviceError(
            "adb sees no device; connect one with USB debugging on, or run hydraopt emulator start"
        )
    if serial is None:
        serial = ready[0] if ready else next(iter(states))
    if serial not in states:
        known = f"it sees {', '.join(states)}" if states else "it sees none"
        raise DeviceError(f"adb sees no device {serial}; {known}")
    if states[serial] != "device":
        raise DeviceError(f"device {serial} {_not_ready(states[serial])}")
    return Device(serial)


def _states() -> dict[str, str]:
    """Return the state of every device that adb lists, by serial."""
    try:
        listing = adb(["devices"])
    except subprocess.TimeoutExpired:
        raise DeviceError(f"adb did not answer in {TIMEOUT:.0f} s; run: adb kill-server") from None
    if listing.returncode:
        raise DeviceError(f"adb cannot list devices ({last_line(listing)}); run: adb kill-server")
    rows = [line.split("\t", 1) for line in listing.stdout.splitlines() if "\t" in line]
    return {name: state.strip() for name, state in rows}


def _not_ready(state: str) -> str:
    default = f"is in state {state!r}, expected 'device'; reconnect it"
    return next((text for key, text in NOT_READY.items() if state.startswith(key)), default)
