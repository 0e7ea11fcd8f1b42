"""What can go wrong with adb is one clear line; what is pushed once stays, all else goes."""

import io
import logging
import os
import re
import stat
from contextlib import ExitStack, contextmanager

import pytest
from devices import wait_until

from hydraopt.errors import DeviceError, DeviceLostError
from hydraopt.profiling import adb
from hydraopt.profiling.adb import CACHE, ROOT, Device
from hydraopt.profiling.devices import find_device
from hydraopt.profiling.facts import FACTS_SCRIPT, parse_facts


@pytest.fixture
def scripted(tmp_path, monkeypatch):
    """Put an ``adb`` first on the PATH that answers as a shell script says."""

    def install(script: str) -> None:
        program = tmp_path / "adb"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return install


def listing(*rows: str) -> str:
    lines = "".join(f"{row}\\n" for row in rows)
    return f'[ "$1" = devices ] && printf "List of devices attached\\n{lines}\\n"'


def test_a_broken_connection_is_no_success(scripted):
    """``adb shell`` exits with 0 when the connection breaks while a command runs."""
    scripted("echo half of it")
    with pytest.raises(DeviceError, match="device R58 broke off when asked to list files; run"):
        Device("R58").shell("ls", "list files")


def test_no_adb(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match=r"^adb is not on the PATH; install Android's platform-"):
        find_device()


@pytest.mark.parametrize(
    ("rows", "serial", "message"),
    [
        ((), None, "adb sees no device; connect one with USB debugging on, or run hydraopt emulat"),
        ((), "R58", "adb sees no device R58; it sees none"),
        (["R59\tdevice"], "R58", "adb sees no device R58; it sees R59"),
        (["R58\tdevice", "R59\tdevice"], None, "several devices: R58, R59; choose one"),
        (["R58\tunauthorized"], None, "device R58 is unauthorized; unlock it and accept the debug"),
        (["R58\toffline"], "R58", "device R58 is offline; reconnect it, or run: adb reconnect off"),
        (["R58\tno permissions (user in plugdev group?)"], None, "R58 may not be opened by this u"),
        (["R58\trecovery"], None, "device R58 is in state 'recovery', expected 'device'; reconnec"),
    ],
)
def test_no_device_to_use(scripted, rows, serial, message):
    scripted(listing(*rows))
    with pytest.raises(DeviceError, match=re.escape(message)):
        find_device(serial)


def test_the_only_device_that_is_ready(scripted):
    scripted(listing("R57\toffline", "R58\tdevice", "R59\tunauthorized"))
    assert find_device() == Device("R58")
    assert find_device("R58") == Device("R58")


def test_a_broken_adb_server(scripted):
    scripted("echo 'error: cannot connect to daemon' >&2; exit 1")
    with pytest.raises(
        DeviceError, match=r"cannot list devices .*cannot connect to daemon.*kill-se"
    ):
        find_device()


def test_no_space(scripted):
    full = "remote couldn't create file: No space left on device"
    scripted(f'case "$*" in *push*) echo "adb: error: failed to copy: {full}" >&2; exit 1;; esac')
    with pytest.raises(
        DeviceError, match=r"device R58 has no space left to take model.pte; free so"
    ):
        Device("R58").adb("push", "model.pte", "/data", what="take model.pte")


def test_a_device_that_went_away(scripted):
    scripted("echo \"error: device 'R58' not found\" >&2; exit 1")
    with pytest.raises(
        DeviceLostError, match="device R58 went away when asked to list files; reco"
    ):
        Device("R58").shell("ls", "list files")


def test_a_device_that_hangs(scripted):
    scripted('case "$*" in *slow*) exec sleep 20;; esac')
    with pytest.raises(DeviceError, match="device R58 did not be slow in 0 s") as caught:
        Device("R58").adb("shell", "slow", what="be slow", timeout=0.2)
    assert not isinstance(caught.value, DeviceLostError)


