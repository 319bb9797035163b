"""Files as items, and what is done once over all passes."""

# ruff: noqa: C416, PT012
from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import Killed, die, entries, outcomes, python, runs, the_run, told, write_script


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.csv", "a.csv", "sub/c.csv", "note.txt", ".hidden.csv"):
        (folder / name).write_text(name)
    return folder


def names(items: Any, **options: Any) -> list[str]:
    """One pass; the names of the files begun."""
    return [path.name for path in onward.each(items, **{"name": "inbox", **options})]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("inbox/*.csv", ["inbox/a.csv", "inbox/b.csv"]),
        ("inbox/**/*.csv", ["inbox/a.csv", "inbox/b.csv", "inbox/sub/c.csv"]),
        ("inbox", ["inbox/a.csv", "inbox/b.csv", "inbox/note.txt"]),
        ("inbox/a.csv", ["inbox/a.csv"]),
        ("inbox/[ab].csv", ["inbox/a.csv", "inbox/b.csv"]),
        ("inbox/.h*", ["inbox/.hidden.csv"]),
        ("inbox/none*", []),
        ("*/a.csv", ["inbox/a.csv"]),
    ],
)
def test_a_pattern_gives_the_files_in_the_order_of_their_names(
    pattern: str, found: list[str], inbox: Path
) -> None:
    assert list(onward.files(pattern)) == [Path(name) for name in found]
    assert list(onward.files(Path(pattern))) == [Path(name) for name in found]


def test_a_folder_that_does_not_exist_is_said_and_not_taken_for_an_empty_one() -> None:
    with pytest.raises(onward.UsageError, match="there is no inbx, in which"):
        onward.files("inbx/**/*.csv")


@pytest.mark.parametrize("options", [{"key": "name"}, {"min_age": -1}, {"min_age": "5"}])
def test_options_that_cannot_be_are_refused(options: Any, inbox: Path) -> None:
    with pytest.raises(onward.UsageError):
        onward.files("inbox", **options)


def test_an_altered_file_is_new_work_and_an_unaltered_one_is_not(inbox: Path) -> None:
    assert names(onward.files("inbox/*.csv"), once=True) == ["a.csv", "b.csv"]
    assert names(onward.files("inbox/*.csv"), once=True) == []
    (inbox / "a.csv").write_text("more of it")
    os.utime(inbox / "b.csv", (1, 1))
    (inbox / "d.csv").touch()
    assert names(onward.files("inbox/*.csv"), once=True) == ["a.csv", "b.csv", "d.csv"]
    assert names(onward.files("inbox/*.csv"), once=True) == []


