"""`numbered`: names for a run's files that stay the same in every life and replay."""

from __future__ import annotations

import pytest

import onward
from api.lives import Fate, Killed
from onward.core.errors import UsageError


def test_names_are_numbered_by_the_run_and_stay_the_same_in_every_life() -> None:
    seen: dict[str, list[str]] = {}
    fate = Fate()
    for item in onward.each("abc", name="numbering"):
        seen.setdefault(item, []).append(onward.numbered("batch", ".json"))
        if item == "b":
            break
    for item in onward.each("xabc", name="numbering"):
        seen.setdefault(item, []).append(onward.numbered("batch", ".json"))
        if fate.deaths:
            fate.deaths = 0
            break
    for item in onward.each("cxb", name="numbering"):
        seen.setdefault(item, []).append(onward.numbered("batch", ".json"))
    assert seen == {
        "a": ["batch_001.json"],
        "b": ["batch_002.json", "batch_002.json"],
        "x": ["batch_003.json", "batch_003.json"],
        "c": ["batch_004.json"],
    }


def test_a_workflow_and_its_steps_and_branches_share_one_count() -> None:
    fate = Fate()

    @onward.step
    def save() -> str:
        return onward.numbered("n")

    @onward.workflow(name="counting")
    def counting() -> list[str]:
        names = [onward.numbered("n"), save(), save(), *onward.gather(save, save)]
        names.append(onward.numbered("other", ".x", digits=5))
        fate()
        return [*names, onward.numbered("n")]

    with pytest.raises(Killed):
        counting()
    names = counting()
    assert sorted(names[:5]) == [f"n_00{n}" for n in range(1, 6)]
    assert names[5:] == ["other_00001.x", "n_006"]


def test_items_of_a_map_get_a_number_each() -> None:
    def name(x: int) -> str:
        return onward.numbered("m")

    names = list(onward.map(name, range(30), name="numbers", concurrency=8))
    assert sorted(names) == [f"m_{n:03d}" for n in range(1, 31)]


def test_a_second_attempt_gets_the_number_of_the_first() -> None:
    names: list[str] = []

    def flaky(x: int) -> str:
        names.append(onward.numbered("m"))
        if len(names) == 1:
            raise ConnectionError
        return names[-1]

    assert list(onward.map(flaky, [1], name="again", max_attempts=2, backoff=0.001)) == ["m_001"]
    assert names == ["m_001", "m_001"]


def test_a_new_run_counts_from_one_and_outside_of_a_run_nothing_is_counted() -> None:
    for _ in range(2):
        for _ in onward.each("a", name="anew"):
            assert onward.numbered("n", ".json") == "n_001.json"
    with pytest.raises(UsageError, match="this is none"):
        onward.numbered("n")
    for _ in onward.each("a", name="bad"):
        with pytest.raises(UsageError, match="digits"):
            onward.numbered("n", digits=0)