def test_a_failing_command_of_a_present_device(scripted):
    scripted('case "$*" in *missing*) echo "ls: missing: No such file" >&2; exit 1;; esac')
    with pytest.raises(DeviceError, match="R58 cannot list files: ls: missing: No such file"):
        Device("R58").adb("shell", "ls missing", what="list files")


# What getprop, uname, nproc and /proc/meminfo gave on each kind.
PHONE = """ro.product.manufacturer=Google
ro.product.model=Pixel 8
ro.product.cpu.abi=arm64-v8a
ro.build.version.release=15
ro.build.version.sdk=35
ro.kernel.qemu=
ro.boot.qemu=
ro.hydraopt.tier=
kernel=6.1.99-android14
machine=aarch64
cores=9
memory=7812344
"""


def test_facts_of_a_phone():
    facts = parse_facts("R58", PHONE)
    assert (facts.device_type, facts.model, facts.abi) == ("phone", "Google Pixel 8", "arm64-v8a")
    assert (facts.os, facts.kernel) == ("Android 15 (API 35)", "6.1.99-android14")
    assert (facts.cores, facts.memory_bytes) == (9, 7812344 * 1024)


def test_kinds_of_devices():
    emulator = PHONE.replace("ro.boot.qemu=", "ro.boot.qemu=1")
    assert parse_facts("emulator-5554", emulator).device_type == "Android emulator"
    board = "machine=aarch64\nkernel=6.1\ncores=4\nmemory=1\nro.build.version.sdk=\n"
    facts = parse_facts("board", board)
    assert (facts.device_type, facts.abi, facts.os) == ("Linux device", "arm64-v8a", "Linux")


def test_facts_of_a_device(tier_a):
    facts = tier_a.facts()
    assert (facts.device_type, facts.tier, facts.os) == ("emulated Linux device", "a", "Linux")
    assert facts.cores == len(os.sched_getaffinity(0))
    assert facts.memory_bytes == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert "getprop" in FACTS_SCRIPT


def files_on(device) -> list[str]:
    return device.shell(f"ls {ROOT}; ls {CACHE}", "list files").split()


def runs_on(device) -> list[str]:
    return [name for name in files_on(device) if name.startswith("run-")]


def test_the_directory_goes_whatever_happens(tier_a):
    with tier_a.workspace() as workspace:
        workspace.write("note", "text")
        assert runs_on(tier_a) == [workspace.path.rpartition("/")[2]]
    assert runs_on(tier_a) == []
    with pytest.raises(KeyboardInterrupt), tier_a.workspace() as workspace:
        workspace.write("note", "text")
        raise KeyboardInterrupt
    assert runs_on(tier_a) == []


def test_two_directories_at_once(tier_a):
    with tier_a.workspace() as one, tier_a.workspace() as two:
        one.write("note", "one")
        two.write("note", "two")
        assert one.run(["cat", "note"], 10).stdout == "one"
    assert runs_on(tier_a) == []


def test_what_did_not_change_is_not_pushed_again(tier_a, tmp_path):
    base, pack = tmp_path / "base", tmp_path / "pack"
    base.write_bytes(os.urandom(10_000))
    pack.write_bytes(os.urandom(100))
    with tier_a.workspace() as workspace:
        assert workspace.put({"model.pte": base, "packs/a.pack": pack}) == 10_100
        assert workspace.put({"again.pte": base}) == 0
    pack.write_bytes(os.urandom(101))
    with tier_a.workspace() as workspace:
        assert workspace.put({"other.pte": base, "packs/a.pack": pack, "packs/b.pack": pack}) == 101
        for name, source in {"other.pte": base, "packs/a.pack": pack, "packs/b.pack": pack}.items():
            workspace.get(name, tmp_path / "back")
            assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_a_truncated_file_in_the_cache_is_pushed_again(tier_a, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1000))
    with tier_a.workspace() as workspace:
        workspace.put({"file": source})
        target = tier_a.shell(f"readlink {workspace.path}/file", "read a link").strip()
        tier_a.shell(f"truncate -s 10 {target}", "truncate a file")
        assert workspace.put({"file": source}) == 1000


