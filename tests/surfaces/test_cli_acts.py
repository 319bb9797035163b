"""`onward retry`, `cancel`, `reset` and `skip`: what they change, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest

from onward.api.journal import Journal
from onward.api.overview import actor
from surfaces.conftest import LOOP, MAP, Cli, Programs

CRASHES = """
for item in onward.each(["good", "bad", "late"], name="fragile", max_crashes=1):
    if item == "bad" and not pathlib.Path("mended").exists():
        os.kill(os.getpid(), 9)
    with open("done.txt", "a") as file:
        file.write(item + "\\n")
"""


def shown(cli: Cli, run: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("show", run, "--json").stdout)
    return found


# -- retry ------------------------------------------------------------------------------------------


def test_after_a_retry_only_what_failed_is_executed_again(cli: Cli, programs: Programs) -> None:
    name = programs.write(MAP)
    programs.run(name)
    result = cli("retry", "halves")
    assert result.exit_code == 0
    assert "is ready: 1 failed unit will be tried again. Continue it with: python job.py" in result.stderr
    assert shown(cli, "halves")["run"]["state"] == "pending"
    (programs.folder / "mended").touch()
    assert programs.run(name).stdout == "[0.5, 1.0, 1.5, 2.0]\n"
    assert programs.lines("done.txt") == ["1", "2", "4", "3"]
    assert shown(cli, "halves")["run"]["state"] == "done"


def test_a_parked_item_is_begun_again_after_a_retry(cli: Cli, programs: Programs) -> None:
    name = programs.write(CRASHES)
    assert programs.run(name).returncode == -9
    programs.run(name)
    assert programs.lines("done.txt") == ["good", "late"]
    assert shown(cli, "fragile")["run"]["state"] == "failed"
    (programs.folder / "mended").touch()
    assert cli("retry", "fragile").exit_code == 0
    programs.run(name)
    assert programs.lines("done.txt") == ["good", "late", "bad"]


def test_a_stuck_workflow_is_ready_again_after_a_retry(cli: Cli, programs: Programs) -> None:
    name = programs.write("""
@onward.step
def look(what):
    return what

@onward.workflow
def seek():
    look(pathlib.Path("what").read_text())
    if pathlib.Path("die").exists():
        os.kill(os.getpid(), 9)

