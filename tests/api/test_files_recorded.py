"""A file as the outcome of a step or item: it stands while it is there as recorded, else the step runs again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import Fate, Killed, entries, outcomes, the_run


@dataclass
class Report:
    name: str
    pages: list[onward.File]


class Saving:
    """A workflow that saves, uses and saves again, in as many lives as it is told."""

    def __init__(self, wrap: Callable[[onward.File], Any] = lambda file: file) -> None:
        self.done: list[str] = []
        self.fate = fate = Fate()
        self.content = "first"
        done = self.done

        @onward.step
        def save(name: str) -> Any:
            done.append(f"save {name}")
            return wrap(onward.atomic_write(name, f"{name} {self.content}"))

        @onward.step
        def use(saved: Any) -> str:
            done.append("use")
            return "used"

        @onward.workflow(name="saving")
        def saving() -> list[Any]:
            a = save("a")
            used = use(a)
            b = save("b")
            fate()
            return [a, used, b]

        self.flow = saving

    def die(self) -> None:
        self.fate.deaths = 1
        with pytest.raises(Killed):
            self.flow()


def test_a_file_that_is_as_recorded_stands() -> None:
    saving = Saving()
    saving.die()
    os.utime("a", (0, 0))
    a, used, _ = saving.flow()
    assert saving.done == ["save a", "use", "save b"]
    assert (a, used) == (onward.written("a"), "used")


def remove(path: str) -> None:
    os.unlink(path)


def change(path: str) -> None:
    Path(path).write_text(Path(path).read_text().upper())


def lengthen(path: str) -> None:
    Path(path).write_text("longer than before")


def replace(path: str) -> None:
    os.unlink(path)
    os.mkdir(path)


@pytest.mark.parametrize("harm", [remove, change, lengthen])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda file: file,
        lambda file: {"files": [1, file]},
        lambda file: Report("r", [file]),
    ],
    ids=["alone", "nested", "dataclass"],
)
def test_a_missing_or_altered_file_makes_its_step_run_again(
    harm: Callable[[str], None],
    wrap: Callable[[onward.File], Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    saving = Saving(wrap)
    saving.die()
    harm("a")
    saving.flow()
    assert saving.done == ["save a", "use", "save b", "save a"]
    assert Path("a").read_text() == "a first"
    assert "`save#1` is executed again" in capsys.readouterr().err


def test_a_file_whose_place_is_taken_by_something_else_fails_its_step() -> None:
    saving = Saving()
    saving.die()
    replace("a")
    with pytest.raises(IsADirectoryError):
        saving.flow()
    os.rmdir("a")
    assert saving.flow()[1] == "used"
    assert Path("a").read_text() == "a first"


def test_other_content_the_second_time_is_no_divergence_and_later_steps_keep_their_outcomes() -> None:
    saving = Saving()
    saving.die()
    os.unlink("a")
    saving.content = "second"
    a, used, b = saving.flow()
    assert saving.done == ["save a", "use", "save b", "save a"]
    assert a == onward.written("a")
    assert (used, b) == ("used", onward.written("b"))


def test_what_was_made_again_counts_from_then_on_and_can_be_lost_again() -> None:
    saving = Saving()
    saving.die()
    os.unlink("a")
    saving.content = "second"
    saving.die()
    saving.die()
    assert saving.done.count("save a") == 2
    change("a")
    saving.content = "third"
    assert saving.flow()[0] == onward.written("a")
    assert saving.done.count("save a") == 3
    assert (
        outcomes()["save#1"] == outcomes()["save#1 > remade#1"] == outcomes()["save#1 > remade#2"] == "done"
    )
    done = [entry.key for entry in entries() if entry.state == "done"]
    assert len(done) == len(set(done))


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_state_file_that_step_after_step_replaces_is_that_of_the_last_one(way: str) -> None:
    """The files of the steps before it are gone on purpose: making them again would repeat work, and go back."""
    done: list[int] = []
    fate = Fate()

    @onward.step
    def save(n: int) -> onward.File:
        done.append(n)
        return onward.atomic_write("state", f"state {n}")

    @onward.step
    async def save_async(n: int) -> onward.File:
        return save.fn(n)

    @onward.workflow(name="state")
    def state() -> None:
        for n in range(4):
            save(n)
        fate()

    @onward.workflow(name="state")
    async def state_async() -> None:
        for n in range(4):
            await save_async(n)
        fate()

    def run() -> None:
        asyncio.run(state_async()) if way == "async" else state()

    for lives, lost in enumerate((False, True, False), 1):
        fate.deaths = 1
        with pytest.raises(Killed):
            run()
        if lost:
            os.unlink("state")
        assert done == [0, 1, 2, 3, *([3] if lives == 3 else [])]
    run()
    assert Path("state").read_text() == "state 3"


def test_a_file_replaced_by_a_step_that_died_before_its_record_is_that_of_the_step_before() -> None:
    """The journal cannot know who replaced it: the step that recorded it last runs again, then the one that died."""
    done: list[int] = []
    fate = Fate()

    @onward.step
    def save(n: int) -> onward.File:
        done.append(n)
        file = onward.atomic_write("state", f"state {n}")
        if n == 2:
            fate()
        return file

    @onward.workflow(name="state")
    def state() -> list[onward.File]:
        return [save(n) for n in range(4)]

    with pytest.raises(Killed):
        state()
    assert state()[-1] == onward.written("state")
    assert done == [0, 1, 2, 1, 2, 3]


def test_a_file_that_cannot_be_made_again_fails_the_run_and_a_later_call_makes_it() -> None:
    broken = [False]

    @onward.step
    def save() -> onward.File:
        if broken[0]:
            raise ConnectionError("no source")
        return onward.atomic_write("a", "text")

    fate = Fate()

    @onward.workflow(name="later")
    def later() -> onward.File:
        file = save()
        fate()
        return file

    with pytest.raises(Killed):
        later()
    os.unlink("a")
    broken[0] = True
    with pytest.raises(ConnectionError):
        later()
    assert the_run().state == "failed"
    broken[0] = False
    assert later() == onward.written("a")


def test_steps_inside_answer_from_the_record_when_their_outer_step_is_done_again() -> None:
    done: list[str] = []
    fate = Fate()

    @onward.step
    def fetch() -> str:
        done.append("fetch")
        return "content"

    @onward.step
    def save() -> onward.File:
        done.append(onward.idempotency_key())
        return onward.atomic_write("a", fetch())

    @onward.workflow(name="outer")
    def outer() -> onward.File:
        file = save()
        fate()
        return file

    with pytest.raises(Killed):
        outer()
    os.unlink("a")
    outer()
    assert done == [done[0], "fetch", done[0]]


def test_a_lost_file_of_an_async_step_is_made_again() -> None:
    done: list[int] = []
    fate = Fate()

    @onward.step
    async def save(n: int) -> onward.File:
        done.append(n)
        return onward.atomic_write(f"f{n}", str(n))

    @onward.workflow(name="async-saving")
    async def saving() -> list[onward.File]:
        files = [await save(n) for n in range(3)]
        fate()
        return files

    with pytest.raises(Killed):
        asyncio.run(saving())
    os.unlink("f1")
    assert asyncio.run(saving()) == [onward.written(f"f{n}") for n in range(3)]
    assert done == [0, 1, 2, 1]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_an_item_of_a_map_is_done_again_if_its_file_is_lost(way: str) -> None:
    done: list[int] = []

    def save(n: int) -> onward.File:
        done.append(n)
        return onward.atomic_write(f"f{n}", str(n))

    async def save_async(n: int) -> onward.File:
        return save(n)

    def some(count: int) -> list[onward.File]:
        found = []
        for file in onward.map(save_async if way == "async" else save, range(6), name="m", concurrency=2):
            found.append(file)
            if len(found) == count < 6:
                break
        return found

    some(5)
    before = sorted(done)
    lengthen("f1")
    os.unlink("f2")
    assert some(6) == [onward.written(f"f{n}") for n in range(6)]
    assert sorted(done) == sorted([*range(6), 1, 2])
    assert set(before) <= set(done)
    counted = the_run()
    assert (counted.state, counted.done) == ("done", 6)


def test_a_file_that_was_written_by_other_means_counts_too() -> None:
    done: list[str] = []
    fate = Fate()

    @onward.step
    def convert() -> onward.File:
        done.append("convert")
        Path("out.bin").write_bytes(b"x" * 3_000_000)
        return onward.written("out.bin")

    @onward.workflow(name="converting")
    def converting() -> int:
        size = convert().size
        fate()
        return size

    with pytest.raises(Killed):
        converting()
    os.truncate("out.bin", 2_999_999)
    assert converting() == 3_000_000
    assert done == ["convert", "convert"]
