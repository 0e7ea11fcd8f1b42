"""An emulated device starts and stops cleanly, and nothing of it survives a crash."""

import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest
from devices import living_processes, require_tier, wait_until

from hydraopt.errors import DeviceLostError, ProfilingError
from hydraopt.profiling import emulator
from hydraopt.profiling.adb import Device


@pytest.fixture
def own(private_adb, tmp_path, monkeypatch):
    """Devices apart from those that other tests share."""
    require_tier("a")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    yield
    for tier in emulator.TIERS:
        emulator.stop(tier)


def records() -> dict:
    return {record["tier"]: record for record in emulator.status()}


def of_emulator(started) -> list[str]:
    """Living processes in the session of an emulator."""
    command = ["ps", "-o", "stat=,args=", "-s", str(started.pid)]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [line for line in listing.splitlines() if not line.startswith("Z")]


def test_starts_and_stops(own):
    assert records()["a"] == {"tier": "a", "state": "stopped"}
    started = emulator.start("a")
    assert Device(started.serial).shell("echo $((6 * 7))", "compute") == "42\n"
    assert records()["a"] == {"tier": "a", "state": "running", "serial": started.serial}
    assert emulator.start("a") == started
    assert emulator.stop("a")
    wait_until(lambda: of_emulator(started) == [])
    assert records()["a"] == {"tier": "a", "state": "stopped"}
    assert not emulator.stop("a")


def test_listens_on_the_loopback_address_alone(own):
    started = emulator.start("a")
    socket.create_connection(("127.0.0.1", started.port), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):  # any other address, also of this machine
        socket.create_connection(("127.0.0.2", started.port), timeout=5)


def test_takes_another_port_if_one_is_taken(own, tier_a):
    assert emulator.start("a").serial != tier_a.serial


def test_two_that_start_at_the_same_time_are_two_devices(own, tier_a, tmp_path):
    """In two processes with a state of their own each."""
    command = [sys.executable, "-c", START_ON_A_WORD]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with ExitStack() as ending:
        processes = []
        for name in ("one", "two"):
            environment = os.environ | {"XDG_RUNTIME_DIR": str(tmp_path / name)}
            process = subprocess.Popen(command, env=environment, **pipes)
            processes.append(ending.enter_context(process))
        assert [process.stdout.readline() for process in processes] == ["ready\n", "ready\n"]
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        serials = {process.stdout.readline().strip() for process in processes} | {tier_a.serial}
        names = {Device(serial).shell("uname -n", "tell its name") for serial in serials}
        assert len(serials) == len(names) == 3
        for process in processes:
            process.stdin.close()


START_ON_A_WORD = """
import sys
from hydraopt.profiling import emulator
print("ready", flush=True)
sys.stdin.readline()
with emulator.running("a") as started:
    print(started.serial, flush=True)
    sys.stdin.read()
"""


def test_two_starts_of_one_user_give_one_device(own):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(emulator.start, ["a", "a"])
    assert first == second
    assert of_emulator(first) != []


def test_another_device_at_the_port_is_not_taken_for_it(own, tmp_path, monkeypatch):
    """As when somebody who asks for no claim listens there meanwhile."""
    started = emulator.start("a")
    with monkeypatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "other"))
        patch.setattr(emulator, "claimed_port", lambda ports, purpose: nullcontext(started.port))
        patch.setattr(emulator, "_namespace_command", lambda port, name: LIKE_ADBD)
        patch.setitem(emulator.BOOT_SECONDS, "a", 1)
        with pytest.raises(ProfilingError, match="tier a did not come up in 1 s"):
            emulator.start("a")
    assert records()["a"]["state"] == "running"


LIKE_ADBD = ["sh", "-c", f"echo {emulator.ADBD_STARTED}; sleep 60"]


def test_a_crash_is_noticed_and_leaves_nothing(own):
    started = emulator.start("a")
    device = Device(started.serial)
    with device.workspace() as workspace:
        marker = f"7654.{os.getpid()}"
        thread = threading.Thread(target=lambda: wait_and_kill(marker, started.pid))
        thread.start()
        with pytest.raises(
            DeviceLostError, match=f"{started.serial} went away when asked to run 7"
        ):
            workspace.run(["sleep", marker], timeout=300)
        thread.join()
    wait_until(lambda: living_processes(marker) == [])
    wait_until(lambda: of_emulator(started) == [])
    assert records()["a"] == {"tier": "a", "state": "crashed"}
    assert emulator.start("a").pid != started.pid


def wait_and_kill(marker, pid):
    wait_until(lambda: living_processes(marker))
    os.kill(pid, signal.SIGKILL)


def test_outlives_the_command_that_started_it(own):
    subprocess.run([sys.executable, "-c", START.format(die=False)], check=True)
    assert records()["a"]["state"] == "running"
    assert emulator.stop("a")


def test_dies_with_its_parent_if_asked_to(own):
    result = subprocess.run([sys.executable, "-c", START.format(die=True)], check=False)
    assert result.returncode == -signal.SIGKILL
    pid = int(Path(os.environ["XDG_RUNTIME_DIR"], "pid").read_text())
    wait_until(lambda: emulator.find("a") is None)
    started = emulator.Emulator("a", "", 0, pid, 0)
    wait_until(lambda: of_emulator(started) == [])


START = """
import os, pathlib, signal
from hydraopt.profiling import emulator
started = emulator.start("a", die_with_parent={die})
pathlib.Path(os.environ["XDG_RUNTIME_DIR"], "pid").write_text(str(started.pid))
if {die}:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_reused_pid_is_no_running_device(own):
    started = emulator.start("a")
    emulator.stop("a")
    stale = emulator.Emulator("a", started.serial, started.port, os.getpid(), started.started)
    emulator.write_json(emulator._state_file("a"), emulator.asdict(stale))
    assert records()["a"]["state"] == "crashed"
    assert not emulator.stop("a")  # and this process lives on


@pytest.mark.parametrize("tier", emulator.TIERS)
def test_says_how_to_install_what_is_missing(tier, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    packages = " ".join(emulator.PROGRAMS[tier].values())
    with pytest.raises(ProfilingError, match=f"run: sudo apt-get install {packages}$"):
        emulator.start(tier)


def test_says_why_it_did_not_start(own, monkeypatch):
    monkeypatch.setattr(emulator, "_namespace_command", lambda *_: ["sh", "-c", "echo no luck"])
    with pytest.raises(ProfilingError, match="tier a did not start: no luck"):
        emulator.start("a")
    assert records()["a"]["state"] == "stopped"


def test_the_virtual_machine_is_an_emulator_to_adb(tier_b):
    facts = tier_b.facts()
    assert tier_b.serial.startswith("emulator-55")
    assert (facts.device_type, facts.tier, facts.abi) == ("emulated Linux device", "b", "arm64-v8a")
