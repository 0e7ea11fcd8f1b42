"""The frontier and the comparison of merges: measured once, resumed, written, and refused."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from devices import wait_until

from hydraopt.adapters import AdapterSet, read_adapters
from hydraopt.errors import OutputError, UsageError
from hydraopt.evaluation.chart import merges_table, table
from hydraopt.evaluation.frontier import candidates, frontier
from hydraopt.evaluation.interval import interval
from hydraopt.evaluation.merges import BASE, UNMERGED, compare_merges, evenly_spaced
from hydraopt.evaluation.points import Benchmark, measured
from hydraopt.evaluation.reports import write_frontier, write_merges
from hydraopt.files import LIST, output_directory

TASKS = ("alpha", "beta", "gamma")
PAIRS = (("hello", "x"), ("good day", "x"))


@pytest.fixture(autouse=True)
def one_core(monkeypatch):
    """The others are taken by other tests."""
    monkeypatch.setattr("os.cpu_count", lambda: 1)


@pytest.fixture(scope="module")
def benchmark(adapter_dirs, base):
    return Benchmark(read_adapters(adapter_dirs), str(base), dict.fromkeys(TASKS, PAIRS))


def test_the_frontier_resumes_and_is_tabulated(benchmark, tmp_path, monkeypatch):
    first = frontier(benchmark, ["hydraopt", "plain"], tmp_path, 1)
    assert [(p.series, p.label) for p in first[:4]] == [
        ("unmerged", "unmerged"),
        ("base model", "base model"),
        ("hydraopt", "K = 1"),
        ("hydraopt", "K = 2"),
    ]
    monkeypatch.setattr("hydraopt.evaluation.points._call", None)
    assert frontier(benchmark, ["hydraopt", "plain"], tmp_path, 1) == first
    assert f"| hydraopt | K = 1 | {first[2].share:.1%} |" in table(first)


@pytest.mark.slow
def test_a_result_is_kept_while_slower_ones_are_measured(tmp_path):
    path = tmp_path / "points" / "quick.json"
    work = {"slow": partial(once_there, path), "quick": partial(dict, found=True)}
    assert measured(work, "any", tmp_path, 2) == {name: {"found": True} for name in work}


def once_there(path):
    wait_until(path.exists)
    return {"found": True}


def test_other_examples_are_measured_again(benchmark, tmp_path):
    frontier(benchmark, ["average"], tmp_path, 1)
    other = Benchmark(benchmark.adapters, benchmark.base, dict.fromkeys(TASKS, PAIRS[:1]))
    assert other.fingerprint != benchmark.fingerprint
    (file,) = (tmp_path / "points").glob("average*")
    before = file.read_text()
    frontier(other, ["average"], tmp_path, 1)
    assert file.read_text() != before


def test_tasks_are_chosen_evenly():
    assert evenly_spaced("abcdefgh", 4) == list("aceg")
    assert evenly_spaced("abcdefgh", 8) == list("abcdefgh")
    assert evenly_spaced("abc", 0) == []


def test_merges_are_compared_on_their_own_tasks_and_on_unseen_ones(
    benchmark, tmp_path, monkeypatch
):
    arguments = (benchmark, ["average", "private"], [1, 2], 1, tmp_path, 1)
    points = compare_merges(*arguments)
    found = {(point.method, point.tasks): point for point in points}
    assert list(dict.fromkeys(p.method for p in points)) == [UNMERGED, BASE, "average", "private"]
    # one adapter merged is that adapter, also on the task that it never saw
    own = AdapterSet(x for x in benchmark.adapters.adapters if x.name == "beta").adapters[0]
    scores = benchmark.evaluator().scores(["beta", "alpha"], lambda _: own.factors)
    assert found["average", 1].held_in.tokens == pytest.approx(scores["beta"].tokens)
    assert found["average", 1].held_out.tokens == pytest.approx(scores["alpha"].tokens)
    assert found["private", 2].held_in == found[UNMERGED, 2].held_in
    assert found["private", 2].held_out is None
    assert "| private |" in merges_table(points)
    monkeypatch.setattr("hydraopt.evaluation.points._call", None)
    assert compare_merges(*arguments) == points


def test_what_is_compared_is_written(benchmark, tmp_path):
    write_frontier(tmp_path, benchmark, ["average"], 1)
    write_merges(tmp_path, benchmark, ["average"], [1, 3], 0, 1)
    written = {path.name for path in tmp_path.iterdir()} - {"points", LIST}
    assert written == {"results.json", "merges.json"} | {
        f"{name}.{suffix}" for name in ("frontier", "merges") for suffix in ("md", "png")
    }
    records = json.loads((tmp_path / "merges.json").read_text())
    assert {record["tasks"] for record in records} == {1, 3}


def test_budgets_can_be_chosen(benchmark, tmp_path):
    found = candidates(["budget", "calibrated"], 3, [2.5, 10, 30])
    assert [candidate.label for candidate in found] == ["2.5 %", "10 %", "30 %", "2.5 %", "10 %"]
    default = candidates(["calibrated"], 3)
    assert [candidate.label for candidate in default] == ["3 %", "5 %", "7 %", "10 %"]
    points = write_frontier(tmp_path, benchmark, ["budget"], 1, [60, 90])
    assert [point.label for point in points] == ["unmerged", "base model", "60 %", "90 %"]


def test_all_scores_of_every_task_are_kept(benchmark, tmp_path):
    unmerged, base, merged = write_frontier(tmp_path, benchmark, ["average"], 1)
    kept = json.loads((tmp_path / "results.json").read_text())[2]
    evaluator = benchmark.evaluator()
    shared = benchmark.merge("average", benchmark.adapters)
    found = evaluator.all_scores(TASKS, shared.task_factors)
    alone = evaluator.all_scores(TASKS, lambda _: {})
    assert base.nats == {task: scores.forced.nats for task, scores in alone.items()}
    for task in TASKS:
        (exact, tokens, nats), (generated, chrf) = found[task]
        assert [kept[x][task] for x in ("scores", "tokens", "nats", "generated", "chrf")] == (
            pytest.approx([exact, tokens, nats, generated, chrf])
        )
    assert kept["s_score"] == merged.s_score(unmerged)
    assert kept["lost_interval"] == [*merged.lost(unmerged)]
    assert kept["mean_nats"] == pytest.approx(sum(merged.nats.values()) / 3)
    assert "| nats per token | chrF | S-score % |" in (tmp_path / "frontier.md").read_text()


def test_an_interval_holds_the_mean_of_other_tasks_as_often_as_it_says():
    random = np.random.default_rng(1)
    held = [low <= 2 <= high for low, high in map(interval, random.exponential(2, (200, 40)))]
    assert 0.89 < np.mean(held) < 0.98  # 95 %, a little less as for all skewed losses


def test_an_interval_depends_on_the_losses_alone():
    assert interval([0.5] * 8) == (0.5, 0.5)
    losses = [0.0, 0.1, 0.4, 0.0, 0.3]
    low, high = interval(losses)
    assert (low, high) == interval(losses)
    assert 0 < low < np.mean(losses) < high < 0.4
    assert np.subtract(interval([x + 1 for x in losses]), 1) == pytest.approx([low, high])


def test_scores_in_bfloat16_are_near_and_measured_apart(benchmark):
    other = replace(benchmark, bfloat16=True)
    assert other.fingerprint != benchmark.fingerprint
    factors = benchmark.adapters.adapters[0].factors
    exact, near = (
        x.evaluator().scores(["alpha"], lambda _: factors)["alpha"].nats for x in (benchmark, other)
    )
    assert near != exact
    assert near == pytest.approx(exact, rel=0.01)


def test_what_cannot_be_done_is_refused(benchmark, tmp_path):
    with pytest.raises(
        UsageError, match="no method 'magic'; expected one of budget, mixable, calibrated, plain,"
    ):
        candidates(["magic"], 3)
    with pytest.raises(UsageError, match="4 tasks, expected 1 to 2: 3 tasks without the 1 held"):
        compare_merges(benchmark, ["average"], [2, 4], 1, tmp_path, 1)
    with pytest.raises(UsageError, match="no merging method 'budget'"):
        compare_merges(benchmark, ["budget"], [2], 1, tmp_path, 1)
    for method in ("supermerge", "calibrated"):
        with pytest.raises(UsageError, match=f"{method} needs training examples"):
            frontier(benchmark, [method], tmp_path, 1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(OutputError, match="holds files but no hydraopt-files"):
        write_frontier(tmp_path / "other", benchmark, ["plain"], 1)
    with output_directory(tmp_path / "bundle", "bundle"):
        pass
    with pytest.raises(OutputError, match="is a bundle, expected a frontier"):
        write_frontier(tmp_path / "bundle", benchmark, ["plain"], 1)
