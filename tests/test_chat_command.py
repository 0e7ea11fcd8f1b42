"""``hydraopt chat``: a conversation over standard input."""

import io
import os
import re
import signal
import subprocess
import sys

import pytest
from command_line import fails, hydraopt, succeeds

from hydraopt.cli.chat import HELP
from hydraopt.runtime import Session

pytestmark = pytest.mark.slow

LENGTH = ("--max-new-tokens", 6)


@pytest.fixture
def said(conversations_bundle, monkeypatch):
    """What a conversation prints for lines and options."""

    def say(*lines, options=LENGTH):
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        return hydraopt("chat", conversations_bundle, *options)

    return say


@pytest.fixture(scope="module")
def session(conversations_bundle):
    return Session.open(conversations_bundle)


def test_a_conversation_is_the_sessions(said, session):
    session.switch("beta")
    chat = session.chat("Be kind.")
    expected = ["".join(chat.send(x, 6)) + "\n" for x in ("Hi", "Why?")]
    done = said("Hi", "Why?", "", options=(*LENGTH, "--task", "beta", "--system", "Be kind."))
    assert (done.code, done.stdout, done.stderr) == (0, "".join(expected), "")


def test_commands_change_what_answers(said, session):
    chat = session.chat() if session.switch("alpha") is None else None
    expected = ["".join(chat.send("Hi", 6))]
    for task in ("beta", {"alpha": 0.6, "beta": 1.0}, None):
        session.switch(task)
        expected.append("".join(chat.retry(6)))
    chat.system = "Be kind."
    expected.append("".join(chat.retry(6)))
    done = said(
        *("/task alpha", "Hi", "/task beta", "/retry", "/mix alpha=0.6 beta=1", "/retry"),
        *("/base", "/retry", "/system Be kind.", "/retry", "/quit", "never read"),
    )
    assert done.stdout == "".join(f"{x}\n" for x in expected)
    assert len({*expected}) > 3


def test_a_mistake_is_a_line_and_the_conversation_goes_on(said):
    done = said(
        *("/task delta", "/mix alpha", "/mix alpha=17", "/nothing", "/retry"),
        *("x" * 600, "\ud800", "/system", "Hi"),
    )
    assert done.code == 0
    assert done.stdout
    lines = [x for x in done.stderr.splitlines() if x]
    assert [x.partition(":")[0] for x in lines] == ["error"] * 7
    for line, message in zip(
        lines,
        (
            *("no task 'delta'", "/mix 'alpha': expected NAME=VALUE", "alpha", "no command"),
            *("no message to answer again", "the message has", "is not UTF-8"),
        ),
        strict=True,
    ):
        assert message in line


def test_help_lists_every_command_and_speed_is_told_if_asked(said):
    assert said("/help").stdout == HELP + "\n"
    done = said("Hi", options=(*LENGTH, "-v", "--stop", "\n"))
    number = r"[\d,.]+"
    told = f"^{number} tokens(, {number} tokens/s)?, first after {number} ms, ended by [a-z ]+$"
    assert re.search(told, done.stderr, re.MULTILINE)


def test_a_full_context_drops_the_oldest_messages_and_says_so(said):
    done = said(*["What is it? " * 8] * 8)
    assert done.code == 0
    assert "the context is full: 1 oldest messages are dropped" in done.stderr


def test_an_interrupt_ends_the_answer_and_not_the_command(conversations_bundle):
    command = [sys.executable, "-m", "hydraopt", "chat", conversations_bundle]
    options = ["--task", "beta", "--max-new-tokens", "470", "--temperature", "9", "--seed", "3"]
    with subprocess.Popen(
        [*command, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        process.stdin.write(b"Hi\n")
        process.stdin.flush()
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        rest, error = process.communicate(b"/retry\n/help\n", timeout=60)
    assert process.returncode == 0, error
    assert first and rest.endswith(HELP.encode() + b"\n")
    assert error == b""


def test_stop_strings_end_what_run_prints(conversations_bundle, session):
    session.switch("beta")
    whole = session.generate("hello", 12)
    run = ("run", conversations_bundle, "--task", "beta", "--max-new-tokens", 12)
    stop = whole[4:6]
    assert succeeds(*run, "--prompt", "hello", "--stop", stop) == whole[: whole.index(stop)] + "\n"
    assert "--stop goes with --prompt" in fails(*run, "--ids", "1", "--stop", "x", code=2)
    assert "stop string is empty" in fails(*run, "--prompt", "a", "--stop", "", code=2)
