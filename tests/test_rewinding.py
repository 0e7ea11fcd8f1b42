"""Rewound sequences, and caches that are kept in a switch."""

import pytest
import torch
from conftest import tiny_llama

from hydraopt.errors import TaskError
from hydraopt.evaluation import adapted
from hydraopt.runtime import Session

pytestmark = pytest.mark.slow

PROMPT = [5, 17, 99, 200, 3]


def test_a_rewound_sequence_goes_on_as_if_nothing_had_followed(bundle, portable_bundle):
    for directory in (bundle, portable_bundle):
        session = Session.open(directory)
        session.switch("alpha")
        session.forward(PROMPT)
        wanted = session.forward([9, 8])
        session.forward([7] * 20)
        session.rewind(len(PROMPT))
        assert session.position == len(PROMPT)
        assert torch.equal(session.forward([9, 8]), wanted)


def test_a_rewind_ends_a_generation_and_goes_no_further_than_the_sequence(bundle):
    session = Session.open(bundle)
    session.switch("gamma")
    running = session.generate_ids(PROMPT, 6)
    next(running)
    for position in (-1, len(PROMPT) + 1):
        with pytest.raises(TaskError, match=f"rewind to position {position}: .* has 5 tokens"):
            session.rewind(position)
    next(running)
    session.rewind(session.position)
    with pytest.raises(TaskError, match="switched or reset during this generation"):
        next(running)


def test_a_kept_cache_is_read_under_the_next_adapter(bundle, merged):
    session, model = Session.open(bundle), tiny_llama()
    session.switch(None)
    session.forward(PROMPT)
    running = session.generate_ids(PROMPT, 6)
    next(running)
    session.switch("beta", keep_cache=True)
    assert (session.task, session.position) == ("beta", len(PROMPT))
    found = session.forward([9])
    with pytest.raises(TaskError, match="switched or reset during this generation"):
        next(running)
    with torch.no_grad():
        kept = model(torch.tensor([PROMPT]), use_cache=True).past_key_values
        with adapted(model, merged.task_factors("beta")):
            wanted = model(torch.tensor([[9]]), past_key_values=kept).logits[0, -1]
            other = model(torch.tensor([[*PROMPT, 9]])).logits[0, -1]
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    assert (found - other).abs().max() > 1e-2