seek()
""")
    (programs.folder / "what").write_text("a")
    (programs.folder / "die").touch()
    assert programs.run(name).returncode == -9
    (programs.folder / "what").write_text("b")
    assert programs.run(name).returncode == 1
    [one] = json.loads(cli("status", "--json").stdout)["needs_you"]
    assert one["state"] == "stuck"
    assert f"put it right, then type: onward retry {one['id']}" in cli("status").stdout
    assert cli("retry", one["id"]).exit_code == 0
    (programs.folder / "what").write_text("a")
    (programs.folder / "die").unlink()
    assert programs.run(name).returncode == 0
    assert shown(cli, one["id"])["run"]["state"] == "done"


@pytest.mark.parametrize("words", [["retry"], ["skip"]])
def test_what_is_done_cannot_be_retried_or_skipped(cli: Cli, programs: Programs, words: list[str]) -> None:
    programs.run(programs.write(LOOP))
    result = cli(*words, "letters", *(["a"] if words == ["skip"] else []))
    assert result.exit_code == 2
    assert f"is done, so there is nothing to {words[0]}; nothing was changed" in result.stderr


@pytest.mark.parametrize("words", [["retry", "letters"], ["skip", "letters", "a"]], ids=["retry", "skip"])
def test_what_a_living_process_executes_is_left_to_it(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("HOLD_AT", "b")
    program = programs.start(programs.write(LOOP))
    programs.wait_for("held")
    result = cli(*words)
    assert result.exit_code == 75
    assert f"already running (process {program.pid}" in result.stderr
    (programs.folder / "go").touch()
    assert program.wait(100) == 0


# -- cancel and reset -------------------------------------------------------------------------------


def test_an_interrupted_run_is_cancelled_at_once_and_its_next_call_starts_afresh(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIE_AT", "c")
    name = programs.write(LOOP)
    programs.run(name)
    result = cli("cancel", "letters")
    assert result.exit_code == 0
    assert "is cancelled; what it had recorded is kept" in result.stderr
    assert shown(cli, "letters")["marks"][-1]["by"] == actor()
    programs.run(name)
    assert programs.lines("done.txt") == [*"ab", *"abcdef"]


def test_a_living_process_is_asked_and_stops_at_its_next_item(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLD_AT", "c")
    program = programs.start(programs.write(LOOP))
    programs.wait_for("held")
    result = cli("cancel", "letters")
    assert result.exit_code == 0
    assert "was asked to stop" in result.stderr
    assert "asked to cancel" in cli("status").stdout
    (programs.folder / "go").touch()
    out, err = program.communicate(timeout=100)
    assert program.returncode == 1, (out, err)
    assert "was cancelled" in err
    assert "letters: cancelled after" in err
    assert "continue with" not in err, "the same command begins anew"
    # The answer to "begin d" brings the request, so one more item may be done.
    assert programs.lines("done.txt") in (list("abc"), list("abcd"))
    assert shown(cli, "letters")["run"]["state"] == "cancelled"


def test_nothing_is_cancelled_twice(cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIE_AT", "c")
    programs.run(programs.write(LOOP))
    assert cli("cancel", "letters").exit_code == 0
    result = cli("cancel", "letters")
    assert result.exit_code == 2
    assert "is cancelled already; nothing was changed" in result.stderr


@pytest.mark.parametrize("answer", ["n\n", ""], ids=["no", "nobody there"])
def test_a_reset_that_is_not_confirmed_changes_nothing(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setenv("DIE_AT", "c")
    programs.run(programs.write(LOOP))
    result = cli("reset", "letters", answer=answer)
    assert result.exit_code == 2
    assert "will do 2 done items again" in result.stderr
    assert "nothing was changed" in result.stderr
    assert shown(cli, "letters")["run"]["state"] == "interrupted"


def test_a_reset_run_keeps_its_history_and_says_who_reset_it(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIE_AT", "c")
    name = programs.write(LOOP)
    programs.run(name)
    result = cli("reset", "letters", answer="y\n")
    assert result.exit_code == 0
    assert "start afresh with: python job.py" in result.stderr
    before = shown(cli, "letters")
    assert (before["run"]["state"], before["run"]["done"]) == ("cancelled", 2)
    assert before["marks"][-1]["by"] == f"{actor()} (reset)"
    programs.run(name)
    assert programs.lines("done.txt") == [*"ab", *"abcdef"]
    assert cli("show", before["run"]["id"]).exit_code == 0


# -- skip -------------------------------------------------------------------------------------------


def test_a_skipped_item_is_not_tried_again(cli: Cli, programs: Programs) -> None:
    name = programs.write(CRASHES)
    programs.run(name)
    programs.run(name)
    before = shown(cli, "fragile")["leases"]
    result = cli("skip", "fragile", "bad")
    assert result.exit_code == 0
    assert "item bad of fragile" in result.stderr
    assert shown(cli, "fragile")["leases"] == before  # none of them did what a person says
    programs.run(name)
    assert programs.lines("done.txt") == ["good", "late"]
    after = shown(cli, "fragile")
    assert after["run"]["state"] == "done"
    assert {one["key"]: one["state"] for one in after["units"]}["each/bad"] == "skipped"


def test_an_item_that_crashed_can_be_skipped_before_it_is_parked(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIE_AT", "c")
    name = programs.write(LOOP)
    programs.run(name)
    assert cli("skip", "letters", "each/c").exit_code == 0
    programs.run(name)
    assert programs.lines("done.txt") == list("abdef")


def test_what_has_not_failed_cannot_be_skipped_and_the_nearest_is_named(cli: Cli, programs: Programs) -> None:
    name = programs.write(CRASHES)
    programs.run(name)
    programs.run(name)
    result = cli("skip", "fragile", "bat")
    assert result.exit_code == 2
    assert (
        "has no failed item `bat`, so it cannot be skipped; nothing was changed. Did you mean `bad`?"
        in result.stderr
    )
    result = cli("skip", "fragile", "good")
    assert result.exit_code == 2


# -- for programs -----------------------------------------------------------------------------------


def test_every_act_answers_in_json(cli: Cli, programs: Programs) -> None:
    programs.run(programs.write(MAP))
    document = json.loads(cli("retry", "halves", "--json").stdout)
    assert (document["schema"], document["units"], document["asked"]) == (1, 1, False)
    assert document["run"]["state"] == "pending"
    document = json.loads(cli("reset", "halves", "--yes", "--json").stdout)
    assert document["run"]["state"] == "cancelled"


def test_programs_look_and_act_through_the_same_journal(journal: Path, programs: Programs) -> None:
    programs.run(programs.write(MAP))
    with Journal.existing() as runs:
        assert runs.place == str(journal)
        [one] = runs.list(states=["failed"])
        assert (one.run.name, one.counts) == ("halves", (3, 1, 4))
        assert [found.run.id for found in runs.search("HALVES")] == [one.run.id]
        assert runs.search("nothing like it") == []
        assert [unit.key for unit in runs.timeline("halves").failed] == ["map/3"]
        assert runs.retry("halves", by="a test").units == 1
        assert runs.get("halves").state == "pending"
        assert runs.timeline("halves").marks[-1].by == "a test"
