"""`onward export` and `import`: whole runs change their journal, and no work is done in two places."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from onward.core import codec, limits
from onward.core.model import Applied, Change, Run
from onward.storage import Store
from onward.storage.open import open_store
from onward.storage.sqlite.store import SqliteStore
from storage.rows import entry, opened, recorded
from surfaces.conftest import LOOP, MAP, Cli, Programs

STEPS = """
from dataclasses import dataclass
@dataclass
class Page:
    size: int
@onward.step
def fetch(n):
    with open("done.txt", "a") as file:
        file.write(f"fetch {n}\\n")
    return Page(n)
@onward.step
def save(page):
    if not pathlib.Path("mended").exists():
        raise OSError("no")
    with open("done.txt", "a") as file:
        file.write(f"save {page.size}\\n")
    return page.size
@onward.workflow
def job(n):
    return save(fetch(n))
print(job(7))
"""


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Where another journal is, or will be."""
    return tmp_path / "other.db"


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch, other: Path) -> pytest.MonkeyPatch:
    """Sets ONWARD_URL to the other journal when it is asked to."""
    return monkeypatch


def go_there(monkeypatch: pytest.MonkeyPatch, other: Path) -> None:
    monkeypatch.setenv("ONWARD_URL", f"sqlite:///{other}")


def state(cli: Cli, run: str) -> str:
    found: str = json.loads(cli("show", run, "--json").stdout)["run"]["state"]
    return found


