"""One shim and one fork server for all crash tests of a test process."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.harness import Server, compile_shim, copied, scratch


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    with scratch() as folder:
        yield folder


@pytest.fixture(scope="session")
def shim(memory: Path) -> Path:
    if sys.platform != "linux":
        pytest.skip("the shim knows only Linux")
    return compile_shim(memory)


@pytest.fixture(scope="session")
def source(memory: Path) -> Path:
    """A copy of the code as it is now: a file saved during the tests must not end up in half of the forks."""
    return copied(memory / "src")


@pytest.fixture(scope="session")
def server(memory: Path, shim: Path, source: Path) -> Iterator[Server]:
    serving = Server(memory, shim, source)
    yield serving
    serving.close()
