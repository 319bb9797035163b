"""`onward replay`: a recorded workflow is run again for looks, and nothing of it is executed or written."""

import json
from pathlib import Path

import pytest

from onward.core.acts import acted
from onward.storage.open import open_store
from surfaces.conftest import Programs
from surfaces.replaying import replay

pytestmark = pytest.mark.faults

# What a step does shows in the file `world`: nothing may be added to it by a replay.
JOB = """
from dataclasses import dataclass

def world(what):
    with open("world.txt", "a") as file:
        file.write(what + "\\n")

@dataclass
class Page:
    size: int

@onward.step
def fetch(n):
    world(f"fetch {n}")
    return Page(n)

@onward.step
def save(total):
    world(f"save {total}")
    if not pathlib.Path("mended").exists():
        raise OSError(f"no room for {total}")
    return total

@onward.workflow
def job(n):
    total = 0
    for number in onward.each(range(n)):
        page = fetch(number)
        total += page.size
    onward.sleep(0.01)
    stamp = onward.now()
    return save(total)

if __name__ == "__main__":
    print(job(int(sys.argv[1])))
    world("after")
"""


@pytest.fixture
def failed(programs: Programs) -> Programs:
    """A run whose last step failed."""
    assert programs.run(programs.write(JOB), "3").returncode == 1
    return programs


