"""What holds for all tests: no settings of the developer leak in, and CI lets no important test be skipped."""

import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from postgres.server import Server

# The machine decides how long an example takes, so no deadline; in CI the same examples every time.
settings.register_profile("onward", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("onward")


def pytest_configure() -> None:
    """A developer's ONWARD_URL must never be the journal a test writes to.

    Signals that whoever started the tests ignores (nohup, a shell's `&`) would be ignored by the programs under test.
    """
    os.environ.pop("ONWARD_URL", None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


# What takes minutes together: programs, workers and servers that are killed again and again. Elsewhere a mark says so.
_FAULTS = ("chaos", "crash", "power")


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test belongs to one target of the Makefile: `test`, `test-faults` or `check`."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in _FAULTS or (folder == "docs" and item.get_closest_marker("slow")):
            item.add_marker(pytest.mark.faults)
        elif folder == "docs" and not item.get_closest_marker("faults"):
            item.add_marker(pytest.mark.documents)


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Callable[[object], None]:
    """Say what was tried: printed with the test's output, and kept as its property `tally` for summaries."""

    def say(what: object) -> None:
        print(what)
        record_property("tally", str(what))

    return say


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI an important test that was skipped, or is expected to fail, has failed."""
    report = yield
    if report.skipped and item.get_closest_marker("important") and _in_ci():
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} is marked important and did not pass: {_reason(report)}"
        vars(report).pop("wasxfail", None)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI a skipped module has failed: nobody can see whether it holds important tests."""
    report = yield
    if report.skipped and _in_ci():
        report.outcome = "failed"
        report.longrepr = (
            f"{collector.nodeid} was skipped as a whole, important tests or not: {_reason(report)}"
        )
    return report


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"


def _reason(report: pytest.CollectReport | pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return f"expected to fail: {report.wasxfail}"
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What the fault harnesses tried: points, kills, seeds. A harness that tried nothing fails by itself."""
    tallies = [
        str(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, value in report.user_properties
        if name == "tally"
    ]
    if tallies:
        terminalreporter.section("what the fault harnesses tried")
        for tally in sorted(tallies):
            terminalreporter.write_line(tally)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Server"]:
    """A PostgreSQL server, started when the first test asks for it."""
    from postgres.server import server

    # Not below pytest's own folder, which only its user may enter.
    with tempfile.TemporaryDirectory(prefix="onward-pg-") as folder:
        Path(folder).chmod(0o755)
        with server(Path(folder) / "server") as running:
            yield running


@pytest.fixture(scope="session")
def pooler_port(postgres_server: "Server") -> Iterator[int]:
    """The port of a PgBouncer before it, in transaction mode."""
    from postgres.pooler import MISSING, found, pooler

    if found() is None:
        pytest.skip(MISSING)
    with pooler(postgres_server, postgres_server.folder.parent / "pooler") as port:
        yield port
