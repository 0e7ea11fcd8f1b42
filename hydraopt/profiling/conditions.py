"""Conditions that slow a device down during a measurement: load, heat and limited clocks."""

from collections.abc import Mapping

from .adb import Device
from .host import Host

SCRIPT = """
for zone in /sys/class/thermal/thermal_zone*; do
  echo "zone $(cat $zone/type 2>/dev/null) $(cat $zone/temp 2>/dev/null)"
done
for cpu in /sys/devices/system/cpu/cpu[0-9]*/cpufreq; do
  echo "clock $(cat $cpu/scaling_max_freq 2>/dev/null) $(cat $cpu/cpuinfo_max_freq 2>/dev/null)"
done
echo "load $(cat /proc/loadavg)"
"""
HOTTER = 10  # degrees Celsius that are worth a note
BUSY = 0.5  # load before the start, per core


def conditions_of(device: Device | Host) -> dict[str, float | None]:
    """Return the present conditions of a device, see :func:`parse_conditions`."""
    return parse_conditions(device.shell(SCRIPT, "report its clocks"))


def parse_conditions(output: str) -> dict[str, float | None]:
    """Parse the output of :data:`SCRIPT`; None for values that the device does not report.

    Returns:
        ``celsius`` of the hottest processor zone (of any zone if none has that name),
        ``clock_limit`` as a share of the processors' highest clocks, ``load`` of the last minute.
    """
    zones: dict[bool, list[float]] = {True: [], False: []}
    limits, load = [], None
    for line in output.splitlines():
        match line.split():
            case ["zone", *kind, temperature] if _number(temperature):
                celsius = int(temperature) / 1000
                if 1 < celsius < 150:
                    zones[any("cpu" in word.lower() for word in kind)].append(celsius)
            case ["clock", limit, highest] if _number(limit) and _number(highest):
                limits.append(int(limit) / int(highest))
            case ["load", minute, *_]:
                load = float(minute)
    return {
        "celsius": max(zones[True] or zones[False], default=None),
        "clock_limit": min(limits, default=None),
        "load": load,
    }


def _number(text: str) -> bool:
    return text.isdigit() and int(text) > 0


def condition_notes(before: Mapping, after: Mapping, cores: int) -> list[str]:
    """Describe, in sentences, what may have slowed the device down."""
    notes = []
    if before["load"] is not None and before["load"] > BUSY * cores:
        notes.append(
            f"The device was busy before the start: load {before['load']:.1f} on {cores} cores."
        )
    if before["celsius"] and after["celsius"] and after["celsius"] - before["celsius"] > HOTTER:
        notes.append(
            f"The processor went from {before['celsius']:.0f} to {after['celsius']:.0f} °C: "
            "compare only with runs that start equally cool."
        )
    limit = after["clock_limit"]
    if limit is not None and limit < 0.99:
        notes.append(
            f"Clocks are limited to {limit:.0%} of the highest after the run (throttled or power "
            "saving): let the device cool, or charge it."
        )
    return notes
