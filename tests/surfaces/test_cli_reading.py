"""`onward status`, `runs` and `show`: what they say, to people and to programs."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from onward.cli import main
from onward.core import codec
from onward.core.model import Change, Entry, Run
from onward.storage.open import open_store
from surfaces.conftest import LOOP, MAP, Cli, Programs

READING = [["status"], ["runs"], ["show", "letters"], ["doctor"]]
ACTING = [["retry", "r"], ["cancel", "r"], ["reset", "--yes", "r"], ["skip", "r", "k"]]


def stored(journal: Path, run_id: str, **fields: object) -> None:
    """A run as a row, whatever a hostile writer puts into it."""
    store = open_store(f"sqlite:///{journal}")
    run = Run(
        **{"id": run_id, "kind": "loop", "name": "stored", "identity": run_id, "state": "done", **fields}
    )  # type: ignore[arg-type]
    entries = (Entry("run/submitted", "mark", "mark", "submitted"),)
    store.commit([Change(0, 0, entries, after=run, create=True)])
    store.close()


# -- where nothing is -------------------------------------------------------------------------------


@pytest.mark.parametrize("words", READING + ACTING, ids=lambda words: words[0])
def test_a_command_never_creates_a_journal_that_is_not_there(
    cli: Cli, journal: Path, words: list[str]
) -> None:
    result = cli(*words)
    assert result.exit_code == 5
    assert result.stderr == f"onward: there is no journal at {journal}; nothing has been recorded yet here\n"
    assert list(journal.parent.iterdir()) == []


def test_a_file_that_is_no_journal_is_refused_with_a_sentence(cli: Cli, journal: Path) -> None:
    journal.write_text("this is my diary, not a journal" * 100)
    result = cli("status")
    assert result.exit_code == 2
    assert result.stderr.startswith("onward: ")
    assert str(journal) in result.stderr
    assert journal.read_text().startswith("this is my diary")


def test_a_wrong_address_is_a_sentence_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONWARD_URL", "env:NOT_SET_HERE")
    result = cli("status")
    assert result.exit_code == 2
    assert "NOT_SET_HERE is not set" in result.stderr


def test_an_empty_journal_has_no_runs(cli: Cli, journal: Path) -> None:
    open_store(f"sqlite:///{journal}").close()
    assert "no runs are recorded yet" in cli("status").stdout
    result = cli("runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no run fits" in result.stderr


# -- status -----------------------------------------------------------------------------------------


def test_status_tells_what_was_interrupted_what_failed_and_what_to_type(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIE_AT", "d")
    assert programs.run(programs.write(LOOP), "--all").returncode == -9
    assert programs.run(programs.write(MAP, "halves.py")).returncode == 0
    text = cli("status").stdout
    assert "letters  interrupted  3 of 6 (50 %)" in text
    assert "continue it: python job.py --all" in text
    assert "halves  failed  3 of 4 (75 %) · 1 failed" in text
    assert "try the failed ones again: python halves.py" in text


def test_status_of_a_living_process_is_running_and_says_who(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLD_AT", "b")
    program = programs.start(programs.write(LOOP))
    programs.wait_for("held")
    text = cli("status").stdout
    assert re.search(rf"letters +running +1 of 6 .*process {program.pid} on ", text)
    assert "interrupted" not in text


def test_status_in_json_is_one_document_with_utc_times(cli: Cli, programs: Programs) -> None:
    programs.run(programs.write(LOOP))
    document = json.loads(cli("status", "--json").stdout)
    assert document["schema"] == 1
    assert document["running"] == document["needs_you"] == []
    [one] = document["ended"]
    assert (one["name"], one["state"], one["done"], one["total"]) == ("letters", "done", 6, 6)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["created_at"])


def test_looking_works_while_another_process_writes(cli: Cli, programs: Programs) -> None:
    busy = """
for item in onward.each(range(10**9), name="busy"):
    pathlib.Path("busy").touch()
