"""The base itself, scaled tasks and mixtures of tasks."""

import json
import math

import pytest
import torch
from command_line import fails, succeeds
from conftest import BASE_ID, delta, random_set, tiny_llama
from peft import PeftModel

from hydraopt.cli.records import describe
from hydraopt.errors import TaskError
from hydraopt.lowering.base_model import load_base
from hydraopt.lowering.factors import input_factors
from hydraopt.lowering.lowered import lower_base
from hydraopt.lowering.settings import ExportSettings
from hydraopt.packing import CodedAdapters, Coder
from hydraopt.runtime import Session
from hydraopt.runtime.mixtures import mixed, mixture_of
from hydraopt.runtime.native import Running, load_program

PROMPT = [5, 17, 99, 200, 3]
TASKS = ("alpha", "beta", "gamma")
MIXTURES = ({"alpha": 0.6, "gamma": 1.0}, {"beta": -1.5}, {"alpha": 1, "beta": 1, "gamma": -2})


def test_weights_are_those_that_are_asked_for():
    assert mixture_of("alpha", 1.0, TASKS) == {"alpha": 1.0}
    assert mixture_of("alpha", -0.5, TASKS) == {"alpha": -0.5}
    assert mixture_of({"alpha": 16, "beta": 0, "gamma": -16}, 1, TASKS) == {
        "alpha": 16.0,
        "gamma": -16.0,
    }
    assert mixture_of(None, 1.0, TASKS) == {}


@pytest.mark.parametrize(
    ("asked", "scale", "message"),
    [
        ("delta", 1.0, "no task 'delta'; there are: alpha, beta, gamma"),
        ({"alpha": 1.0, "delta": 0.0}, 1.0, "no task 'delta'; there are: alpha, beta, gamma"),
        ("alpha", math.nan, "weight of task 'alpha' is nan, expected -16 to 16"),
        ({"beta": math.inf}, 1.0, "weight of task 'beta' is inf, expected -16 to 16"),
        ({"alpha": 1.0, "beta": -17}, 1.0, "weight of task 'beta' is -17, expected -16 to 16"),
        ("alpha", 0.0, "all weights are 0, which is the base; switch to None for it"),
        ({"alpha": 0.0, "beta": -0.0}, 1.0, "all weights are 0, which is the base"),
        ({}, 1.0, "all weights are 0, which is the base"),
        ({"alpha": 1.0}, 0.5, "scale is 0.5, but scales one task; a mixture has weights"),
        (None, math.nan, "scale is nan, but scales one task"),
    ],
)
def test_weights_out_of_range_and_unknown_tasks_are_refused(asked, scale, message):
    with pytest.raises(TaskError, match=message):
        mixture_of(asked, scale, TASKS)


def random_factors(seed: int) -> dict[str, torch.Tensor]:
    """A task's: shared rows are a layer of ``low``, an input of ``high``; and a head."""
    shared, own = (torch.Generator().manual_seed(x) for x in (0, 1 + seed))
    return {
        "low.B": torch.randn(1, 3, 10, generator=own),
        "high.A": torch.randn(1, 12, 4, generator=shared),
        "high.B": torch.randn(1, 4, 8, generator=own),
    }


@pytest.mark.parametrize("mixture", MIXTURES)
def test_a_mixture_is_the_weighted_sum_of_deltas(mixture):
    unpacked = {task: random_factors(TASKS.index(task)) for task in mixture}
    found = dict(zip(("low.B", "high.A", "high.B"), mixed(unpacked, mixture), strict=True))

    def sum_of(part):
        return sum(weight * part(unpacked[task]).double() for task, weight in mixture.items())

    torch.testing.assert_close(found["low.B"].double(), sum_of(lambda x: x["low.B"]))
    delta = (found["high.A"] @ found["high.B"]).double()
    wanted = sum_of(lambda x: x["high.A"] @ x["high.B"])
    torch.testing.assert_close(delta, wanted, atol=1e-5, rtol=0)


def test_rows_of_a_tasks_own_cannot_be_mixed():
    unpacked = {task: random_factors(0) for task in ("alpha", "beta")}
    unpacked["beta"]["high.A"] = unpacked["beta"]["high.A"] + 1
    message = "'alpha', 'beta' cannot be mixed: 1 modules have rows of their own .* such as high;"
    with pytest.raises(TaskError, match=message) as error:
        mixed(unpacked, {"alpha": 0.5, "beta": 0.5})
    assert error.value.options == ("mixable",)


