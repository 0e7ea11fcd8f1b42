"""Units of work on real clusters of this machine: Dask's and Ray's own commands start them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import fails, succeeds
from conftest import random_set

from hydraopt import clusters, parallel
from hydraopt.adapters import read_adapters, write_adapter
from hydraopt.clusters import cluster
from hydraopt.errors import AdapterError, UsageError
from hydraopt.merging import merge_with
from hydraopt.packing import Coder

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clusters")]
BIN = Path(sys.executable).parent
PATIENCE = 60  # seconds


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen]]:
    started: list[subprocess.Popen] = []
    yield started
    for process in reversed(started):
        process.kill()
        process.wait()


@pytest.fixture
def dask(processes, tmp_path) -> str:
    """A scheduler with two workers; its address."""
    log = tmp_path / "scheduler.log"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    with log.open("w") as file:
        processes.append(
            subprocess.Popen(
                [BIN / "dask", "scheduler", *options], stderr=file, stdout=file, env=seen()
            )
        )
    address = waited(lambda: re.search(r"tcp://127\.0\.0\.1:\d+", log.read_text()), log)[0]
    workers = tmp_path / "workers.log"
    options = [address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"]
    with workers.open("w") as file:
        processes.append(
            subprocess.Popen(
                [BIN / "dask", "worker", *options],
                stderr=file,
                stdout=file,
                cwd=tmp_path,
                env=seen(),
            )
        )
    waited(lambda: log.read_text().count("Register worker") == 2, log)
    return address


@pytest.fixture
def ray(monkeypatch) -> Iterator[str]:
    """A head node with two processors; its address."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # tests have no home directory with a token
    options = [
        "--head",
        "--port=0",
        "--num-cpus=2",
        "--include-dashboard=false",
        "--disable-usage-stats",
    ]
    started = subprocess.run(
        [BIN / "ray", "start", *options], capture_output=True, text=True, check=True, env=seen()
    )
    port = re.search(r"--address='[\d.]+:(\d+)'", started.stdout)[1]
    yield f"127.0.0.1:{port}"
    subprocess.run([BIN / "ray", "stop", "--force"], capture_output=True, check=True, env=seen())


def seen() -> dict[str, str]:
    """What workers see: the modules of the tests, too."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def waited(found, log: Path):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture
def adapters(tmp_path):
    made = random_set(4, rank=4, shapes=((48, 32), (32, 80)) * 2)
    for adapter in made.adapters:
        write_adapter(tmp_path / "adapters" / adapter.name, adapter.factors, "base")
    return read_adapters(tmp_path / "adapters" / task for task in made.tasks)


class Deadly:
    """A unit that kills its process the first time that it runs."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __call__(self, number: int) -> int:
        if number == 3 and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number * number


def refused(number: int) -> None:
    raise AdapterError("refused")


def check_cluster(name: str, address: str, adapters, tmp_path: Path) -> None:
    """Equal bits as here, units of a killed worker again, an error of a unit as it is."""
    here = Coder.from_adapters(adapters).code(adapters.fp16_bytes // 4)
    merged = merge_with("ties", adapters).stored_tensors()
    with cluster(name, address):
        there = Coder.from_adapters(adapters).code(adapters.fp16_bytes // 4)
        same = merge_with("ties", adapters).stored_tensors()
        squares = parallel.each(Deadly(tmp_path / "killed"), range(8), "square")
    assert there.layout == here.layout and there.shared.equal(here.shared)
    assert all(there.payloads[task].equal(here.payloads[task]) for task in adapters.tasks)
    assert all(same[key].equal(x) for key, x in merged.items())
    assert squares == [x * x for x in range(8)]
    with pytest.raises(AdapterError, match=r"^refused$"), cluster(name, address):
        parallel.each(refused, [1], "refuse")


def test_dask(dask, adapters, tmp_path):
    check_cluster("dask", dask, adapters, tmp_path)


def test_ray(ray, adapters, tmp_path):
    check_cluster("ray", ray, adapters, tmp_path)


def test_a_lost_cluster_is_one_line(dask, processes):
    def lost(number: int) -> None:
        time.sleep(1)

    with pytest.raises(UsageError, match="the Dask cluster was lost"), cluster("dask", dask):
        parallel.each(lambda x: x, [1], "look")
        for process in reversed(processes):
            process.kill()
        parallel.each(lost, range(4), "wait")


def test_a_cluster_of_another_version_is_refused(dask, monkeypatch):
    monkeypatch.setattr(clusters, "version", lambda _: str(os.getpid()))  # differs by process
    with pytest.raises(UsageError, match=rf"has hydraopt .*, expected {os.getpid()} on the sched"):
        with cluster("dask", dask):
            pass


def test_compress_works_on_a_cluster(dask, adapters, tmp_path):
    command = ["compress", *(tmp_path / "adapters").iterdir(), "--budget", "25%", "-o"]
    here, there = tmp_path / "here", tmp_path / "there"
    succeeds(*command, here)
    succeeds(*command, there, "--cluster", "dask", "--address", dask)
    for path in filter(Path.is_file, here.rglob("*")):
        assert path.read_bytes() == (there / path.relative_to(here)).read_bytes()


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_cluster_that_is_not_there_is_one_line(name):
    with pytest.raises(UsageError, match=r"no \w+ cluster at .*; check the address"):
        with cluster(name, "127.0.0.1:9"):
            pass


@pytest.mark.parametrize("package, name", [("distributed", "dask"), ("ray", "ray")])
def test_a_package_that_is_not_installed_is_one_line(monkeypatch, package, name):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=f"{name} is not installed; pip install 'hydraopt"):
        with cluster(name, "127.0.0.1:9"):
            pass


def test_an_unknown_kind_and_a_missing_address_are_one_line():
    with pytest.raises(UsageError, match="cluster is 'slurm', expected one of dask, ray"):
        with cluster("slurm"):
            pass
    with pytest.raises(UsageError, match="scheduler is needed"), cluster("dask"):
        pass


@pytest.mark.parametrize(
    "options, message",
    [
        (["--jobs", "0"], "greater than or equal to 1"),
        (["--jobs", "2", "--cluster", "dask"], "drop it, or --cluster"),
        (["--address", "127.0.0.1:9"], "pass --cluster too"),
    ],
)
def test_options_that_do_not_go_together(options, message, adapters, tmp_path):
    source = tmp_path / "adapters" / adapters.tasks[0]
    assert message in fails("compress", source, "-o", tmp_path / "out", *options, code=2)