"""
    programs.start(programs.write(busy))
    programs.wait_for("busy")
    seen = []
    for _ in range(10):
        document = json.loads(cli("show", "busy", "--json").stdout)
        seen.append(document["run"]["done"])
        assert cli("status").exit_code == cli("runs").exit_code == 0
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]


# -- runs -------------------------------------------------------------------------------------------


def test_runs_are_chosen_by_state_name_and_text(cli: Cli, journal: Path) -> None:
    error = codec.encode_error(ValueError("the moon is missing"))
    stored(journal, "one-1", name="one")
    stored(journal, "two-1", name="two", state="failed", error=error)
    stored(journal, "two-2", name="two", state="stuck")

    def ids(*words: str) -> list[str]:
        return [one["id"] for one in json.loads(cli("runs", "--json", *words).stdout)["runs"]]

    assert ids() == ["two-2", "two-1", "one-1"]
    assert ids("--state", "failed", "--state", "stuck") == ["two-2", "two-1"]
    assert ids("--name", "one") == ["one-1"]
    assert ids("--search", "MOON") == ["two-1"]
    assert ids("--state", "interrupted") == []


def test_a_list_that_is_cut_says_so(cli: Cli, journal: Path) -> None:
    for number in range(3):
        stored(journal, f"run-{number}")
    result = cli("runs", "--limit", "2")
    assert len(result.stdout.splitlines()) == 2
    assert "--limit shows more" in result.stderr
    assert json.loads(cli("runs", "--limit", "2", "--json").stdout)["more"] is True
    assert json.loads(cli("runs", "--limit", "3", "--json").stdout)["more"] is False


def test_a_state_that_does_not_exist_is_wrong_usage(cli: Cli) -> None:
    result = cli("runs", "--state", "sleepy")
    assert result.exit_code == 2
    assert "sleepy" in result.stderr


# -- show -------------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_id_its_beginning_or_its_name(cli: Cli, journal: Path) -> None:
    for run_id in ("scrape-aa11", "scrape-ab22", "other-1"):
        stored(journal, run_id, name=run_id.partition("-")[0])

    def shown(wanted: str) -> str:
        found: str = json.loads(cli("show", wanted, "--json").stdout)["run"]["id"]
        return found

    assert shown("scrape-aa11") == "scrape-aa11"
    assert shown("scrape-ab") == "scrape-ab22"
    assert shown("oth") == "other-1"
    assert shown("scrape") == "scrape-ab22"


def test_an_abbreviation_that_fits_several_runs_is_refused(cli: Cli, journal: Path) -> None:
    for run_id in ("scrape-aa11", "scrape-ab22"):
        stored(journal, run_id)
    result = cli("show", "scrape-a")
    assert result.exit_code == 2
    assert "fits 2 runs (scrape-ab22, scrape-aa11)" in result.stderr


def test_an_unknown_run_is_told_with_the_nearest_one(cli: Cli, journal: Path) -> None:
    stored(journal, "scrape-venues-1a2b", name="scrape-venues")
    result = cli("show", "scrape-venue-")
    assert result.exit_code == 5
    assert "Did you mean `scrape-venues" in result.stderr
    assert "onward runs" in cli("show", "zzzzzz").stderr


def test_show_tells_each_lease_and_the_time_in_between(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIE_AT", "d")
    name = programs.write(LOOP)
    programs.run(name)
    text = cli("show", "letters").stdout
    assert "3 done in" in text
    assert "then the process died" in text
    assert re.search(r"in flight\n +each/d +interrupted", text)
    assert text.rstrip().endswith("continue it: python job.py")
    programs.run(name)
    text = cli("show", "letters").stdout
    assert "continued (lease 2)  3 done in" in text.replace("   ", "  ")
    assert "kept from before: 3 items" in text
    assert "then finished" in text


def test_show_tells_what_failed_and_with_errors_its_traceback(cli: Cli, programs: Programs) -> None:
    programs.run(programs.write(MAP))
    text = cli("show", "halves").stdout
    assert re.search(r"failed\n +map/3 +failed\n +attempt 1, [-0-9: ]+: ValueError: three is odd", text)
    assert "Traceback" not in text
    assert "Traceback" in cli("show", "halves", "--errors").stdout
    document = json.loads(cli("show", "halves", "--json").stdout)
    [failed] = [one for one in document["units"] if one["state"] == "failed"]
    assert failed["attempts"][0]["error"]["class"] == "builtins:ValueError"
    assert "Traceback" in failed["attempts"][0]["error"]["traceback"]


def test_show_lists_the_done_items_of_a_loop_only_when_all_is_wanted(cli: Cli, programs: Programs) -> None:
    programs.run(programs.write(LOOP))
    assert "each/a" not in cli("show", "letters").stdout
    assert "each/a" in cli("show", "letters", "--all").stdout


def test_show_of_a_long_pass_tells_that_older_entries_were_not_looked_at(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.run(programs.write(MAP))
    text = 'for _ in onward.each(range(50), name="long"): pass'
    programs.run(programs.write(text, "long.py"))
    monkeypatch.setattr("onward.api.journal.WINDOW", 3)
    assert "at least 2 done in" in cli("show", "long").stdout
    assert "(of the latest entries only)" in cli("show", "long").stdout
    assert json.loads(cli("show", "long", "--json").stdout)["cut"] is True
    assert "three is odd" in cli("show", "halves").stdout, "what failed is shown however long ago it was"


def test_show_of_a_workflow_lists_its_steps(cli: Cli, programs: Programs) -> None:
    text = """
@onward.step(max_attempts=2, backoff=0.01)
def fetch(n):
    if not pathlib.Path("tried").exists():
        pathlib.Path("tried").touch()
        raise OSError("not yet")
    return n

@onward.workflow
def collect(n):
    return fetch(n) + fetch(n)

