"""The commands of the profiler; each calls the library and prints."""

from typing import Annotated, Literal

import typer
from rich.console import Console

from .. import report

messages = Console(stderr=True)
emulator = typer.Typer(
    help="Emulated devices behind adb: a, at this machine's speed; b, an arm64 virtual machine.",
    no_args_is_help=True,
)

Tier = Annotated[
    Literal["a", "b"],
    typer.Option(help="a: a namespace at native speed; b: arm64 under qemu, for correctness."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@emulator.command()
def start(tier: Tier = "a", as_json: Json = False) -> None:
    """Start a device; the first start builds its image, 10 to 30 seconds."""
    from .emulator import start as start_emulator

    with messages.status(f"Starting tier {tier} (the first time its image is built) …"):
        started = start_emulator(tier)
    report.show({"tier": tier, "state": "running", "serial": started.serial}, as_json)


@emulator.command()
def stop(tier: Tier = "a", as_json: Json = False) -> None:
    """Stop a device and everything it started."""
    from .emulator import stop as stop_emulator

    state = "stopped" if stop_emulator(tier) else "was not running"
    report.show({"tier": tier, "state": state}, as_json)


@emulator.command()
def status(as_json: Json = False) -> None:
    """Show which devices run."""
    from .emulator import status as emulator_status

    for record in emulator_status():
        report.show(record, as_json)
