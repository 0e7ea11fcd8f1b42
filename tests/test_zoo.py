"""The bundled zoo: real adapters of the quality that is claimed, through the program too."""

import random
from statistics import mean

import pytest
from peft import PeftModel

from hydraopt.lowering.bundle import export_bundle
from hydraopt.merging import MergedAdapters, hydraopt
from hydraopt.runtime import Session
from hydraopt.zoo import ADAPTERS, BASE, DATA, TASKS, load_adapters
from hydraopt.zoo.evaluate import (
    bundle_exact_match,
    exact_match,
    load_base,
    merged_exact_match,
    unmerged_exact_match,
)
from hydraopt.zoo.frontier import Point, plot, table
from hydraopt.zoo.tasks import BASE_LANGUAGES, LANGUAGES, examples, held_out, test_examples

test_examples.__test__ = False  # a function of the zoo, not a test


def test_forty_tasks_five_applications_eight_languages():
    assert len(set(TASKS)) == 40
    assert not set(LANGUAGES) & set(BASE_LANGUAGES)
    assert {path.name for path in ADAPTERS.iterdir()} == set(TASKS)
    assert sum(file.stat().st_size for file in DATA.rglob("*") if file.is_file()) < 12e6


def test_test_inputs_are_never_trained_on():
    for application in ("date", "money", "words", "delta", "unit"):
        train = examples(application, "de", random.Random(0))
        trained = {next(train)[0] for _ in range(2000)}
        tested = dict(test_examples(f"{application}-de", 200))
        assert len(tested) == 200
        assert not trained & set(tested)
    assert not held_out("7")


@pytest.mark.parametrize(
    ("task", "pair"),
    [
        ("date-de", ("date 1961-04-28=", "28. April 1961")),
        ("money-en", ("money 93.26 EUR=", "€93.26")),
        ("words-fr", ("words 72=", "soixante-douze")),
        ("delta-pl", ("delta -868 minute=", "868 minut temu")),
        ("unit-es", ("unit 110.1 meter=", "110,1 metros")),
    ],
)
def test_ground_truth(task, pair):
    assert next(examples(*task.split("-"), random.Random(1))) == pair


def test_every_adapter_is_a_plain_peft_directory():
    for task in TASKS[::13]:
        model = PeftModel.from_pretrained(load_base(), ADAPTERS / task).eval()
        assert exact_match(model, test_examples(task, 50)) >= 0.9


@pytest.fixture(scope="module")
def model():
    return load_base()


@pytest.fixture(scope="module")
def unmerged(model):
    return unmerged_exact_match(load_adapters(), model)


@pytest.mark.slow
def test_unmerged_quality(unmerged):
    assert mean(unmerged.values()) >= 0.97
    assert min(unmerged.values()) >= 0.85
    assert sum(score < 0.99 for score in unmerged.values()) >= 3, "saturated: losses cannot show"


@pytest.mark.slow
def test_the_a_factors_are_aligned(model, unmerged):
    """One shared A with a B per task costs at most 1.8 points, the paper's range."""
    scores = merged_exact_match(hydraopt(load_adapters()), model)
    assert mean(unmerged.values()) - mean(scores.values()) <= 0.018


@pytest.mark.slow
def test_the_program_scores_as_eager_does_on_all_tasks(model, tmp_path):
    hydraopt(load_adapters()).save(tmp_path / "merged")
    merged = MergedAdapters.load(tmp_path / "merged")
    export_bundle(merged, str(BASE), tmp_path / "bundle")
    count = 25
    program = bundle_exact_match(Session.open(tmp_path / "bundle"), count)
    assert program == merged_exact_match(merged, model, count)
    assert mean(program.values()) > 0.95


def test_adapters_are_left_out_again_after_evaluation(model):
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    merged_exact_match(hydraopt(load_adapters(), clusters=1), model, count=1)
    assert all(before[name].equal(p) for name, p in model.named_parameters())


def test_the_frontier_is_tabulated_and_plotted(tmp_path):
    points = [Point.of("unmerged", 1.0, {"a": 1.0, "b": 0.9})]
    points += [Point.of(f"K = {k}", k / 100, {"a": 0.5, "b": k / 100}) for k in (1, 4)]
    assert "| K = 4 | 4.0% | 27.00 | 4.0 (b) |" in table(points)
    plot(points, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
