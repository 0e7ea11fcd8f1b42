"""Plans, sizes, outputs, statistics and comparisons, on figures that can be checked by hand."""

import json
import os
import time

import pytest
import torch
from typer.testing import CliRunner

from hydraopt import cli
from hydraopt.errors import ProfilingError, UsageError
from hydraopt.lowering.alternatives import Alternative
from hydraopt.profiling.cache import COMPLETE, cached, drop_unused
from hydraopt.profiling.conditions import condition_notes, parse_conditions
from hydraopt.profiling.facts import host_facts
from hydraopt.profiling.outputs import Expected, compare_outputs
from hydraopt.profiling.page import write_report
from hydraopt.profiling.plan import Effort, lines, samples, warm_plan
from hydraopt.profiling.results import Profile, read_results, statistics
from hydraopt.profiling.sizes import Growth, crossover, growths, program_parts
from hydraopt.profiling.variants import BUNDLE, Variant, alternative_variant

PARTS = {
    "program_instructions": 10,
    "program_constants": 900,
    "shared_factors": 40,
    "packs": 30,
    "largest_pack": 10,
    "other_files": 20,
    "total": 1000,
}


@pytest.fixture
def three_tasks(tmp_path):
    switches = tuple((f"switch packs/{task}.pack",) for task in "abc")
    return Variant(BUNDLE, {}, ("program model.pte", "shared shared.pack"), switches)


def records_of(plan):
    """What a runner answers, with a time of its own on every line."""
    for number, line in enumerate(lines(plan)):
        match line.split():
            case ["switch", _]:
                yield {"map_ms": number, "decode_ms": 1000.0}
            case ["decode", count]:
                yield {"ms": [float(number)] * int(count), "tokens": []}
            case ["memory"]:
                yield {"resident": 4096 * number, "peak": 1 << 20}
            case _:
                yield {"ms": float(number)}


def test_a_plan_gives_as_many_samples_as_was_asked_for(three_tasks):
    effort = Effort(prompt=8, tokens=4, sequences=3, switches=10)
    plan = warm_plan(three_tasks, effort, threads=2)
    found = samples(plan, list(records_of(plan)))
    assert {name: len(values) for name, values in found.items()} == {
        "load_warm_ms": 1,
        "first_inference_ms": 1,
        "prefill_ms": 3,
        "decode_ms": 12,
        "swap_map_ms": 10,
        "swap_decode_ms": 10,
        "swap_ms": 10,
        "first_token_ms": 10,
        "peak_bytes": 1,
        "growth_bytes": 1,
    }


def test_a_sample_is_the_sum_of_its_lines(three_tasks):
    plan = warm_plan(three_tasks, Effort(8, 4), threads=1)
    found = samples(plan, list(records_of(plan)))
    assert found["load_warm_ms"] == [1 + 2]  # lines 1 and 2 of the plan
    assert found["swap_ms"] == [x + 1000 for x in found["swap_map_ms"]]
    assert found["growth_bytes"][0] > 0


def test_every_task_is_switched_to(three_tasks):
    plan = warm_plan(three_tasks, Effort(8, 4, switches=6), threads=1)
    measured = [step.lines[0] for step in plan if step.metric == "swap"]
    assert {measured.count(switch) for (switch,) in three_tasks.switches} == {2}


def test_an_alternative_switches_by_loading_again(tmp_path):
    variant = alternative_variant("ptd", Alternative(tmp_path / "x.pte", tmp_path / "x.ptd"))
    plan = warm_plan(variant, Effort(8, 4, reloads=5), threads=1)
    found = samples(plan, list(records_of(plan)))
    assert len(found["swap_ms"]) == 5
    assert "swap_decode_ms" not in found
    assert lines(plan).count("program x.pte x.ptd") == 1 + 2 + 5  # load, warm-ups, samples


@pytest.mark.parametrize("max_length", [8, 32, 128, 2048])
def test_a_plan_fits_into_the_context(max_length):
    effort = Effort.of(max_length)
    assert 1 <= effort.prompt < max_length
    assert effort.prompt + effort.tokens <= max_length


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
    alternatives = {
        "baked": Alternative(tmp_path / "baked.pte"),
        "constants": Alternative(tmp_path / "constants.pte"),
        "ptd": Alternative(tmp_path / "ptd.pte", tmp_path / "ptd.ptd"),
    }
    ways = growths(PARTS, 3, adapter_bytes=90, alternatives=alternatives)
    assert {name: way.total(3) for name, way in ways.items()} == {
        "bundle": PARTS["total"],
        "baked": 3 * 800,
        "constants": 3 * 850,
        "ptd": 810 + 3 * 60,
        "adapters": 800 + 90,
    }