def test_with_hash_only_the_content_counts(inbox: Path) -> None:
    assert names(onward.files("inbox/*.csv", key="hash"), once=True) == ["a.csv", "b.csv"]
    os.utime(inbox / "b.csv", (1, 1))
    stamp = (inbox / "a.csv").stat()
    (inbox / "a.csv").write_text("A.CSV")
    os.utime(inbox / "a.csv", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert names(onward.files("inbox/*.csv", key="hash"), once=True) == ["a.csv"]


def test_a_file_is_recognised_as_it_was_when_its_turn_came(inbox: Path) -> None:
    """The body moves or rewrites what it has read."""
    for path in onward.each(onward.files("inbox/*.csv"), name="inbox", once=True):
        path.rename(path.with_suffix(".done"))
    assert names(onward.files("inbox/*.csv"), once=True) == []
    assert len(outcomes()) == 2


def test_files_that_disappear_meanwhile_are_left_out(inbox: Path) -> None:
    begun = []
    for path in onward.each(onward.files("inbox/*.csv"), name="inbox"):
        begun.append(path.name)
        (inbox / "b.csv").unlink(missing_ok=True)
    assert begun == ["a.csv"]


def test_min_age_leaves_files_alone_that_may_still_be_written(inbox: Path) -> None:
    os.utime(inbox / "a.csv", (1, 1))
    assert [path.name for path in onward.files("inbox/*.csv", min_age=60)] == ["a.csv"]


@pytest.mark.parametrize(
    "name", ["ü ∆.csv", "a > b.csv", "x" * 200 + ".csv", "new\nline.csv", "#~2.csv", "17.csv"]
)
def test_any_file_name_is_an_item(name: str, inbox: Path) -> None:
    (inbox / name).touch()
    pattern = f"inbox/{name.replace('#', '[#]')}"
    assert names(onward.files(pattern), once=True) == [name]
    assert names(onward.files(pattern), once=True) == []


def test_a_map_takes_files_too(inbox: Path) -> None:
    def size(path: Path) -> int:
        return path.stat().st_size

    assert list(onward.map(size, onward.files("inbox/*.csv"), name="sizes")) == [5, 5]
    assert all(".csv " in key for key in outcomes())


# -- once -----------------------------------------------------------------------------------------------


def once(items: Any, **options: Any) -> list[Any]:
    begun = []
    try:
        for item in onward.each(items, **{"name": "feed", "once": True, **options}):
            begun.append(item)
            if options.get("dies_at", ...) == item:
                die()
    except Killed:
        pass
    return begun


def test_what_is_done_is_done_for_ever() -> None:
    assert once("abc") == ["a", "b", "c"]
    assert once("cxa") == ["x"]
    assert once(iter("abcx")) == []
    assert (the_run().state, onward.Journal().get(the_run().id).counts.done) == ("waiting", 4)


def test_new_items_are_no_other_list() -> None:
    once(range(5))
    assert once(range(1000, 1200)) == list(range(1000, 1200))


def test_equal_items_are_the_same_work() -> None:
    assert once("aab") == ["a", "b"]
    assert once("aaba") == []


def test_an_interrupted_pass_repeats_the_item_in_hand(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Killed):
        for item in onward.each("abc", name="feed", once=True):
            if item == "b":
                die()
    assert once("abcd") == ["b", "c", "d"]


def test_a_pass_in_which_nothing_is_new_writes_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    once("abc")
    before, _ = len(entries()), capsys.readouterr()
    for _ in range(3):
        assert once("abc") == []
    assert len(entries()) == before
    assert capsys.readouterr().err == ""


def test_with_batches(capsys: pytest.CaptureFixture[str]) -> None:
    assert [b for b in onward.each("abcde", name="feed", once=True, batch=2)] == [
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
    assert [b for b in onward.each("abcdefg", name="feed", once=True, batch=2)] == [["f", "g"]]


def test_with_async_for() -> None:
    async def job(items: str) -> list[str]:
        return [item async for item in onward.each(items, name="feed", once=True)]

    assert asyncio.run(job("ab")) == ["a", "b"]
    assert asyncio.run(job("abc")) == ["c"]
    assert asyncio.run(job("abc")) == []


def test_what_is_parked_stays_so_until_somebody_says_retry(capsys: pytest.CaptureFixture[str]) -> None:
    """A watcher that tried a poisonous file again in its next pass would die for ever."""
    for _ in range(3):
        with pytest.raises(Killed):
            for item in onward.each("abc", name="feed", once=True):
                if item == "b":
                    die()
    assert once("abc") == ["c"]
    assert the_run().state == "failed"
    before = len(entries())
    assert once("abc") == []
    assert len(entries()) == before
    assert once("abcd") == ["d"]
    assert once("abcd") == once("badc") == []
    assert once("eabcd") == ["e"]
    assert outcomes()["each/b"] == "failed"
    onward.Journal().retry(the_run().id)
    assert once("abcde") == ["b"]
    assert the_run().state == "waiting"


def test_it_lives_beside_a_loop_of_the_same_name() -> None:
    once("ab")
    assert [item for item in onward.each("ab", name="feed")] == ["a", "b"]
    assert sorted(run.identity for run in runs()) == ["loop:feed", "once:feed"]


def test_fresh_from_outside_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    once("ab")
    monkeypatch.setenv("ONWARD_FRESH", "1")
    assert once("abc") == ["c"]


def test_after_cancel_all_is_new_again() -> None:
    once("ab")
    onward.Journal().cancel(the_run().id)
    assert once("ab") == ["a", "b"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": None}, "once=True needs name="),
        ({"max_age": 5}, "nothing was started. To forget it all, cancel its run"),
        ({"fresh": True}, "To forget it all"),
        ({"duplicates": "again"}, "contradict"),
    ],
)
def test_options_that_contradict_it_are_refused(options: Any, says: str) -> None:
    with pytest.raises(onward.UsageError, match=says):
        once("ab", **options)
    assert runs() == []


def test_inside_another_run_it_is_refused() -> None:
    with pytest.raises(onward.UsageError, match="belongs to a loop of a script"):
        for _ in onward.each("a", name="outer"):
            once("b")


def test_two_watchers_at_once_do_not_do_the_same(tmp_path: Path) -> None:
    script = write_script(
        tmp_path,
        """
        import sys, time
        import onward
        for item in onward.each(["a", "b"], name="feed", once=True):
            print(item, flush=True)
            if sys.argv[1:]:
                time.sleep(600)
        """,
    )
    import subprocess
    import sys

    from api.lives import environment

    first = subprocess.Popen(
        [sys.executable, script, "hold"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "a\n"
    try:
        assert "`feed` is already running" in told(python(script, cwd=tmp_path))
    finally:
        first.kill()
        first.communicate()
    assert python(script, cwd=tmp_path).stdout.split() == ["a", "b"]
    assert python(script, cwd=tmp_path).stdout == ""


def test_what_is_done_once_has_no_length_although_its_passes_have() -> None:
    """The length of the first pass stayed: after the second one `onward status` said `6 of 3 (200 %)`."""
    once(["a", "b", "c"])
    once(["d", "e", "f"])
    (run,) = runs()
    assert (run.done, run.total) == (6, None)


@pytest.mark.parametrize("key", ["stat", "hash"])
def test_a_file_that_disappears_after_it_was_looked_at_is_still_known_by_what_it_was(
    tmp_path: Path, key: Any
) -> None:
    """A continued pass looks some items ahead; one of them that was gone when its turn came ended the loop with a bare
    FileNotFoundError, and a file was read twice with key="hash".
    """
    for name in "abc":
        (tmp_path / name).write_text(name)
    source = onward.files(tmp_path, key=key)
    paths = list(source)
    keys = [source.recognise(path) for path in paths]
    for path in paths:
        path.unlink()
    assert [source.recognise(path) for path in paths] == keys
    assert list(source) == []
