"""``hydraopt profile``, ``compare`` and ``emulator``: size and speed on devices."""

import math
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from ..errors import DeviceLostError, UsageError
from ..files import check_output
from ..reading import shortened
from . import report
from .options import MOST, Json, messages
from .parsing import integers

HOST = "host"
emulator = typer.Typer(
    help="Start and stop emulated devices behind adb.",
    no_args_is_help=True,
)

Tier = Annotated[
    Literal["a", "b"],
    typer.Option(help="a: a namespace at native speed; b: arm64 under qemu, for correctness only."),
]


@emulator.command()
def start(tier: Tier = "a", as_json: Json = False) -> None:
    """Start a device; the first start builds its image in 10 to 30 seconds."""
    from ..profiling.emulator import start as start_emulator

    with messages.status(f"Starting tier {tier} (the first start builds its image) …"):
        started = start_emulator(tier)
    report.show({"tier": tier, "state": "running", "serial": started.serial}, as_json)


@emulator.command()
def stop(tier: Tier = "a", as_json: Json = False) -> None:
    """Stop a device and every process on it."""
    from ..profiling.emulator import stop as stop_emulator

    state = "stopped" if stop_emulator(tier) else "was not running"
    report.show({"tier": tier, "state": state}, as_json)


@emulator.command()
def status(as_json: Json = False) -> None:
    """Show which devices are running."""
    from ..profiling.emulator import status as emulator_status

    for record in emulator_status():
        report.show(record, as_json)


def profile(
    bundle: Annotated[Path, typer.Argument(help="Bundle to measure.")],
    serial: Annotated[
        str | None,
        typer.Option(
            help="Serial of the device, or host for this machine; by default the only device."
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            help="Base model; also measures the alternatives to a bundle, exported from it."
        ),
    ] = None,
    adapters: Annotated[
        Path | None,
        typer.Option(help="Directory of the tasks' PEFT directories, whose bytes are counted."),
    ] = None,
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads; by default 1,2,4 as cores allow.")
    ] = None,
    rounds: Annotated[
        int, typer.Option(max=MOST, min=1, help="Number of rounds; the variants take turns.")
    ] = 5,
    runner: Annotated[
        Path | None,
        typer.Option(help="Your own build of the runner, for example with the NDK."),
    ] = None,
    via: Annotated[
        Literal["runner", "app"],
        typer.Option(help="Measure with the command-line runner or in the Android app."),
    ] = "runner",
    apk: Annotated[Path | None, typer.Option(help="With --via app: APK to install first.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Directory for the report.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing report.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure size and speed of a bundle on a device behind adb, or on this machine."""
    from ..profiling.app import profile_app
    from ..profiling.devices import find_device
    from ..profiling.host import Host
    from ..profiling.measure import ProfileRequest
    from ..profiling.measure import profile as measure
    from ..profiling.page import REPORT, write_report

    _check_options(via == "app", serial, apk, base, runner)
    if output:
        check_output(output, REPORT, overwrite=overwrite)
    counts = None if threads is None else integers("--threads", threads)
    request = ProfileRequest(bundle, counts, rounds, base, adapters, runner)
    if via == "app":
        results = profile_app(request, find_device(serial), apk)
    else:
        device = Host() if serial == HOST else find_device(serial)
        results = measure(request, device).record()
    if output:
        write_report(results, output, overwrite=overwrite)
    if as_json:
        report.show(results, as_json)
    else:
        _show(results)
    if results["lost"]:
        kept = f"; the measurements so far are in {output}" if output else ""
        raise DeviceLostError(f"{results['lost']}{kept}")


def _check_options(
    in_app: bool, serial: str | None, apk: Path | None, base: str | None, runner: Path | None
) -> None:
    """Raise ``UsageError`` for options that do not go together."""
    if apk and not in_app:
        raise UsageError("--apk installs the app; pass --via app with it")
    if in_app and serial == HOST:
        raise UsageError(
            "--via app runs on an Android device; pass its serial, or leave --serial out"
        )
    if in_app and (base or runner):
        raise UsageError(
            "--via app measures only the bundle, with the app's own ExecuTorch; drop --base and "
            "--runner"
        )


def compare(
    before: Annotated[Path, typer.Argument(help="Earlier results.json, or its directory.")],
    after: Annotated[Path, typer.Argument(help="Later results.json, or its directory.")],
    threshold: Annotated[str, typer.Option(help="Growth that counts as a regression.")] = "10%",
    as_json: Json = False,
) -> None:
    """Compare two profiles of one device; the exit code is 1 if anything regressed."""
    from ..profiling.compare import compare as compare_results
    from ..profiling.results import read_results

    first, second = read_results(before), read_results(after)
    changes = compare_results(first, second, _share(threshold))
    worse = [change for change in changes if change.regression]
    if as_json:
        report.show(
            {"regressions": len(worse), "changes": [change.record() for change in changes]}, True
        )
    else:
        grid = Table("", "before", "after", "change", "")
        for change in changes:
            figures = f"{change.before:,.3f}", f"{change.after:,.3f}", f"{change.share:+.1%}"
            cells = change.figure, *figures, "regression" if change.regression else ""
            grid.add_row(*map(report.plain, cells))
        Console().print(grid)
        Console().print(f"{len(worse)} regressions in {len(changes)} figures")
    if not (first["timing_valid"] and second["timing_valid"]):
        messages.print("Times are not compared: they are meaningless on this device.")
    if worse:
        raise typer.Exit(1)


def _show(results: dict) -> None:
    from ..profiling.tables import all_tables, headline

    console = Console()
    for line in [*headline(results), *results["notes"]]:
        console.print(report.plain(line))
    for table in all_tables(results):
        note = report.plain(table.note) if table.note else None
        grid = Table(*table.head, title=table.title, caption=note)
        for column in grid.columns[1:]:
            column.justify = "right"
        for row in table.rows:
            grid.add_row(*map(report.plain, row))
        console.print(grid)


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = math.nan
    if not math.isfinite(share):
        raise UsageError(f"--threshold {shortened(text)!r}: expected a percentage such as 10%")
    return share
