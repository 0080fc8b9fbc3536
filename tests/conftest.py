"""What all tiers share.

A test that can not reach what it needs says why and is skipped on a developer's machine; in CI (`CI` is set) that is a failure: a
green run there means that everything ran.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator

import pytest

IN_CI = bool(os.environ.get("CI"))
_FIGURES = pytest.StashKey[list[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI, a skipped test has failed."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and in CI nothing may be: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI, a module that was skipped as a whole has failed, too."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, and in CI nothing may be: {report.longrepr}"
    return report


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tell a figure that was measured: it is shown at the end of the run, where the docs' figures come from."""
    told = request.config.stash.setdefault(_FIGURES, [])
    return lambda text: told.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures, after the failures and before the closing line."""
    told = terminalreporter.config.stash.get(_FIGURES, [])
    if told:
        terminalreporter.section("figures")
        for each in told:
            terminalreporter.write_line(each)