def test_a_scaled_task_keeps_its_head():
    head = {"score.task_head.A": torch.randn(1, 8, 3), "score.task_head.B": torch.randn(1, 3, 1)}
    factors = mixed({"alpha": random_factors(0) | head}, {"alpha": 0.5})
    assert torch.equal(factors[2], 0.5 * random_factors(0)["high.B"])
    assert factors[3] is head["score.task_head.A"]
    assert factors[4] is head["score.task_head.B"]


def coded(share: float, **options) -> CodedAdapters:
    """Three tasks that have little in common."""
    adapters = random_set(3, rank=4, spread=1.0)
    return Coder.from_adapters(adapters, **options).code(int(share * adapters.fp16_bytes))


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_mixable_adapters_share_all_rows_within_the_budget(share):
    free, mixable = coded(share), coded(share, mixable=True)
    assert mixable.layout.shares_rows and not free.layout.shares_rows
    assert mixable.stored_bytes <= share * mixable.adapter_bytes
    unpacked = {task: input_factors(mixable, task) for task in mixable.tasks}
    mixture = {"task0": 0.6, "task2": -1.0}
    factors = iter(mixed({task: unpacked[task] for task in mixture}, mixture))
    for name in mixable.modules:
        found = (next(factors) @ next(factors))[0].T.double()
        wanted = sum(w * delta(mixable.task_factors(t)[name]) for t, w in mixture.items())
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_compress_makes_adapters_mixable_and_info_says_so(adapter_dirs, tmp_path):
    for options, mixable in (((), False), (("--mixable",), True)):
        name = f"mixable-{mixable}"
        command = ("compress", *adapter_dirs, "--budget", "80%", *options, "-o", tmp_path / name)
        assert json.loads(succeeds(*command, "--json"))["mixable"] is mixable
        assert json.loads(succeeds("info", tmp_path / name, "--json"))["mixable"] is mixable


@pytest.mark.slow
def test_a_bundle_says_whether_its_tasks_can_be_mixed(bundle, methods_bundle, zoo_bundle, copied):
    (copied / "layout.json").unlink()  # of a phone
    for directory, mixable in (
        (bundle, True),
        (zoo_bundle, False),
        (methods_bundle, False),
        (copied, None),
    ):
        assert describe(directory)["mixable"] is mixable
    session = Session.open(zoo_bundle)
    session.switch("date-de", scale=0.5)
    session.forward(PROMPT)
    wanted = session.forward([9])
    session.rewind(len(PROMPT))
    message = r"'date-de', 'date-en' cannot be mixed: \d+ modules have rows of their own"
    with pytest.raises(TaskError, match=message):
        session.switch({"date-de": 0.5, "date-en": 0.5})
    assert session.mixture == {"date-de": 0.5}
    assert torch.equal(session.forward([9]), wanted)


@pytest.mark.slow
def test_the_base_is_transformers(bundle):
    session = Session.open(bundle)
    with torch.no_grad():
        wanted = tiny_llama()(torch.tensor([PROMPT])).logits[0, -1]
    for task in (None, "alpha", None):
        session.switch(task)
        found = session.forward(PROMPT)
        assert (session.task, session.mixture) == (task, {task: 1.0} if task else {})
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_the_base_of_a_quantised_bundle_is_its_own_program(quantised_bundle, base, tmp_path):
    loaded = load_base(str(base), BASE_ID)
    program = lower_base(loaded, loaded.kind.resolve(ExportSettings("8da4w"), loaded.model))
    (tmp_path / "base.pte").write_bytes(program.buffer)
    forward = load_program(tmp_path / "base.pte", "this").load_method("forward")
    (wanted,) = Running(forward, "the base").execute([torch.tensor([PROMPT]), torch.arange(5)])
    session = Session.open(quantised_bundle)
    session.switch(None)
    assert torch.equal(session.forward(PROMPT), wanted[0, -1])


def peft_logits(base, adapters, mixture) -> torch.Tensor:
    """Logits after the prompt with what PEFT makes of adapters: task -> directory."""
    model = load_base(str(base), BASE_ID).model
    for number, task in enumerate(mixture):
        if number == 0:
            model = PeftModel.from_pretrained(model, adapters[task], task)
        else:
            model.load_adapter(adapters[task], task)
    model.add_weighted_adapter([*mixture], [*mixture.values()], "mixture", combination_type="cat")
    model.set_adapter("mixture")
    with torch.no_grad():
        return model.eval()(torch.tensor([PROMPT])).logits[0, -1]