def test_old_files_leave_the_device(tier_a, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1000))
    with tier_a.workspace() as workspace:
        workspace.put({"file": source})
        target = tier_a.shell(f"readlink {workspace.path}/file", "read a link").strip()
    old = f"mkdir {ROOT}/run-old; touch -d '2020-01-01 00:00' {ROOT}/run-old {target}"
    tier_a.shell(old, "make files old")
    with tier_a.workspace() as workspace:
        assert "run-old" not in files_on(tier_a)
        assert workspace.put({"file": source}) == 1000


def test_any_file_name(tier_a, tmp_path):
    names = ["a b", "it's", "$HOME", "ü/deep/er", "-n", "*"]
    files = {name: tmp_path / str(index) for index, name in enumerate(names)}
    for name, path in files.items():
        path.write_text(name)
    with tier_a.workspace() as workspace:
        workspace.put(files)
        for name in names:
            assert workspace.run(["cat", "--", name], 10).stdout == name
            workspace.get(name, tmp_path / "back")
            assert (tmp_path / "back").read_text() == name


def test_thousands_of_files(tier_a, tmp_path):
    (tmp_path / "pack").write_text("content")
    with tier_a.workspace() as workspace:
        assert workspace.put({f"packs/{i}.pack": tmp_path / "pack" for i in range(3000)}) == 7
        assert workspace.run(["cat", "packs/2999.pack"], 10).stdout == "content"


def test_exit_code_and_output_of_a_command(tier_a):
    with tier_a.workspace() as workspace:
        result = workspace.run(["sh", "-c", "echo out; echo err >&2; exit 7"], 10)
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n")


def test_an_interrupted_command_does_not_go_on(tier_a):
    with pytest.raises(DeviceError, match="did not run 4321 to the end in 1 s"):
        with tier_a.workspace() as workspace:
            workspace.run(["sleep", "4321"], timeout=1)
    wait_until(lambda: "sleep 4321" not in tier_a.shell("ps", "list processes"))


@pytest.fixture
def warnings_of_adb():
    """What the module warns of, as text."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    adb.logger.addHandler(handler)
    yield written.getvalue
    adb.logger.removeHandler(handler)


@contextmanager
def immovable(device, directory):
    """While the block runs, a directory on the device cannot be removed."""
    device.shell(f"mkdir -p {directory}/x; mount -t tmpfs tmpfs {directory}/x", "mount a disk")
    yield
    device.shell(f"umount {directory}/x; rm -r {directory}", "unmount it")


def test_a_directory_that_stays_on_the_device_is_said(tier_b, warnings_of_adb):
    with ExitStack() as ending:
        with tier_b.workspace() as workspace:
            ending.enter_context(immovable(tier_b, f"{workspace.path}/mounted"))
        assert warnings_of_adb().startswith(f"{workspace.path} stays on the device: ")
        assert "cannot remove the working directory: rm: can't remove" in warnings_of_adb()
    tier_b.shell(f"rmdir {workspace.path}", "remove what stayed")


def test_a_working_directory_that_fails_half_way_leaves_nothing(tier_b):
    with immovable(tier_b, f"{ROOT}/run-old"):
        tier_b.shell(f"touch -d '2020-01-01 00:00' {ROOT}/run-old", "make it old")
        with pytest.raises(DeviceError, match="cannot make a working directory: rm: can't remove"):
            with tier_b.workspace():
                pass
        assert runs_on(tier_b) == ["run-old"]


def test_a_full_device(tier_b, tmp_path):
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    mount = f"mkdir -p {ROOT}; mount -t tmpfs -o size=1m tmpfs {ROOT}"
    tier_b.shell(mount, "mount a small disk")
    try:
        with pytest.raises(
            DeviceError, match=r"has no space left to take large \(3.0 MB\); free so"
        ):
            with tier_b.workspace() as workspace:
                workspace.put({"large": tmp_path / "large"})
        assert runs_on(tier_b) == []
    finally:
        tier_b.shell(f"umount {ROOT}", "unmount the small disk")
