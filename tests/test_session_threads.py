"""Sessions beside other threads and in forked processes."""

import os
import subprocess
import sys
import threading

import pytest

from hydraopt.errors import TaskError
from hydraopt.runtime import Session

pytestmark = pytest.mark.slow

PROMPT = [(37 * i + 5) % 256 for i in range(12)]


def in_threads(work, items):
    """``work`` of every item, each in a thread of its own."""
    threads = [threading.Thread(target=work, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)


@pytest.fixture(scope="module")
def texts(bundle):
    """What every task makes of the prompt."""
    session, found = Session.open(bundle), {}
    for task in session.tasks:
        session.switch(task)
        found[task] = list(session.generate_ids(PROMPT, 10))
    return found


def test_threads_with_a_session_each_do_not_disturb_each_other(bundle, texts):
    where, stderr, found = os.fstat(2).st_ino, sys.stderr, []

    def work(task):
        for _ in range(5):
            session = Session.open(bundle)
            session.switch(task)
            found.append((task, list(session.generate_ids(PROMPT, 10))))

    in_threads(work, texts)
    assert sorted(found) == sorted([*texts.items()] * 5)
    assert (os.fstat(2).st_ino, sys.stderr) == (where, stderr)


@pytest.fixture
def restless():
    """Threads that are interrupted all the time."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_a_shared_session_gives_whole_texts_or_an_error(bundle, texts, restless):
    session, whole, disturbed = Session.open(bundle), [], []

    def work(task):
        for _ in range(30):
            try:
                session.switch(task)
                whole.append(list(session.generate_ids(PROMPT, 10)))
            except TaskError as error:
                disturbed.append(str(error))

    in_threads(work, texts)
    assert len(whole) + len(disturbed) == 90
    assert all(text in texts.values() for text in whole)
    assert disturbed
    assert all("used, switched or reset during this generation" in x for x in disturbed)


@pytest.mark.parametrize(
    "disturb",
    [
        lambda session: session.forward([1]),
        lambda session: session.reset(),
        lambda session: session.switch("gamma"),
        lambda session: next(session.generate_ids([1], 1)),
    ],
)
def test_a_generation_is_not_mixed_with_what_comes_between(bundle, disturb):
    session = Session.open(bundle)
    session.switch("gamma")
    running = session.generate_ids(PROMPT, 10)
    next(running)
    disturb(session)
    with pytest.raises(TaskError, match="used, switched or reset during this generation"):
        next(running)


def test_calls_of_many_threads_make_one_sequence(bundle, restless):
    """Pieces of a sequence that threads append: none is lost and none comes twice."""
    session = Session.open(bundle)
    session.switch("beta")
    in_threads(lambda token: session.forward([token]), range(1, 25))
    assert session.position == 24


def test_a_fork_refuses_its_parents_session_and_opens_its_own(bundle):
    script = f"""
import os, signal, threading
import torch
from hydraopt.errors import UsageError
from hydraopt.runtime import Session

def generated():
    session.switch("beta")
    return list(session.generate_ids({PROMPT}, 10))

torch.set_num_threads(2)
(torch.ones(1000, 1000) @ torch.ones(1000, 1000)).sum()  # both threads
session = Session.open({str(bundle)!r})
expected = generated()
# a call of another thread while it is forked
held = threading.Thread(target=lambda: session._turns.lock().__enter__())
held.start()
held.join()
if not os.fork():
    signal.alarm(60)
    try:
        session.forward([1])
    except UsageError as error:
        message = str(error)
    session = Session.open({str(bundle)!r})
    assert generated() == expected
    os._exit(0 if "was opened before this process was forked" in message else 1)
assert os.wait()[1] == 0
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=120)