collect(2)
"""
    assert programs.run(programs.write(text)).returncode == 0
    [one] = json.loads(cli("runs", "--json").stdout)["runs"]
    shown = cli("show", one["id"]).stdout
    assert re.search(r"fetch#1 +done .*2 attempts", shown)
    assert re.search(r"fetch#2 +done", shown)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("done", 0),
        ("failed", 1),
        ("stuck", 1),
        ("cancelled", 1),
        ("waiting", 4),
        ("paused", 4),
        ("pending", 4),
    ],
)
def test_the_state_of_a_run_as_an_exit_code(cli: Cli, journal: Path, state: str, code: int) -> None:
    stored(journal, "r-1", state=state, kind="workflow")
    assert cli("show", "r-1", "--exit-code").exit_code == code
    assert cli("show", "r-1").exit_code == 0


def test_a_pass_that_finished_with_failed_items_has_a_code_of_its_own(cli: Cli, programs: Programs) -> None:
    programs.run(programs.write(MAP))
    assert cli("show", "halves", "--exit-code").exit_code == 3


# -- hostile texts ----------------------------------------------------------------------------------

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe"


@pytest.mark.parametrize(
    "words", [["status"], ["runs"], ["show", "evil"], ["show", "evil", "--all", "--errors"]]
)
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_no_text_of_a_user_reaches_the_terminal_as_a_command(
    cli: Cli, journal: Path, words: list[str], form: list[str]
) -> None:
    if form and "--errors" in words:
        words = words[:2]
    error = codec.encode_error(ValueError(EVIL))
    stored(
        journal,
        "evil-1",
        name="evil",
        state="failed",
        command=f"python {EVIL}",
        args=EVIL,
        error=error,
        owner=EVIL,
    )
    stored(journal, f"x{EVIL}", name=EVIL, state="running", owner=EVIL, lease_until=1e12, command=EVIL)
    store = open_store(f"sqlite:///{journal}")
    run = store.run("evil-1")
    assert run is not None
    entry = Entry(f"each/{EVIL}", "item", "failed", EVIL, value=error, checksum=codec.checksum(error))
    store.commit([Change(run.no, 0, (entry,))])
    store.close()
    result = cli(*words, *form)
    assert result.exit_code == 0
    assert "owned" in result.stdout
    everything = result.stdout + result.stderr
    assert all(c.isprintable() or c == "\n" for c in everything)


@pytest.mark.parametrize(
    "wanted", ["x" * 1_000_000, EVIL, "", "\ud800", "../../etc/passwd", "%", "' OR 1=1 --"]
)
def test_a_hostile_id_is_not_found_and_not_echoed_raw(cli: Cli, journal: Path, wanted: str) -> None:
    stored(journal, "r-1")
    for words in (["show"], ["cancel"], ["retry"], ["reset", "--yes"]):
        result = cli(*words, "--", wanted)
        assert result.exit_code == 5
        assert len(result.stderr) < 1_000
        assert all(c.isprintable() or c == "\n" for c in result.stderr)


# -- colours and help -------------------------------------------------------------------------------


def test_colours_come_only_when_they_are_wanted(
    cli: Cli, journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(journal, "r-1")
    assert "\x1b[" not in cli("runs").stdout
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[32mdone" in cli("runs").stdout
    assert "\x1b[" not in cli("runs", "--json").stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in cli("runs").stdout


def test_help_names_every_command_with_the_first_sentence_of_its_own_help(cli: Cli) -> None:
    overview = " ".join(cli("--help").stdout.split())
    for name, (_, line) in main.commands_from.items():  # type: ignore[attr-defined]
        result = cli(name, "--help")
        assert result.exit_code == 0
        assert line in " ".join(result.stdout.split())
        assert f"{name} {line}" in overview


def test_help_imports_neither_the_commands_nor_what_draws() -> None:
    """Start-up time is what imports cost; a time limit would only measure how busy the machine is."""
    code = "import sys, onward.cli; print([m for m in sys.modules if m.startswith(('rich', 'onward.cli.'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['onward.cli.group']"


def test_a_command_that_does_not_exist_is_wrong_usage(cli: Cli) -> None:
    assert cli("statsu").exit_code == 2


def test_of_a_run_with_an_id_it_is_said_what_comes_of_its_next_call(cli: Cli, programs: Programs) -> None:
    """It was said to start a new run, which a call with its id never does."""
    name = programs.write(
        "@onward.workflow\ndef order(n): return n\nprint(order.options(id='order-{n}')(int(sys.argv[1])))"
    )
    assert programs.run(name, "7").stdout == "7\n"
    assert f"its call gives back what is recorded: python {name} 7" in cli("show", "order-7").stdout
    store = open_store(f"sqlite:///{programs.folder / 'journal.db'}")
    [done] = store.runs()
    store.commit([Change(done.no, done.fence, after=done._replace(state="cancelled"))])
    store.close()
    shown = cli("show", "order-7").stdout
    assert f"onward reset order-7\nthen: python {name} 7" in shown
    assert programs.run(name, "7").returncode == 1
    assert cli("reset", "--yes", "order-7").exit_code == 0
    assert programs.run(name, "7").stdout == "7\n"