def interrupted(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIE_AT", "d")
    assert programs.run(programs.write(LOOP)).returncode == -9


# -- there and back -----------------------------------------------------------------------------------


def test_a_moved_run_goes_on_where_it_was_imported_and_nowhere_else(
    cli: Cli, programs: Programs, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(programs, monkeypatch)
    result = cli("export", "--move", "letters", "-o", "runs.jsonl")
    assert result.exit_code == 0, result.stderr
    assert "letters is closed here" in result.stderr
    assert state(cli, "letters") == "cancelled"
    assert (programs.folder / "runs.jsonl").stat().st_mode & 0o777 == 0o600
    go_there(monkeypatch, other)
    result = cli("import", "runs.jsonl")
    assert result.exit_code == 0, result.stderr
    assert state(cli, "letters") == "interrupted"
    assert "continue letters with: python job.py" in result.stderr
    assert programs.run("job.py").returncode == 0
    assert programs.lines("done.txt") == list("abcdef"), "what was kept was not done again"
    shown = json.loads(cli("show", "letters", "--json").stdout)
    assert [lease["end"] for lease in shown["leases"]] == ["died", "returned"]


def test_a_failed_workflow_is_moved_with_what_it_has_recorded(
    cli: Cli, programs: Programs, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert programs.run(programs.write(STEPS)).returncode == 1
    assert cli("export", "--move", "job", "-o", "runs.jsonl").exit_code == 0
    go_there(monkeypatch, other)
    assert cli("import", "runs.jsonl").exit_code == 0
    (programs.folder / "mended").touch()
    assert programs.run("job.py").stdout == "7\n"
    assert programs.lines("done.txt") == ["fetch 7", "save 7"]


def test_a_copy_of_an_unfinished_run_arrives_closed_and_the_original_goes_on(
    cli: Cli, programs: Programs, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(programs, monkeypatch)
    result = cli("export", "letters", "-o", "runs.jsonl")
    assert "the copy arrives closed" in result.stderr
    assert state(cli, "letters") == "interrupted"
    go_there(monkeypatch, other)
    assert "imported as a closed copy" in cli("import", "runs.jsonl").stdout
    assert state(cli, "letters") == "cancelled"
    assert "was here already" in cli("import", "runs.jsonl").stdout
    # The place it came from is lost: now it may go on here.
    assert cli("import", "--take-over", "runs.jsonl").exit_code == 0
    assert state(cli, "letters") == "interrupted"
    assert programs.run("job.py").returncode == 0
    assert programs.lines("done.txt") == list("abcdef")


def test_a_newer_copy_replaces_an_older_one(
    cli: Cli, programs: Programs, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(programs, monkeypatch)
    cli("export", "letters", "-o", "old.jsonl")
    programs.run("job.py")
    cli("export", "letters", "-o", "new.jsonl")
    go_there(monkeypatch, other)
    cli("import", "old.jsonl")
    assert state(cli, "letters") == "cancelled"
    assert "imported" in cli("import", "new.jsonl").stdout
    assert state(cli, "letters") == "done"
    assert "was here already" in cli("import", "old.jsonl").stdout
    assert state(cli, "letters") == "done"


def test_a_move_is_taken_back_by_importing_the_file_where_it_came_from(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(programs, monkeypatch)
    cli("export", "--move", "letters", "-o", "runs.jsonl")
    assert cli("import", "runs.jsonl").exit_code == 0
    assert state(cli, "letters") == "interrupted"
    assert programs.run("job.py").returncode == 0
    assert programs.lines("done.txt") == list("abcdef")


def test_all_that_is_moved_leaves_out_what_was_moved_before(
    cli: Cli, programs: Programs, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run was exported away; later all runs went elsewhere, and it was done in both places."""
    interrupted(programs, monkeypatch)
    cli("export", "--move", "letters", "-o", "letters.jsonl")
    for _ in range(2):
        result = cli("export", "--move", "--all", "-o", "all.jsonl")
        assert "went elsewhere before and arrives closed" in result.stderr
    assert cli("export", "--move", "letters", "-o", "again.jsonl").exit_code == 0
    go_there(monkeypatch, other)
    cli("import", "all.jsonl")
    assert state(cli, "letters") == "cancelled"
    # Who names a run wants it to go on, from this file or the one that was lost.
    cli("import", "again.jsonl")
    assert state(cli, "letters") == "interrupted"


def test_a_copy_is_not_moved_on(
    cli: Cli, programs: Programs, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is unfinished where it comes from, and goes on there."""
    interrupted(programs, monkeypatch)
    cli("export", "letters", "-o", "runs.jsonl")
    go_there(monkeypatch, other)
    cli("import", "runs.jsonl")
    cli("export", "--move", "letters", "-o", "on.jsonl")
    go_there(monkeypatch, tmp_path / "third.db")
    cli("import", "on.jsonl")
    assert state(cli, "letters") == "cancelled"


def test_importing_twice_is_said_and_doubles_nothing(
    cli: Cli, programs: Programs, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs.run(programs.write(MAP))
    programs.run(programs.write(LOOP, "letters.py"))
    cli("export", "--all", "-o", "runs.jsonl")
    go_there(monkeypatch, other)
    first = json.loads(cli("import", "runs.jsonl", "--json").stdout)
    assert {one["name"]: one["imported"] for one in first["runs"]} == {"letters": "new", "halves": "closed"}
    again = json.loads(cli("import", "runs.jsonl", "--json").stdout)
    assert [one["imported"] for one in again["runs"]] == ["known", "known"]
    assert len(json.loads(cli("runs", "--json").stdout)["runs"]) == 2
    assert cli("doctor").exit_code == 0


@pytest.mark.parametrize("to", ["", "-o -"])
def test_runs_go_through_a_pipe(to: str, programs: Programs, other: Path) -> None:
    programs.run(programs.write(LOOP))
    pipe = subprocess.run(
        [
            "sh",
            "-c",
            f"'{sys.executable}' -m onward.cli export letters {to} | "
            f"ONWARD_URL=sqlite:///{other} '{sys.executable}' -m onward.cli import",
        ],
        cwd=programs.folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert pipe.returncode == 0, pipe.stderr
    assert "letters  imported" in pipe.stdout


# -- what is refused ------------------------------------------------------------------------------------


def test_a_run_that_is_being_executed_is_copied_but_not_moved(
    cli: Cli, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLD_AT", "c")
    program = programs.start(programs.write(LOOP))
    programs.wait_for("held")
    result = cli("export", "--move", "letters", "-o", "runs.jsonl")
    assert result.exit_code == 75
    assert f"process {program.pid}" in result.stderr
    assert not (programs.folder / "runs.jsonl").exists()
    assert cli("export", "letters", "-o", "runs.jsonl").exit_code == 0
    assert state(cli, "letters") == "running"


@pytest.fixture
def exported(cli: Cli, programs: Programs) -> Path:
    """The export of a finished loop."""
    programs.run(programs.write(LOOP))
    assert cli("export", "letters", "-o", "runs.jsonl").exit_code == 0
    return programs.folder / "runs.jsonl"


def test_every_half_of_a_file_is_refused_whole(
    cli: Cli, exported: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_there(monkeypatch, other)
    whole = exported.read_bytes()
    for end in sorted({0, 1, 40, len(whole) // 2, whole.rindex(b"\n", 0, -1) + 1, len(whole) - 1}):
        exported.write_bytes(whole[:end])
        result = cli("import", str(exported))
        assert result.exit_code == 2, end
        assert "nothing was imported" in result.stderr
    assert json.loads(cli("runs", "--json").stdout)["runs"] == []


def test_any_changed_byte_is_noticed(
    cli: Cli, exported: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_there(monkeypatch, other)
    whole = exported.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        exported.write_bytes(damaged)
        result = cli("import", str(exported))
        assert result.exit_code == 2, (at, result.stderr)
        assert result.stderr.startswith("onward: ")
    assert json.loads(cli("runs", "--json").stdout)["runs"] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "{}\n",
        "[]\n",
        "nonsense\n",
        "null\n",
        '{"onward":"export"}\n',
        "[" * 100_000 + "\n",
        "\x00\n",
    ],
    ids=lambda text: text[:20].strip() or "empty",
)
def test_what_is_no_export_is_refused_with_a_sentence(cli: Cli, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.jsonl").write_text(text)
    result = cli("import", "x.jsonl")
    assert result.exit_code == 2
    assert "nothing was imported" in result.stderr


def test_a_newer_format_is_refused_and_told_apart(cli: Cli, exported: Path) -> None:
    text = exported.read_text().replace('"format":3', '"format":4', 1)
    exported.write_text(text)
    result = cli("import", str(exported))
    assert result.exit_code == 2
    assert "has format 4, this version of onward knows formats up to 3" in result.stderr
    assert "pip install --upgrade onward" in result.stderr


def test_an_older_format_which_says_at_its_head_how_many_runs_it_holds_is_read(
    cli: Cli, exported: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = exported.read_bytes().splitlines(keepends=True)[:-1]
    runs = sum(line.startswith(b'{"run"') for line in lines)
    for promised, code in ((runs, 0), (runs + 1, 2)):
        head = json.loads(lines[0]) | {"format": 2, "runs": promised}
        text = json.dumps(head).encode() + b"\n" + b"".join(lines[1:])
        end = {"end": promised, "sha256": hashlib.sha256(text).hexdigest()}
        exported.write_bytes(text + json.dumps(end).encode() + b"\n")
        monkeypatch.setenv("ONWARD_URL", f"sqlite:///{other}-{promised}")
        assert cli("import", str(exported)).exit_code == code


def forged(exported: Path, line: int, **fields: object) -> None:
    """Change fields of a row and seal the file anew, as somebody would who knows the format."""
    import hashlib

    lines = [json.loads(one) for one in exported.read_text().splitlines()]
    row = next(iter(value for value in lines[line].values() if isinstance(value, dict)))
    row.update(fields)
    body = "".join(json.dumps(one) + "\n" for one in lines[:-1]).encode()
    lines[-1]["sha256"] = hashlib.sha256(body).hexdigest()
    exported.write_bytes(body + json.dumps(lines[-1]).encode() + b"\n")


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (1, {"state": "sleepy"}),
        (1, {"id": "x" * 300}),
        (1, {"id": "a\x1b[2J"}),
        (1, {"fence": -1}),
        (1, {"fence": 2**70}),
        (1, {"fence": True}),
        (1, {"created_at": "now"}),
        (1, {"owner": "me"}),
        (1, {"args": "\ud800"}),
        (2, {"kind": "os.system"}),
        (2, {"value": "1", "checksum": 5}),
        (2, {"fence": 99}),
        (2, {"fingerprint": "zz"}),
        (2, {"key": ""}),
        (2, {"seq": 4}),
    ],
    ids=str,
)
def test_a_row_that_could_not_have_been_recorded_is_refused(
    cli: Cli,
    exported: Path,
    other: Path,
    monkeypatch: pytest.MonkeyPatch,
    line: int,
    fields: dict[str, object],
) -> None:
    go_there(monkeypatch, other)
    forged(exported, line, **fields)
    result = cli("import", str(exported))
    assert result.exit_code == 2, result.stdout
    assert f"line {line + 1} of the export is damaged" in result.stderr
    assert all(c.isprintable() or c == "\n" for c in result.stderr)
    assert json.loads(cli("runs", "--json").stdout)["runs"] == []


def test_another_run_of_the_same_id_is_never_overwritten(
    cli: Cli, exported: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged(exported, 1, created_at=1.0)
    before = cli("show", "letters", "--json").stdout
    result = cli("import", str(exported))
    assert result.exit_code == 1
    assert "there is another run" in result.stderr
    assert cli("show", "letters", "--json").stdout == before


def test_a_run_is_not_moved_beside_an_unfinished_one_of_its_name(
    cli: Cli, programs: Programs, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(programs, monkeypatch)
    cli("export", "--move", "letters", "-o", "runs.jsonl")
    go_there(monkeypatch, other)
    (programs.folder / "died").unlink()
    assert programs.run("job.py").returncode == -9
    [rival] = json.loads(cli("runs", "--json").stdout)["runs"]
    result = cli("import", "runs.jsonl")
    assert result.exit_code == 1
    assert f"onward cancel {rival['id']}" in result.stderr
    assert cli("cancel", rival["id"]).exit_code == 0
    assert cli("import", "runs.jsonl").exit_code == 0


# -- deaths and full disks -------------------------------------------------------------------------------


def test_a_move_that_dies_before_its_file_is_whole_is_repeated(
    cli: Cli, programs: Programs, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is closed first, so at no moment could two places go on with it; the same command writes it again."""
    interrupted(programs, monkeypatch)

    def die(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", die)
        result = cli("export", "--move", "letters", "-o", "runs.jsonl")
    assert result.exit_code == 2
    assert "repeat the command" in result.stderr
    assert state(cli, "letters") == "cancelled"
    assert [path.name for path in programs.folder.glob("*jsonl*")] == []
    assert cli("export", "--move", "letters", "-o", "runs.jsonl").exit_code == 0
    go_there(monkeypatch, other)
    cli("import", "runs.jsonl")
    assert state(cli, "letters") == "interrupted"


def test_a_full_pipe_end_is_a_sentence(programs: Programs) -> None:
    programs.run(programs.write(LOOP))
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "onward.cli", "export", "letters"],
            cwd=programs.folder,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert "could not be written to its end: No space left" in done.stderr
    assert "Traceback" not in done.stderr


def finished(store: Store, number: int, *, result: str | None = None, entries: int = 3) -> Change:
    """A finished run of so many entries."""
    run = Run(
        f"r{number}", "loop", "many", f"i{number}", state="done", fence=1, created_at=1.0, result=result
    )
    return Change(0, 0, tuple(entry(f"each/{item}") for item in range(entries)), after=run, create=True)


@pytest.mark.faults
@pytest.mark.parametrize(("runs", "entries"), [(30, 2_000), (9_000, 2)], ids=["long runs", "many runs"])
def test_an_import_that_is_killed_leaves_whole_runs_and_is_continued(
    cli: Cli,
    programs: Programs,
    journal: Path,
    other: Path,
    monkeypatch: pytest.MonkeyPatch,
    runs: int,
    entries: int,
) -> None:
    store = open_store(f"sqlite:///{journal}", durability="process")
    for at in range(0, runs, 500):
        some = [finished(store, number, entries=entries) for number in range(at, min(at + 500, runs))]
        assert all(isinstance(answer, Applied) for answer in store.commit(some))
    store.close()
    assert cli("export", "--all", "-o", "runs.jsonl").exit_code == 0
    go_there(monkeypatch, other)
    importing = programs.start("-m", "onward.cli", "import", "runs.jsonl")
    programs.wait_for("other.db")
    while importing.poll() is None and len(json.loads(cli("runs", "--json").stdout)["runs"]) < 3:
        pass
    importing.send_signal(signal.SIGKILL)
    assert importing.wait() == -signal.SIGKILL, "it was over before it was killed"
    assert cli("doctor").exit_code == 0
    store = open_store(f"sqlite:///{other}")
    arrived = {run.id: store.last_seq(run.no) for run in store.runs(limit=-1)}
    assert 0 < len(arrived) < runs
    assert {*arrived.values()} == {entries - 1}, "what has arrived has arrived whole"
    store.close()
    again = cli("import", "runs.jsonl")
    assert again.exit_code == 0
    assert again.stdout.count("was here already") == len(arrived)
    assert f"{runs - len(arrived)} of {runs} runs imported" in again.stderr
    store = open_store(f"sqlite:///{other}")
    assert {run.id: store.last_seq(run.no) for run in store.runs(limit=-1)} == {
        f"r{number}": entries - 1 for number in range(runs)
    }
    store.close()


def test_small_runs_arrive_many_in_a_transaction(
    cli: Cli, journal: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each alone would be a wait for the disk: an hour for a million."""
    store = open_store(f"sqlite:///{journal}", durability="process")
    store.commit([finished(store, number) for number in range(1_000)])
    store.close()
    cli("export", "--all", "-o", "runs.jsonl")
    go_there(monkeypatch, other)
    commits: list[int] = []
    commit = SqliteStore.commit
    monkeypatch.setattr(
        SqliteStore, "commit", lambda self, changes: (commits.append(len(changes)), commit(self, changes))[1]
    )
    assert "1000 of 1000 runs imported" in cli("import", "runs.jsonl").stderr
    assert commits == [1_000]


def test_runs_that_are_here_partly_arrive_in_any_order(
    cli: Cli, journal: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{journal}", durability="process")
    store.commit([finished(store, number) for number in range(9)])
    store.close()
    cli("export", "r2", "r5", "r6", "-o", "some.jsonl")
    cli("export", "--all", "-o", "all.jsonl")
    go_there(monkeypatch, other)
    cli("import", "some.jsonl")
    again = json.loads(cli("import", "--json", "all.jsonl").stdout)["runs"]
    assert {one["id"] for one in again if one["imported"] == "known"} == {"r2", "r5", "r6"}
    assert len(again) == 9


def measured(programs: Programs, *words: str) -> int:
    """The most memory that a command has had, in KiB. Not `ru_maxrss`: that begins with the size of this process."""
    text = "import re, sys; from onward.cli import main; sys.argv[0] = 'onward'\n"
    text += (
        "try: main()\n"
        "finally: print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1], file=sys.stderr)"
    )
    (programs.folder / "measured.py").write_text(text)
    done = programs.run("measured.py", *words)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1])


@pytest.mark.full
def test_many_runs_are_carried_in_little_memory(
    programs: Programs, journal: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{journal}", durability="process")
    result = codec.encode("x" * 4_000)
    for at in range(0, 20_000, 500):
        store.commit([finished(store, number, result=result) for number in range(at, at + 500)])
    store.close()
    out = measured(programs, "export", "--all", "-o", "runs.jsonl")
    go_there(monkeypatch, other)
    back = measured(programs, "import", "runs.jsonl")
    assert (programs.folder / "runs.jsonl").stat().st_size > 80_000_000
    assert max(out, back) < 110_000, (out, back)


@pytest.mark.full
def test_a_long_run_is_carried_in_little_memory(
    cli: Cli, programs: Programs, journal: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{journal}", durability="process")
    run = opened(store, "long", state="done", owner=None, lease_until=None)
    for page in range(30):
        recorded(
            store,
            run,
            *(entry(f"each/{page}-{item}", value="[" + "1," * 500 + "1]") for item in range(1_000)),
        )
    store.close()
    out = measured(programs, "export", "long", "-o", "runs.jsonl")
    go_there(monkeypatch, other)
    back = measured(programs, "import", "runs.jsonl")
    assert (programs.folder / "runs.jsonl").stat().st_size > 30_000_000
    assert max(out, back) < 110_000, (out, back)
    assert limits.PAGE_ROWS * 1_000 < 30_000_000, "otherwise a page holds all of it"
