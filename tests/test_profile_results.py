"""Sizes, statistics, comparisons and reports, on figures that can be checked by hand."""

import json

import pytest
from typer.testing import CliRunner

from hydraopt.cli import app as cli
from hydraopt.errors import ProfilingError, UsageError
from hydraopt.lowering.alternatives import Alternative
from hydraopt.profiling.facts import host_facts
from hydraopt.profiling.page import write_report
from hydraopt.profiling.results import Profile, read_results, statistics
from hydraopt.profiling.sizes import Growth, crossover, growths, program_parts
from hydraopt.profiling.variants import BUNDLE

PARTS = {
    "program_instructions": 10,
    "program_constants": 900,
    "shared_factors": 40,
    "packs": 30,
    "largest_pack": 10,
    "other_files": 20,
    "total": 1000,
}


def test_statistics_are_of_all_rounds():
    found = statistics([[1, 2, 3], [4, 5]])
    assert (found["count"], found["median"], found["round_medians"]) == (5, 3, [2, 4.5])
    assert found["p5"] < found["median"] < found["p95"]


@pytest.mark.parametrize(
    "other", [Growth(0, 50), Growth(0, 1000), Growth(900, 20), Growth(5, 10), Growth(0, 10.5)]
)
def test_the_crossover_is_where_the_bundle_becomes_smaller(other):
    bundle = Growth(1000, 10)
    smaller = [n for n in range(1, 5000) if bundle.total(n) < other.total(n)]
    assert crossover(bundle, other) == (smaller[0] if smaller else None)


def test_sizes_are_those_of_files(tmp_path):
    sizes = {"baked.pte": 800, "constants.pte": 850, "ptd.pte": 810, "ptd.ptd": 60}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(bytes(size))
    lowered = {
        "baked": Alternative(tmp_path / "baked.pte"),
        "constants": Alternative(tmp_path / "constants.pte"),
        "ptd": Alternative(tmp_path / "ptd.pte", tmp_path / "ptd.ptd"),
    }
    variants = growths(PARTS, 3, adapter_bytes=90, lowered=lowered)
    assert {name: growth.total(3) for name, growth in variants.items()} == {
        "bundle": PARTS["total"],
        "baked": 3 * 800,
        "constants": 3 * 850,
        "ptd": 810 + 3 * 60,
        "adapters": 800 + 90,
    }


def test_a_file_that_is_no_program_is_refused(tmp_path):
    (tmp_path / "model.pte").write_bytes(bytes(100))
    with pytest.raises(ProfilingError, match="is not an ExecuTorch program"):
        program_parts(tmp_path / "model.pte")


def result(times=(1.0, 1.1, 0.9), total=1000, **changes) -> dict:
    """A record of results whose decode times are ``times``, a round each."""
    sizes = {
        "tasks": 3,
        "bundle": PARTS | {"total": total},
        "separate_adapters": 90,
        "separate_adapters_counted": "files",
        "programs_included": False,
        "variants": {
            "bundle": {"fixed": 40, "per_task": 10, "at_tasks": 70, "bundle_smaller_from": None},
            "adapters": {"fixed": 0, "per_task": 30, "at_tasks": 90, "bundle_smaller_from": 3},
        },
    }
    bundle = {"name": "b", "base_model": "m", "tasks": 3}
    settings = {"prompt": 8, "rounds": len(times), "switches": 100, "reloads": 5}
    found = Profile(host_facts(), bundle, sizes, settings)
    for ms in times:
        found.add(BUNDLE, 1, {"decode_ms": [ms, ms], "swap_ms": [ms / 10], "peak_bytes": [9]})
    return found.record() | changes


def compare(tmp_path, before, after, *options):
    for name, results in (("a", before), ("b", after)):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "results.json").write_text(json.dumps(results))
    arguments = ["compare", str(tmp_path / "a"), str(tmp_path / "b" / "results.json"), "--json"]
    done = CliRunner().invoke(cli.app, [*arguments, *options])
    return done, json.loads(done.stdout.splitlines()[0]) if done.stdout else None


def test_equal_results_have_no_regression(tmp_path):
    done, found = compare(tmp_path, result(), result())
    assert (done.exit_code, found["regressions"]) == (0, 0)
    figures = {change["figure"] for change in found["changes"]}
    assert {"bundle decode_ms, 1 thread(s)", "size of total, bytes"} <= figures


def test_slower_in_every_round_is_a_regression(tmp_path):
    done, found = compare(tmp_path, result(), result((1.3, 1.4, 1.2)))
    assert done.exit_code == 1
    assert found["changes"][0]["regression"]
    assert found["changes"][0]["share"] == pytest.approx(0.3)


def test_faster_is_none(tmp_path):
    assert compare(tmp_path, result(), result((0.5, 0.4, 0.6)))[0].exit_code == 0


def test_slower_in_the_noise_is_none(tmp_path):
    """The median grew by 30 %, but one round of the later run was as fast as the earlier run."""
    assert compare(tmp_path, result(), result((1.3, 1.4, 1.0)))[0].exit_code == 0


def test_the_threshold_decides(tmp_path):
    after = result((1.3, 1.4, 1.2))
    assert compare(tmp_path, result(), after, "--threshold", "50%")[0].exit_code == 0
    assert compare(tmp_path, result(), after, "--threshold", "5")[0].exit_code == 1


def test_a_larger_bundle_is_a_regression(tmp_path):
    done, found = compare(tmp_path, result(), result(total=1200))
    assert done.exit_code == 1
    assert found["changes"][0]["figure"] == "size of total, bytes"


def test_times_that_mean_nothing_are_not_compared(tmp_path):
    invalid = {"timing_valid": False}
    done, found = compare(tmp_path, result(**invalid), result((9.0,) * 3, **invalid))
    assert done.exit_code == 0
    assert not any("ms" in change["figure"].split("_") for change in found["changes"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run_id": "1"}, "only one of the results was measured in the app"),
        ({"status": "partial", "lost": "device x went away"}, "partial .*device x went away"),
        ({"device": result()["device"] | {"model": "Pixel"}}, "different devices: model .*Pixel"),
        ({"settings": result()["settings"] | {"prompt": 9}}, "prompts of 8 and 9 tokens"),
        ({"format_version": 99}, "format version 99, expected 3"),
        ({"measurements": None}, "is not a result"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path, change, message):
    after = result() | change
    if after["measurements"] is None:
        del after["measurements"]
    done, _ = compare(tmp_path, result(), after)
    assert isinstance(done.exception, UsageError)
    with pytest.raises(UsageError, match=message):
        raise done.exception


def test_a_partial_report_is_written_and_says_so(tmp_path):
    partial = result(status="partial", lost="device x went away", outputs={})
    write_report(partial, tmp_path / "report")
    assert read_results(tmp_path / "report")["status"] == "partial"
    assert "Partial: device x went away" in (tmp_path / "report" / "report.html").read_text()


def test_a_report_without_any_measurement_is_written(tmp_path):
    write_report(result(times=()), tmp_path / "report")
    assert (tmp_path / "report" / "size.png").exists()
    assert not (tmp_path / "report" / "switch.png").exists()
