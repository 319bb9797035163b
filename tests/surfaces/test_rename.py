"""`onward rename`: moved scripts and renamed functions continue what their old names began."""

import json
import re
import shlex
from pathlib import Path

import pytest

from surfaces.conftest import Cli, Programs

# A loop named by its script, in a function, that dies at its fourth item unless it is told not to.
UNNAMED = """
def main():
    for item in onward.each(list("abcdef")):
        if item == "d" and not pathlib.Path("go").exists():
            os.kill(os.getpid(), 9)
        with open("done.txt", "a") as file:
            file.write(item + "\\n")
main()
"""
WORKFLOW = """
@onward.step
def fetch(n):
    with open("done.txt", "a") as file:
        file.write(f"fetch {n}\\n")
    return n
@onward.workflow
def NAME(n):
    value = fetch(n)
    if not pathlib.Path("go").exists():
        os.kill(os.getpid(), 9)
    return value
print(NAME(7))
"""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()


def runs(cli: Cli) -> dict[str, str]:
    return {one["name"]: one["state"] for one in json.loads(cli("runs", "--json").stdout)["runs"]}


def test_a_renamed_script_is_told_the_near_match_and_the_commands_it_names_work(
    cli: Cli, programs: Programs
) -> None:
    assert programs.run(programs.write(UNNAMED, "scrape_venues.py")).returncode == -9
    (programs.folder / "scrape_venues.py").rename(programs.folder / "scrape.py")
    begun = programs.run("scrape.py")
    assert "scrape_venues.py:main has an unfinished run and its script is not there any more" in begun.stderr
    command = re.search(r"then type: (onward cancel .*?);", begun.stderr)
    assert command is not None
    for one in command[1].split(" && "):
        assert cli(*one.split()[1:]).exit_code == 0, one
    (programs.folder / "go").touch()
    (programs.folder / "done.txt").unlink()
    done = programs.run("scrape.py")
    assert "continuing scrape.py:main" in done.stderr
    assert programs.lines("done.txt") == list("def")
    assert runs(cli) == {"scrape.py:main": "done"}


def test_a_script_that_is_new_is_told_nothing(programs: Programs) -> None:
    programs.run(programs.write(UNNAMED, "one.py"))
    assert "not there any more" not in programs.run(programs.write(UNNAMED, "other.py")).stderr


def test_a_moved_script_continues_with_the_command_that_rename_prints(cli: Cli, programs: Programs) -> None:
    programs.run(programs.write(UNNAMED, "old.py"), "--all", "two words")
    (programs.folder / "jobs").mkdir()
    (programs.folder / "old.py").rename(programs.folder / "jobs" / "new.py")
    result = cli("rename", "old.py", "jobs/new.py")
    assert result.exit_code == 0, result.stderr
    assert "1 run of old.py renamed to jobs/new.py, 1 of them unfinished" in result.stderr
    (programs.folder / "go").touch()
    command = result.stderr.rstrip().rpartition("with: ")[2]
    assert command == "python jobs/new.py --all 'two words'"
    done = programs.run(*shlex.split(command)[1:])
    assert done.returncode == 0, done.stderr
    assert programs.lines("done.txt") == list("abcdef")


def test_a_renamed_workflow_continues(cli: Cli, programs: Programs) -> None:
    assert programs.run(programs.write(WORKFLOW.replace("NAME", "collect"))).returncode == -9
    assert cli("rename", "collect", "gather_all").exit_code == 0
    (programs.folder / "go").touch()
    assert programs.run(programs.write(WORKFLOW.replace("NAME", "gather_all"))).stdout == "7\n"
    assert programs.lines("done.txt") == ["fetch 7"]


def test_a_renamed_run_with_an_id_still_answers_to_it(cli: Cli, programs: Programs) -> None:
    text = WORKFLOW.replace("print(NAME(7))", "print(NAME.options(id='the-one')(7))")
    (programs.folder / "go").touch()
    programs.run(programs.write(text.replace("NAME", "collect")))
    assert cli("rename", "collect", "gather_all").exit_code == 0
    assert programs.run(programs.write(text.replace("NAME", "gather_all"))).stdout == "7\n"
    assert programs.lines("done.txt") == ["fetch 7"]