def test_a_file_that_is_no_program_is_refused(tmp_path):
    (tmp_path / "model.pte").write_bytes(bytes(100))
    with pytest.raises(ProfilingError, match="is no ExecuTorch program"):
        program_parts(tmp_path / "model.pte")


@pytest.fixture
def expected():
    logits = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    return {f"task{i}": Expected((1, 2, 3), x) for i, x in enumerate(logits)}


def logit_bytes(expected):
    return torch.stack([task.logits for task in expected.values()])


def test_equal_outputs_pass(expected):
    content = logit_bytes(expected).numpy().tobytes()
    found = compare_outputs(content, expected, 1e-3, "bundle on x")
    assert (found["tasks"], found["positions"], found["largest_difference"]) == (2, 4, 0)


@pytest.mark.parametrize("wrong", [0.1, float("nan"), float("inf")])
def test_one_wrong_logit_of_one_task_fails(expected, wrong):
    logits = logit_bytes(expected).clone()
    logits[1, 3, 7] += wrong
    with pytest.raises(ProfilingError, match=r"bundle on x computes other .* 1 of 2 tasks \(first"):
        compare_outputs(logits.numpy().tobytes(), expected, 1e-3, "bundle on x")


def test_missing_logits_fail(expected):
    with pytest.raises(ProfilingError, match="gave 127 logits, expected 128"):
        compare_outputs(bytes(4 * 127), expected, 1e-3, "bundle on x")


def test_heat_and_clocks_are_read():
    found = parse_conditions(
        "zone battery 99000\nzone cpu-0-0 41500\nzone cpu-0-1 38000\nzone cpu-off -273000\n"
        "zone\nclock 1500000 2000000\nclock 2000000 2000000\nclock  \nload 0.25 0.3 0.4 1/2 3\n"
    )
    assert found == {"celsius": 41.5, "clock_limit": 0.75, "load": 0.25}
    assert parse_conditions("") == {"celsius": None, "clock_limit": None, "load": None}


def test_what_slows_a_device_down_is_noted():
    cool = {"celsius": 30.0, "clock_limit": 1.0, "load": 0.1}
    hot = {"celsius": 55.0, "clock_limit": 0.6, "load": 1.0}
    unknown = dict.fromkeys(cool)
    assert condition_notes(cool, cool, 8) == []
    assert condition_notes(unknown, unknown, 8) == []
    heat, clocks = condition_notes(cool, hot, 8)
    assert "from 30 to 55 °C" in heat
    assert "limited to 60%" in clocks
    assert "load 7.0 on 8 cores" in condition_notes(cool | {"load": 7.0}, cool, 8)[0]


def result(times=(1.0, 1.1, 0.9), total=1000, **changes) -> dict:
    """A record of results whose decode times are ``times``, a round each."""
    sizes = {
        "tasks": 3,
        "bundle": PARTS | {"total": total},
        "separate_adapters": 90,
        "separate_adapters_counted": "files",
        "programs_included": False,
        "ways": {
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
        ({"status": "partial", "lost": "device x went away"}, "partial .*device x went away"),
        ({"device": result()["device"] | {"model": "Pixel"}}, "different devices: model .*Pixel"),
        ({"settings": result()["settings"] | {"prompt": 9}}, "prompts of 8 and 9 tokens"),
        ({"format_version": 99}, "format version 99, expected 1"),
        ({"measurements": None}, "is no result"),
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


def test_what_nobody_asked_for_in_a_week_leaves_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    old, new = (cached(f"group/{name}", lambda directory: None) for name in ("old", "new"))
    week_ago = time.time() - 8 * 86400
    os.utime(old / COMPLETE, (week_ago, week_ago))
    drop_unused("group")
    assert (old.exists(), new.exists()) == (False, True)


def test_a_partial_report_is_written_and_says_so(tmp_path):
    partial = result(status="partial", lost="device x went away", outputs={})
    write_report(partial, tmp_path / "report")
    assert read_results(tmp_path / "report")["status"] == "partial"
    assert "Partial: device x went away" in (tmp_path / "report" / "report.html").read_text()


def test_a_report_without_any_measurement_is_written(tmp_path):
    write_report(result(times=()), tmp_path / "report")
    assert (tmp_path / "report" / "size.png").exists()
    assert not (tmp_path / "report" / "switch.png").exists()