def document(programs: Programs, *words: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(replay(programs, "job", "--json", *words).stdout)
    return found


# -- what it comes to ---------------------------------------------------------------------------------


def test_a_failed_run_fails_again_as_recorded_and_says_where(failed: Programs) -> None:
    done = replay(failed, "job")
    assert done.returncode == 0
    assert "it raised OSError: no room for 3, as recorded (job.py, line 33)" in done.stdout
    assert "continue it for real: python job.py 3" in done.stdout


def test_a_finished_run_returns_what_is_recorded(failed: Programs) -> None:
    (failed.folder / "mended").touch()
    failed.run("job.py", "3")
    found = document(failed)
    assert (found["ended"], found["value"], found["fits"], found["unused"]) == ("returned", "3", True, [])


def test_code_that_comes_to_another_result_no_longer_fits(failed: Programs) -> None:
    (failed.folder / "mended").touch()
    failed.run("job.py", "3")
    failed.write(JOB.replace("return save(total)", "return -save(total)"))
    done = replay(failed, "job")
    assert done.returncode == 1
    assert "it returned -3; recorded is that it returned 3" in done.stdout


def test_a_changed_argument_is_told_as_the_divergence_it_would_be(failed: Programs) -> None:
    failed.write(JOB.replace("fetch(number)", "fetch(number + 1)"))
    done = replay(failed, "job")
    assert done.returncode == 1
    assert "no longer matches its record at `each#1/0 > fetch#1`" in done.stdout


def test_a_step_that_was_never_done_ends_the_replay_in_front_of_it(failed: Programs) -> None:
    failed.write(JOB.replace("    return save(total)", "    fetch(99)\n    return save(total)"))
    done = replay(failed, "job")
    assert done.returncode == 0, "an unfinished run may go on with something new"
    assert (
        "it comes to fetch#1, which is not recorded: that would be executed now (job.py, line 33)"
        in done.stdout
    )
    assert "total = 3" in done.stdout


def test_a_finished_run_whose_code_asks_for_more_no_longer_fits(failed: Programs) -> None:
    (failed.folder / "mended").touch()
    failed.run("job.py", "3")
    failed.write(JOB.replace("    return save(total)", "    fetch(99)\n    return save(total)"))
    assert replay(failed, "job").returncode == 1


def test_code_that_catches_everything_still_executes_nothing(failed: Programs) -> None:
    failed.write(
        JOB.replace(
            "    return save(total)",
            "    for _ in range(3):\n"
            "        try:\n"
            "            fetch(99)\n"
            "        except BaseException:\n"
            "            pass\n"
            "    return save(total)",
        )
    )
    assert document(failed)["ended"] == "unrecorded"


def test_a_run_that_was_killed_is_followed_into_the_item_it_died_in(programs: Programs) -> None:
    text = JOB.replace(
        "        total += page.size",
        "        if number == 1: os.kill(os.getpid(), 9)\n        total += page.size",
    )
    assert programs.run(programs.write(text), "3").returncode == -9
    programs.write(JOB)
    found = document(programs)
    assert (found["ended"], found["key"]) == ("unrecorded", "each#1/2")
    assert found["variables"] == {"n": "3", "total": "1", "number": "1", "page": "Page(size=1)"}


def test_children_branches_and_async_workflows_are_replayed_too(programs: Programs) -> None:
    text = """
import asyncio
def world(what):
    with open("world.txt", "a") as file:
        file.write(what + "\\n")
@onward.step
async def fetch(n):
    world(f"fetch {n}")
    return n
@onward.workflow
async def child(n):
    a = await fetch(n)
    if n == 2 and not pathlib.Path("mended").exists():
        os.kill(os.getpid(), 9)
    return a
@onward.workflow
async def job(n):
    first = await child(1)
    both = await onward.aio.gather(fetch(10), fetch(11))
    return first + sum(both) + await child(n)
asyncio.run(job(2))
"""
    assert programs.run(programs.write(text)).returncode == -9
    (programs.folder / "mended").touch()
    found = document(programs)
    assert (found["ended"], found["value"]) == ("returned", "24"), found
    programs.write(text.replace("    return a\n", "    return a + await fetch(3)\n"))
    found = document(programs)
    assert (found["ended"], found["key"]) == ("unrecorded", "child#2 > fetch#2")


# -- finding the function -----------------------------------------------------------------------------


def test_a_script_that_does_other_work_first_is_not_let_do_it(programs: Programs) -> None:
    text = JOB.replace(
        "    print(job(int(sys.argv[1])))",
        "    for _ in onward.each([1], name='first'): world('first')\n    job(3)",
    )
    programs.run(programs.write(text), "3")
    assert programs.lines("world.txt")[0] == "first"
    done = replay(programs, "job")
    assert "as recorded" in done.stdout


def test_a_renamed_script_is_named(failed: Programs) -> None:
    (failed.folder / "job.py").rename(failed.folder / "renamed.py")
    done = replay(failed, "job")
    assert done.returncode == 2
    assert done.stderr.startswith("onward: there is no script job.py"), done.stderr
    assert "--script FILE" in done.stderr
    assert "as recorded" in replay(failed, "job", "--script", "renamed.py").stdout


def test_a_module_is_imported_and_its_workflow_called_with_the_recorded_arguments(
    programs: Programs,
) -> None:
    text = JOB.replace("return Page(n)", "return n").replace("page.size", "page")
    programs.run(programs.write(text), "3")
    programs.write(text, "jobs.py")
    assert "as recorded" in replay(programs, "job", "--app", "jobs").stdout


def test_a_class_that_has_moved_to_another_module_is_told(failed: Programs) -> None:
    failed.write(JOB, "jobs.py")
    done = replay(failed, "job", "--app", "jobs")
    assert done.returncode == 1
    assert "it raised PayloadError" in done.stdout
    assert "Page" in done.stdout


def test_a_program_without_that_workflow_is_told(failed: Programs) -> None:
    failed.write("print('nothing here')", "empty.py")
    done = replay(failed, "job", "--script", "empty.py")
    assert done.returncode == 2
    assert "empty.py defines no workflow `job`" in done.stderr


def test_a_program_that_fails_before_its_call_is_told_with_its_error(failed: Programs) -> None:
    failed.write("raise KeyError('no config')", "broken.py")
    done = replay(failed, "job", "--script", "broken.py")
    assert done.returncode == 2
    assert "ended with an error before it came to workflow `job` (KeyError: 'no config')" in done.stderr


def test_a_script_that_connects_elsewhere_is_kept_from_it(failed: Programs) -> None:
    failed.write(JOB.replace("if __name__", "onward.connect('sqlite:///elsewhere.db')\nif __name__"))
    assert "as recorded" in replay(failed, "job").stdout
    assert not (failed.folder / "elsewhere.db").exists()


# -- in the debugger ------------------------------------------------------------------------------------


def test_the_debugger_opens_where_the_error_left_the_function(failed: Programs) -> None:
    done = replay(failed, "job", "--pdb", typed="p ('seen', total, page)\nq\n")
    assert "-> return save(total)" in done.stdout
    assert "('seen', 3, Page(size=2))" in done.stdout


def test_the_debugger_stops_at_a_step_and_goes_on_from_it(failed: Programs) -> None:
    typed = "p ('at', number, total)\nn\nn\np ('then', total)\nc\nq\n"
    done = replay(failed, "job", "--pdb", "--to", "each#1/1 > fetch#1", typed=typed)
    assert "at each#1/1 > fetch#1" in done.stderr
    assert "('at', 1, 0)" in done.stdout
    assert "('then', 1)" in done.stdout


def test_without_a_debugger_the_variables_are_listed(failed: Programs) -> None:
    found = document(failed, "--to", "each#1/2 > fetch#1")
    assert (found["ended"], found["at"]) == ("reached", "job.py, line 29")
    assert found["variables"] == {"n": "3", "total": "1", "number": "2", "page": "Page(size=1)"}


def test_leaving_the_debugger_ends_the_replay(failed: Programs) -> None:
    done = replay(failed, "job", "--pdb", "--to", "each#1/1 > fetch#1", typed="q\n")
    assert done.returncode == 0
    done = replay(failed, "job", "--pdb", "--to", "each#1/1 > fetch#1", typed="")
    assert done.returncode == 0


def test_a_place_that_is_never_reached_is_told_with_the_nearest_one(failed: Programs) -> None:
    done = replay(failed, "job", "--to", "each/1 > fetch#1")
    assert "it did not come to `each/1 > fetch#1`. Did you mean `each#1/1 > fetch#1`?" in done.stderr


def test_a_garbled_command_is_told(failed: Programs, journal: Path) -> None:
    store = open_store(f"sqlite:///{journal}")
    [run] = store.runs()
    change = acted(run, "reset", by="test", now=store.now())
    assert change is not None
    assert change.after is not None
    store.commit([change._replace(after=change.after._replace(command="'; rm -rf \x1b[2J"))])
    store.close()
    done = replay(failed, "job")
    assert done.returncode == 2
    assert "does not tell which program it belongs to" in done.stderr


@pytest.mark.parametrize("words", [[], ["--to", "fetch#1"]])
def test_json_is_one_document_whatever_the_program_prints(programs: Programs, words: list[str]) -> None:
    """The program's own output stood in front of the document."""
    name = programs.write(
        "print('hello')\nos.system('echo from a child')\n"
        "@onward.step\ndef fetch(n): return n\n"
        "@onward.workflow\ndef job(n):\n    print('in the workflow')\n    return fetch(n)\n"
        "job(1)\n"
    )
    assert programs.run(name).returncode == 0
    told = programs.onward("replay", "job", "--json", *words)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["fits"] is True
    assert "from a child" in told.stderr
    assert "in the workflow" in told.stderr


def test_a_replay_leaves_the_files_of_sinks_as_they_are(programs: Programs) -> None:
    """It completed them, which is for the call that continues the run."""
    text = (
        'out = onward.jsonl("rows.jsonl")\n@onward.step\ndef fetch(n): return n\n'
        "@onward.workflow\ndef job(n):\n    for k in onward.each(range(n)):\n        out.write(fetch(k))\n"
        "        if k == 2 and not pathlib.Path('mended').exists(): os.kill(os.getpid(), 9)\n"
        "job(4)\n"
    )
    assert programs.run(programs.write(text)).returncode == -9
    (programs.folder / "mended").touch()
    rows = programs.folder / "rows.jsonl"
    rows.write_text("0\n1")  # as a power failure may leave it
    found = document(programs)
    assert (found["ended"], found["key"]) == ("unrecorded", "each#1/3")
    assert rows.read_text() == "0\n1"
    assert programs.run("job.py").returncode == 0
    assert rows.read_text() == "0\n1\n2\n3\n"
