"""The recorder, and a copy of the code as it is now, for all tests of a test process."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.harness import Server, compile_shim, copied, scratch
from power.harness import compile_recorder


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    if sys.platform != "linux":
        pytest.skip("the recorder knows only Linux")
    with scratch() as folder:
        yield folder


@pytest.fixture(scope="session")
def recorder(memory: Path) -> Path:
    return compile_recorder(memory)


@pytest.fixture(scope="session")
def source(memory: Path) -> Path:
    return copied(memory / "src")


@pytest.fixture(scope="session")
def server(memory: Path, source: Path) -> Iterator[Server]:
    """Runs the programs again on what a power failure has left."""
    serving = Server(memory, compile_shim(memory), source)
    yield serving
    serving.close()
