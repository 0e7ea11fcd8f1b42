"""The training loop: it finds minima, stops early, resumes exactly and survives NaN."""

from dataclasses import replace

import pytest
import torch

from hydraopt.errors import DataError, TrainingError
from hydraopt.training import Schedule, fit
from hydraopt.training.loop import remove_checkpoint

TARGETS = [torch.full((3,), float(i)) for i in range(8)]
SCHEDULE = Schedule(steps=200, rate=0.1, batch=4)


def weights():
    return {"w": torch.zeros(3, requires_grad=True)}


def distance(parameters, calls=None):
    def loss(targets):
        if calls is not None:
            calls.append([int(target[0]) for target in targets])
        return torch.stack([(parameters["w"] - t).square().mean() for t in targets]).mean()

    return loss


def stop_at(last):
    def before_step(step, _):
        if step == last:
            raise KeyboardInterrupt

    return before_step


def test_the_minimum_is_found():
    parameters = weights()
    fitted = fit(parameters, distance(parameters), TARGETS, SCHEDULE)
    assert fitted.steps == len(fitted.losses) == 200
    assert (parameters["w"] - 3.5).abs().max() < 0.5


def test_an_epoch_sees_every_example_once_and_the_next_one_in_another_order():
    parameters, calls = weights(), []
    fit(parameters, distance(parameters, calls), TARGETS, replace(SCHEDULE, steps=20))
    epochs = [calls[i] + calls[i + 1] for i in range(0, 20, 2)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_equal_seeds_take_equal_steps():
    results = []
    for seed in (1, 1, 2):
        parameters = weights()
        fitted = fit(parameters, distance(parameters), TARGETS, replace(SCHEDULE, seed=seed))
        results.append(fitted.losses)
    assert results[0] == results[1] != results[2]


def test_it_stops_when_the_held_out_loss_no_longer_falls_and_keeps_the_best_weights():
    parameters = weights()
    held_out = [torch.full((3,), 1.0)]  # on the way to 3.5
    schedule = replace(SCHEDULE, rate=0.02, steps=5000, patience=3)
    fitted = fit(parameters, distance(parameters), TARGETS, schedule, held_out=held_out)
    assert fitted.steps < 5000
    assert fitted.best == pytest.approx(distance(parameters)(held_out).item())
    assert fitted.best < 0.1


def test_resuming_continues_as_if_it_had_never_stopped(tmp_path):
    whole = weights()
    expected = fit(whole, distance(whole), TARGETS, SCHEDULE)
    parts = weights()

    path = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        fit(parts, distance(parts), TARGETS, SCHEDULE, checkpoint=path, before_step=stop_at(110))
    again, calls = weights(), []
    found = fit(again, distance(again, calls), TARGETS, SCHEDULE, checkpoint=path)
    assert len(calls) == 100  # from step 100, the last evaluation
    assert found.losses == expected.losses
    assert torch.equal(again["w"], whole["w"])


def test_a_loss_that_is_no_number_names_the_step_and_keeps_the_best_weights():
    parameters = weights()
    good = distance(parameters)
    steps = []

    def loss(targets):
        steps.append(len(steps))
        return good(targets) if len(steps) < 30 else good(targets) * float("nan")

    with pytest.raises(TrainingError, match="step 30: loss nan"):
        fit(parameters, loss, TARGETS, SCHEDULE)
    reached = weights()
    with pytest.raises(KeyboardInterrupt):
        fit(reached, distance(reached), TARGETS, SCHEDULE, before_step=stop_at(20))
    assert torch.equal(parameters["w"], reached["w"])


def test_a_loss_that_grows_for_good_ends_the_training_with_the_best_weights():
    parameters = weights()
    calls = []

    def loss(targets):
        calls.append(len(calls))
        rising = 1.0 if len(calls) < 200 else 3.0
        return parameters["w"].sum() * 0 + rising

    with pytest.raises(TrainingError, match=r"step 12\d\d: loss 3, expected .* the first, 1, with"):
        fit(parameters, loss, TARGETS, replace(SCHEDULE, steps=100_000))
    assert torch.equal(parameters["w"], torch.zeros(3))


def test_a_loss_that_comes_down_again_does_not_end_it():
    parameters = weights()
    count = iter(range(10_000))

    def loss(_):
        return parameters["w"].sum() * 0 + (3.0 if next(count) % 900 > 20 else 1.0)

    assert fit(parameters, loss, TARGETS, replace(SCHEDULE, steps=1500)).steps == 1500


def test_more_steps_than_anyone_waits_for_are_refused():
    with pytest.raises(TrainingError, match="steps is 100,000,000, expected at most 1,000,000"):
        Schedule(steps=100_000_000, rate=0.1)


def test_another_optimizer_steps_with_its_scheduler():
    parameters = weights()
    optimizer = torch.optim.SGD(parameters.values(), lr=0.3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(step < 1))
    schedule = replace(SCHEDULE, steps=3)
    updates = optimizer, scheduler
    fit(parameters, distance(parameters), [torch.ones(3)], schedule, updates=updates)
    # one step along a gradient clipped to length 1; the others have rate 0
    assert torch.allclose(parameters["w"], torch.full((3,), 0.3 / 3**0.5))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path, content):
    path, parameters = tmp_path / "checkpoint", weights()
    if content is None:
        schedule = replace(SCHEDULE, steps=20, seed=1)
        fit(parameters, distance(parameters), TARGETS, schedule, checkpoint=path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="remove it"):
        fit(parameters, distance(parameters), TARGETS, SCHEDULE, checkpoint=path)


