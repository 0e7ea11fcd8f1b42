"""Sampling: the distribution is exactly transformers', and seeds repeat."""

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from hydraopt.errors import UsageError
from hydraopt.runtime import Sampling
from hydraopt.runtime.sampling import next_token, probabilities


def random_logits(seed, size=300):
    return 3 * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def warped(logits, sampling):
    """What transformers draws from."""
    warpers = LogitsProcessorList([TemperatureLogitsWarper(float(sampling.temperature))])
    if sampling.top_k is not None:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers(None, logits[None])[0].softmax(0)


def draws(logits, sampling, count):
    generator = sampling.generator()
    return [next_token(logits, sampling, generator) for _ in range(count)]


@pytest.mark.parametrize("temperature", [0.01, 0.7, 1, 5])
@pytest.mark.parametrize("top_k", [None, 1, 5, 1000])
@pytest.mark.parametrize("top_p", [1e-9, 0.1, 0.9, 0.999, 1])
def test_the_distribution_is_that_of_transformers(temperature, top_k, top_p):
    sampling = Sampling(temperature, top_p, top_k)
    for seed in range(3):
        logits = random_logits(seed)
        assert torch.equal(probabilities(logits, sampling), warped(logits, sampling))
    ties = torch.tensor([2.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    assert torch.equal(probabilities(ties, sampling), warped(ties, sampling))


def test_tokens_come_as_often_as_they_are_likely():
    logits, sampling, count = random_logits(0, size=8), Sampling(2.0, top_p=0.9, seed=0), 20_000
    wanted = probabilities(logits, sampling)
    found = torch.bincount(torch.tensor(draws(logits, sampling, count)), minlength=8) / count
    assert (wanted == 0).any()
    assert (found[wanted == 0] == 0).all()
    spread = (wanted * (1 - wanted) / count).sqrt()
    assert ((found - wanted).abs() <= 4 * spread).all()


def test_equal_seeds_draw_equal_tokens_and_others_do_not():
    logits = random_logits(0)
    first, again, other = (draws(logits, Sampling(1.0, seed=seed), 50) for seed in (3, 3, 4))
    assert first == again != other
    assert draws(logits, Sampling(1.0), 50) != draws(logits, Sampling(1.0), 50)


@pytest.mark.parametrize("temperature", [0, 1e-45, 1e-38, 1e-6])
def test_no_temperature_is_greedy_and_so_is_next_to_none(temperature):
    for logits in (random_logits(0), random_logits(0) - 100):
        assert set(draws(logits, Sampling(temperature), 5)) == {int(logits.argmax())}


def test_an_endless_temperature_makes_all_tokens_equal():
    chances = probabilities(random_logits(0), Sampling(1e300))
    torch.testing.assert_close(chances, torch.full((300,), 1 / 300))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": -1}, r"temperature is -1, expected 0 \(greedy\) or a positive number"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_p": 0}, "top_p is 0, expected more than 0 and at most 1"),
        ({"top_p": 1.1}, "top_p is 1.1"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"top_k": 0}, "top_k is 0, expected at least 1"),
        ({"seed": -1}, "seed is -1, expected 0 to"),
        ({"seed": 2**64}, "seed is 18446744073709551616, expected 0 to"),
    ],
)
def test_a_value_out_of_range_is_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        Sampling(**wrong)
