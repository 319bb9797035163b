"""Consumers that would mark items done too early are refused before anything is started."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import onward


@pytest.fixture(autouse=True)
def journal(tmp_path: Path):
    onward.connect(tmp_path / "journal.db")
    yield
    from onward.api.connect import disconnect

    disconnect()


def items():
    return onward.each([1, 2, 3], name="n")


def test_consumers_that_take_everything_at_once_are_refused():
    with ThreadPoolExecutor(1) as pool:
        eager = [
            lambda: list(items()),
            lambda: sorted(items()),
            lambda: [*items()],
            lambda: print(*items()),
            lambda: list(zip(items(), "abc", strict=False)),
            lambda: list(pool.map(str, items())),
            lambda: [].extend(items()),
            lambda: 7 in items(),
        ]
        for consume in eager:
            with pytest.raises(onward.UsageError, match="all at once"):
                consume()

    def unpack():
        _a, _b, _c = items()

    with pytest.raises(onward.UsageError, match="unpacking"):
        unpack()


def test_consumers_that_hand_items_on_one_by_one_are_not():
    seen = []
    for n in items():
        seen.append(n)  # noqa: PERF402  (a loop is what is tested)
    assert seen == [1, 2, 3]
    assert [n for _, n in enumerate(items())] == [1, 2, 3]

    def bar(them):
        for one in them:  # noqa: UP028  (as a progress bar does)
            yield one

    assert list(bar(items())) == [1, 2, 3]
    iterator = iter(items())
    assert next(iterator) == 1
    iterator.close()