def test_a_name_that_has_an_unfinished_run_of_its_own_is_refused(cli: Cli, programs: Programs) -> None:
    programs.run(programs.write(UNNAMED, "old.py"))
    programs.run(programs.write(UNNAMED, "new.py"))
    before = runs(cli)
    result = cli("rename", "old.py", "new.py")
    assert result.exit_code == 1
    assert "onward cancel new-main-" in result.stderr
    assert runs(cli) == before


def test_a_run_that_is_being_executed_is_not_renamed(cli: Cli, programs: Programs) -> None:
    text = 'for _ in onward.each([1, 2], name="slow"): pathlib.Path("held").touch(); time.sleep(60)'
    programs.start(programs.write(text))
    programs.wait_for("held")
    result = cli("rename", "slow", "fast")
    assert result.exit_code == 75
    assert list(runs(cli)) == ["slow"]


@pytest.mark.parametrize("new", ["", "x" * 300, "a > b", "a\x1b[2J"])
def test_an_impossible_name_is_refused(cli: Cli, programs: Programs, new: str) -> None:
    programs.run(programs.write(UNNAMED, "old.py"))
    result = cli("rename", "old.py", new)
    assert result.exit_code == 2
    assert "\x1b" not in result.stderr
    assert list(runs(cli)) == ["old.py:main"]


def test_a_name_that_nothing_has_is_told_the_nearest_one(cli: Cli, programs: Programs) -> None:
    programs.run(programs.write(UNNAMED, "scrape.py"))
    result = cli("rename", "scrap.py", "x.py")
    assert result.exit_code == 2
    assert "Did you mean `scrape.py:main`?" in result.stderr


def test_a_pass_that_broke_off_goes_on_the_same_after_a_renaming(cli: Cli, programs: Programs) -> None:
    """The mark of the renaming stood between the pass and its end, which was then taken for another kind of end."""
    text = """
def half(number):
    if number == 1 and not pathlib.Path("go").exists():
        raise ValueError("odd")
    with open("done.txt", "a") as file:
        file.write(f"{number}\\n")
for result in onward.map(half, [1, 2, 3, 4], name="old", concurrency=1, on_error="continue"):
    if isinstance(result, onward.Failure):
        continue
    if not pathlib.Path("go").exists():
        sys.exit(3)
"""
    assert programs.run(programs.write(text)).returncode == 3
    assert cli("rename", "old", "new").exit_code == 0
    (programs.folder / "go").touch()
    done = programs.run(programs.write(text.replace('"old"', '"new"')))
    assert done.returncode == 0, done.stderr
    assert programs.lines("done.txt") == ["2", "3", "4"], "what failed comes after what was not begun"
    programs.run("job.py")
    assert programs.lines("done.txt") == ["2", "3", "4", "1"]


def test_the_runs_of_cursors_and_of_what_is_done_once_are_renamed_too(cli: Cli, programs: Programs) -> None:
    text = """
where = onward.cursor("CURSOR", start=0)
for n in onward.each(range(3), name="FEED", once=True):
    where.advance(where.value + 1)
print(where.value)
"""
    programs.run(programs.write(text.replace("CURSOR", "orders").replace("FEED", "feed")))
    refused = cli("rename", "cursor orders", "sales")
    assert refused.exit_code == 2
    assert "Write: onward rename 'cursor orders' 'cursor NAME'" in refused.stderr
    assert cli("rename", "cursor orders", "cursor sales").exit_code == 0
    assert cli("rename", "feed", "inbox").exit_code == 0
    again = programs.run(programs.write(text.replace("CURSOR", "sales").replace("FEED", "inbox")))
    assert again.stdout == "3\n", again.stderr
    assert runs(cli) == {"cursor sales": "waiting", "inbox": "waiting"}


def test_nothing_is_renamed_if_one_of_many_cannot_be(cli: Cli, programs: Programs) -> None:
    """The unfinished runs were renamed when the new name of an ended one, a function's, turned out too long."""
    long = "f" * 150
    text = f"""
def {long}():
    for item in onward.each([1]): pass
{long}()
for item in onward.each([1, 2]):
    if item == 2: break
"""
    programs.run(programs.write(text))
    before = runs(cli)
    assert sorted(before.values()) == ["done", "pending"]
    assert cli("rename", "job.py", "x" * 100 + ".py").exit_code == 2
    assert runs(cli) == before