def halved(state):
    state["kept"]["w"] = state["kept"]["w"][:1]


def broadcast(state):
    state["weights"]["w"] = torch.zeros(())


def doubled(state):
    state["kept"]["w"] = state["kept"]["w"].double()


def infinite(state):
    state["weights"]["w"][0] = float("inf")


def no_tensor(state):
    state["kept"]["w"] = [0.0, 0.0, 0.0]


def other_moments(state):
    state["optimizer"]["state"][0]["exp_avg"] = torch.zeros(5)


def beyond(state):
    state["progress"][0] = 10**9


def no_losses(state):
    state["progress"][3] = ["a"] * state["progress"][0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (halved, r"w is torch.float32 \(1,\), expected torch.float32 \(3,\)"),
        (broadcast, r"w is torch.float32 \(\), expected torch.float32 \(3,\)"),
        (doubled, r"w is torch.float64 \(3,\), expected torch.float32 \(3,\)"),
        (infinite, "w has NaN or infinite numbers"),
        (no_tensor, "'list' object has no attribute 'shape'"),
        (other_moments, r"the optimizer's state is torch.float32 \(5,\), expected"),
        (beyond, "1000000000 steps, 20 losses"),
        (no_losses, "could not convert string to float"),
    ],
)
def test_a_checkpoint_of_other_tensors_is_refused_and_stays(tmp_path, change, reason):
    path, parameters = tmp_path / "checkpoint", weights()
    with pytest.raises(KeyboardInterrupt):
        fit(
            parameters,
            distance(parameters),
            TARGETS,
            SCHEDULE,
            checkpoint=path,
            before_step=stop_at(20),
        )
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    before, again = path.read_bytes(), weights()
    with pytest.raises(DataError, match=f"is damaged or belongs to another training .*{reason}"):
        fit(again, distance(again), TARGETS, SCHEDULE, checkpoint=path)
    assert path.read_bytes() == before
    assert torch.equal(again["w"], torch.zeros(3))


def test_a_training_that_starts_again_removes_its_own_checkpoint_only(tmp_path):
    path, parameters = tmp_path / "checkpoint", weights()
    remove_checkpoint(path)
    schedule = replace(SCHEDULE, steps=20)
    fit(parameters, distance(parameters), TARGETS, schedule, checkpoint=path)
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "weights").mkdir()
    torch.save({"weights": torch.ones(3)}, tmp_path / "model.pt")
    (tmp_path / "notes").write_text("mine")
    for name in ("link", "weights", "model.pt", "notes"):
        with pytest.raises(DataError, match=f"{name} is not a checkpoint of hydraopt"):
            remove_checkpoint(tmp_path / name)
        assert (tmp_path / name).exists()
    remove_checkpoint(path)
    assert not path.exists()