@pytest.mark.slow
@pytest.mark.parametrize("mixture", MIXTURES)
def test_a_mixture_is_what_peft_merges(bundle, merged, base, tmp_path, mixture):
    for task in mixture:
        merged.to_peft(task, tmp_path / task)
    wanted = peft_logits(base, {task: tmp_path / task for task in mixture}, mixture)
    session = Session.open(bundle)
    session.switch(mixture)
    assert session.mixture == mixture
    torch.testing.assert_close(session.forward(PROMPT), wanted, atol=1e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("mixture", MIXTURES)
def test_of_adapters_stored_whole_it_is_what_peft_makes_of_the_adapters_themselves(
    exported, verbatim, base, adapter_dirs, mixture
):
    wanted = peft_logits(base, {path.name: path for path in adapter_dirs}, mixture)
    session = Session.open(exported("verbatim", lambda: verbatim, base))
    session.switch(mixture)
    torch.testing.assert_close(session.forward(PROMPT), wanted, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_a_scale_moves_a_task_from_the_base_to_itself(quantised_bundle):
    session, logits = Session.open(quantised_bundle), {}
    for scale in (0.01, 0.5, 1.0):
        session.switch("beta", scale=scale)
        assert (session.task, session.mixture) == ("beta", {"beta": scale})
        logits[scale] = session.forward(PROMPT)
    session.switch("beta")
    assert torch.equal(session.forward(PROMPT), logits[1.0])
    session.switch(None)
    distances = [(session.forward(PROMPT) - x).norm() for x in logits.values()]
    session.reset()
    near, middle, far = distances
    assert near < 0.1 * middle < 0.1 * far


@pytest.mark.slow
@pytest.mark.parametrize("form", ["methods", "static", "data"])
def test_bundles_without_inputs_run_whole_tasks_only(request, form):
    session = Session.open(request.getfixturevalue(f"{form}_bundle"))
    first, second, *_ = session.tasks
    session.switch(first)
    session.forward(PROMPT)
    for arguments, options, what in [
        ([None], {}, "the base without an adapter"),
        ([first], {"scale": 0.5}, "a weight or a mixture"),
        ([{first: 1.0, second: 1.0}], {}, "a weight or a mixture"),
        ([second], {"keep_cache": True}, "a switch that keeps the KV cache"),
    ]:
        with pytest.raises(TaskError, match=f"has swap '{form}', expected 'inputs' for {what}"):
            session.switch(*arguments, **options)
    assert (session.task, session.position) == (first, len(PROMPT))


def run(bundle, *options) -> dict:
    return json.loads(succeeds("run", bundle, "--ids", "5,17,99", "--json", *options))


@pytest.mark.slow
def test_run_runs_the_base_a_scaled_task_and_a_mixture(bundle):
    session = Session.open(bundle)
    for options, asked in [
        ((), {"task": None}),
        (("--task", "beta", "--scale", "-.5"), {"task": "beta", "scale": -0.5}),
        (
            ("--mix", "alpha=0.6", "--mix", "beta=1"),
            {"task": {"alpha": 0.6, "beta": 1.0}},
        ),
    ]:
        session.switch(**asked)
        record = run(bundle, *options)
        assert record["ids"] == list(session.generate_ids([5, 17, 99], 64))
        assert (record["task"], record["mixture"]) == (session.task, session.mixture)


@pytest.mark.slow
def test_wrong_mixtures_are_one_clear_line(bundle):
    for options, message, code in [
        (("--task", "beta", "--mix", "alpha=1"), "pass either --task or --mix", 2),
        (("--scale", 0.5), "--scale goes with --task; --mix has weights", 2),
        (("--task", "beta", "--scale", "nan"), "nan is not a finite number", 2),
        (("--mix", "alpha"), "--mix 'alpha': expected NAME=VALUE, for example formal=0.6", 2),
        (("--mix", "alpha=x"), "--mix 'alpha=x': expected a number, for example alpha=0.6", 2),
        (("--mix", "alpha=1", "--mix", "alpha=2"), "--mix gives 'alpha' twice", 2),
        (("--mix", "delta=1"), "no task 'delta'; there are: alpha, beta, gamma", 1),
        (("--mix", "alpha=17"), "weight of task 'alpha' is 17.0, expected -16 to 16", 1),
        (("--task", "beta", "--scale", 0), "all weights are 0, which is the base", 1),
    ]:
        assert message in fails("run", bundle, "--ids", 1, *options, code=code)
