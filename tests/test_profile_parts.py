"""Plans, outputs, conditions and the cache, on figures that can be checked by hand."""

import os
import time

import pytest
import torch

from hydraopt.errors import ProfilingError
from hydraopt.lowering.alternatives import Alternative
from hydraopt.profiling.cache import COMPLETE, cached, drop_unused
from hydraopt.profiling.conditions import condition_notes, parse_conditions
from hydraopt.profiling.outputs import Expected, compare_outputs
from hydraopt.profiling.script import Workload, commands, samples, warm_script
from hydraopt.profiling.variants import BUNDLE, Variant, reloading_variant


@pytest.fixture
def three_tasks(tmp_path):
    switches = tuple((f"switch packs/{task}.pack",) for task in "abc")
    return Variant(BUNDLE, {}, ("program model.pte", "shared shared.pack"), switches)


def records_of(script):
    """What a runner answers, with a time of its own on every line."""
    for number, command in enumerate(commands(script)):
        match command.split():
            case ["switch", _]:
                yield {"map_ms": number, "unpack_ms": 1000.0}
            case ["decode", count]:
                yield {"ms": [float(number)] * int(count), "tokens": []}
            case ["memory"]:
                yield {"resident": 4096 * number, "peak": 1 << 20}
            case _:
                yield {"ms": float(number)}


def test_a_script_gives_as_many_samples_as_was_asked_for(three_tasks):
    workload = Workload(prompt=8, tokens=4, sequences=3, switches=10)
    script = warm_script(three_tasks, workload, threads=2)
    found = samples(script, list(records_of(script)))
    assert {name: len(values) for name, values in found.items()} == {
        "load_warm_ms": 1,
        "first_inference_ms": 1,
        "prefill_ms": 3,
        "decode_ms": 12,
        "swap_map_ms": 10,
        "swap_unpack_ms": 10,
        "swap_ms": 10,
        "first_token_ms": 10,
        "peak_bytes": 1,
        "growth_bytes": 1,
    }


def test_a_sample_is_the_sum_of_its_lines(three_tasks):
    script = warm_script(three_tasks, Workload(8, 4), threads=1)
    found = samples(script, list(records_of(script)))
    assert found["load_warm_ms"] == [1 + 2]  # lines 1 and 2 of the script
    assert found["swap_ms"] == [x + 1000 for x in found["swap_map_ms"]]
    assert found["growth_bytes"][0] > 0


def test_every_task_is_switched_to(three_tasks):
    script = warm_script(three_tasks, Workload(8, 4, switches=6), threads=1)
    measured = [section.commands[0] for section in script if section.metric == "swap"]
    assert {measured.count(switch) for (switch,) in three_tasks.switches} == {2}


def test_a_variant_without_packs_switches_by_loading_again(tmp_path):
    variant = reloading_variant("ptd", Alternative(tmp_path / "x.pte", tmp_path / "x.ptd"))
    script = warm_script(variant, Workload(8, 4, reloads=5), threads=1)
    found = samples(script, list(records_of(script)))
    assert len(found["swap_ms"]) == 5
    assert "swap_unpack_ms" not in found
    assert commands(script).count("program x.pte x.ptd") == 1 + 2 + 5  # load, warm-ups, samples


@pytest.mark.parametrize("max_length", [8, 32, 128, 2048])
@pytest.mark.parametrize("prefill_length", [4, 7, 128])
@pytest.mark.parametrize("least", [False, True])
def test_a_plan_fits_into_the_context_and_a_prompt_into_one_call(max_length, prefill_length, least):
    workload = Workload.fitting(max_length, prefill_length, least=least)
    assert 1 <= workload.prompt <= min(max_length - 1, prefill_length)
    assert workload.prompt + workload.tokens <= max_length


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


def test_what_nobody_asked_for_in_a_week_leaves_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    old, new = (cached(f"group/{name}", lambda directory: None) for name in ("old", "new"))
    week_ago = time.time() - 8 * 86400
    os.utime(old / COMPLETE, (week_ago, week_ago))
    drop_unused("group")
    assert (old.exists(), new.exists()) == (False, True)
