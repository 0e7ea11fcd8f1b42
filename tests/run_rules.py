"""What every run keeps to: a group's tests stay in one process, and a skip has a good reason."""

import os
from collections import Counter, defaultdict

import pytest

GROUP = "group of tests"
MOST_PROCESSES = 4  # each takes a gigabyte of memory
LONGEST_ID = 200  # characters of a parameter
# fixtures that start slowly, for tests of several files: what Maven builds, a virtual machine, adb
SHARED = ("android", "tier_b", "private_adb")


class MachineLacksError(pytest.skip.Exception):
    """The only reason for which a test may be skipped: this machine lacks what it needs."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """A process per core; none beside this one for the tests of a single file."""
    given = {argument.partition("::")[0] for argument in config.args}
    if len(given) == 1 and given.pop().endswith(".py"):
        return 0
    return min(MOST_PROCESSES, len(os.sched_getaffinity(0)))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long text by its length: the id is a part of every report on its test."""
    if isinstance(val, str | bytes) and len(val) > LONGEST_ID:
        return f"{argname} of {len(val)}"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares a slow start first, then slow files; those that share it go to one process."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (_shared(item), item.path not in slow))
    for item in items:
        if "private_adb" in item.fixturenames:
            item.add_marker("device")
        group = (*SHARED, item.path.name)[_shared(item)]
        item.add_marker(pytest.mark.xdist_group(group))
        item.user_properties.append((GROUP, group))  # goes with reports to the main process


def _shared(item: pytest.Item) -> int:
    """The first of ``SHARED`` that a test uses; ``len(SHARED)`` for none."""
    used = (index for index, name in enumerate(SHARED) if name in item.fixturenames)
    return next(used, len(SHARED))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo):
    report = yield
    skip = call.excinfo and call.excinfo.errisinstance(pytest.skip.Exception)
    if skip and not isinstance(call.excinfo.value, MachineLacksError):
        report.outcome = "failed"
        report.longrepr = f"skipped, but this machine lacks nothing: {call.excinfo.value}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    report = yield
    if report.skipped:
        report.outcome = "failed"
        report.longrepr = f"a whole file is skipped: {report.longrepr[-1]}"
    return report


class Account:
    """What reports tell of a run, in the process that gets all of them."""

    def __init__(self, config: pytest.Config):
        self.plugins = config.pluginmanager
        self.processes = defaultdict(set)  # that ran tests of a group
        self.skipped = defaultdict(Counter)  # tests per file, by reason

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        group = dict(report.user_properties).get(GROUP)
        if group and hasattr(report, "node"):  # as the main process of several gets it
            self.processes[group].add(report.node.gateway.id)
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[-1].partition(": ")[2]  # after the name of the exception
            self.skipped[reason][report.location[0]] += 1
        # at once: a run takes long, and may be stopped before its summary
        if report.failed and (terminal := self.plugins.get_plugin("terminalreporter")):
            terminal.ensure_newline()
            terminal.write_line(f"failed: {report.nodeid}", red=True)

    def torn(self) -> list[str]:
        return sorted(group for group, processes in self.processes.items() if len(processes) > 1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.torn():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        write = terminalreporter.write_line
        for reason, files in self.skipped.items():
            listed = ", ".join(f"{file} ({count})" for file, count in files.items())
            write(f"skipped, because {reason}: {listed}", yellow=True)
        if not self.skipped:
            write("no test was skipped")
        if torn := self.torn():
            write(
                f"error: tests of one group ran in several processes: {', '.join(torn)}; "
                "install pytest and pytest-xdist as pyproject.toml pins them",
                red=True,
            )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Account(config))
