"""Lines of compiled code stay off the terminal, all others reach it, whatever threads do."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, redirect_stderr
from io import StringIO

import pytest

from hydraopt.native_log import native_log, thread_log

OURS = b"[program.cpp:168] Program identifier\n"
THREADS = 8


def in_threads(work, count=THREADS):
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


@contextmanager
def terminal(file):
    """``file`` in the place of descriptor 2."""
    before = os.dup(2)
    with file.open("ab") as stream:
        os.dup2(stream.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


def test_a_thread_keeps_its_own_lines_and_no_others(monkeypatch):
    shown, kept, barrier = StringIO(), {}, threading.Barrier(THREADS)
    monkeypatch.setattr(sys, "stderr", shown)

    def work(number):
        for _ in range(20):
            barrier.wait()
            if number % 2:
                print(f"shown {number}", file=sys.stderr)
                continue
            with thread_log() as lines:
                print(f"kept {number}", file=sys.stderr)
            kept.setdefault(number, []).extend(lines)

    in_threads(work)
    assert sys.stderr is shown
    assert kept == {number: [f"kept {number}"] * 20 for number in range(0, THREADS, 2)}
    assert sorted(shown.getvalue().splitlines()) == sorted(
        f"shown {number}" for number in range(1, THREADS, 2) for _ in range(20)
    )


def test_what_another_thread_put_in_place_of_standard_error_stays(monkeypatch):
    first, second = StringIO(), StringIO()
    monkeypatch.setattr(sys, "stderr", first)
    redirected = redirect_stderr(second)
    with thread_log():
        redirected.__enter__()
    print("second", file=sys.stderr)
    redirected.__exit__(None, None, None)  # what was there while the log was kept
    print("first", file=sys.stderr)
    assert (first.getvalue(), second.getvalue()) == ("first\n", "second\n")


def test_no_standard_error_is_none_afterwards(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with thread_log() as lines:
        print("kept", file=sys.stderr)
    assert lines == ["kept"]
    assert sys.stderr is None


def test_the_descriptor_is_the_terminal_again_after_any_number_of_threads(tmp_path):
    def work(number):
        for turn in range(20):
            with native_log():
                os.write(2, OURS)
                os.write(2, b"%d in turn %d\n" % (number, turn))

    with terminal(tmp_path / "shown"):
        where = os.fstat(2).st_ino
        in_threads(work)
        assert os.fstat(2).st_ino == where
    expected = [b"%d in turn %d" % (x, turn) for x in range(THREADS) for turn in range(20)]
    assert sorted((tmp_path / "shown").read_bytes().splitlines()) == sorted(expected)


def test_an_error_inside_loses_nothing(tmp_path):
    with terminal(tmp_path / "shown"):
        with pytest.raises(ZeroDivisionError), native_log(), native_log():
            os.write(2, OURS + b"a warning\n")
            raise ZeroDivisionError
        os.write(2, b"after it\n")
    assert (tmp_path / "shown").read_bytes() == b"a warning\nafter it\n"


def test_another_meaning_of_the_descriptor_stays(tmp_path):
    """As on a signal, which sends standard error nowhere."""
    with terminal(tmp_path / "shown"):
        with native_log(), (tmp_path / "nowhere").open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        os.write(2, b"silenced\n")
    assert (tmp_path / "nowhere").read_bytes() == b"silenced\n"
    assert (tmp_path / "shown").read_bytes() == b""


def test_a_child_that_is_forked_meanwhile_has_the_terminal(tmp_path):
    inside, done = threading.Event(), threading.Event()

    def work():
        with native_log(), thread_log():
            inside.set()
            done.wait(60)

    with terminal(tmp_path / "shown"):
        thread = threading.Thread(target=work)
        thread.start()
        inside.wait(60)
        child = os.fork()
        if not child:
            signal.alarm(60)
            os.write(2, b"from the child\n")
            with native_log(), thread_log():
                os.write(2, OURS)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert (tmp_path / "shown").read_bytes() == b"from the child\n"
        done.set()
        thread.join()


def test_interrupts_at_any_place_lose_no_line(tmp_path):
    """A handler that raises, as Control-C does, arrives between any two instructions."""
    script = """
import os, signal, sys, time
from hydraopt.native_log import native_log, thread_log
where = os.fstat(2).st_ino
signal.signal(signal.SIGALRM, signal.default_int_handler)
interrupted = 0
stop = time.monotonic() + 1.5
while time.monotonic() < stop:
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-5 * (1 + interrupted % 40))
        for _ in range(50):
            with native_log(), thread_log():
                pass
    except KeyboardInterrupt:
        interrupted += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
with native_log(), thread_log():
    pass
assert interrupted > 20, interrupted
assert os.fstat(2).st_ino == where
print("told", file=sys.stderr, flush=True)
"""
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([sys.executable, "-c", script], stderr=log, check=True, timeout=60)
    assert (tmp_path / "log").read_bytes() == b"told\n"
