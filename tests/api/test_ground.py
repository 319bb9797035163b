"""Folders without a project share the user's own journal, and nothing of what is recorded in it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from api.lives import python
from onward.api import ground
from onward.core import keys

LOOP = """
    import sys, onward

    out = onward.jsonl("rows.jsonl")
    for item in onward.each(range(4)):
        if "stop" in sys.argv and item == 2:
            sys.exit("stopped")
        out.write([sys.argv[1], item])
"""
WORKFLOW = """
    import sys, onward

    @onward.step
    def fetch(n):
        return sys.argv[1]

    @onward.workflow
    def job(n):
        value = fetch(n)
        if "stop" in sys.argv:
            sys.exit("stopped")
        return value

    print(job(7))
"""


def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


def write_script(folder: Path, text: str) -> Path:
    """A program that belongs to no project."""
    path = folder / "job.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def run(script: Path, *args: str, home: Path) -> subprocess.CompletedProcess[str]:
    return python(script.name, *args, cwd=script.parent, HOME=str(home), ONWARD_URL="", XDG_STATE_HOME="")


def onward(*args: str, cwd: Path, home: Path) -> str:
    done = python("-m", "onward.cli", *args, cwd=cwd, HOME=str(home), ONWARD_URL="", XDG_STATE_HOME="")
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(folder: Path) -> list[list[object]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


@pytest.mark.important
def test_scripts_of_the_same_name_in_two_folders_are_two_works(tmp_path: Path) -> None:
    """The second script continued the first one's pass: it skipped items it had never done, and wrote to its file."""
    one = write_script(folder(tmp_path, "one"), LOOP)
    two = write_script(folder(tmp_path, "two"), LOOP)
    assert run(one, "one", "stop", home=tmp_path).returncode == 1
    began = run(two, "two", home=tmp_path)
    assert "continuing" not in began.stderr
    assert rows(two.parent) == [["two", n] for n in range(4)]
    continued = run(one, "one", home=tmp_path)
    assert "at 2 of 4" in continued.stderr
    assert rows(one.parent) == [["one", n] for n in range(4)]


def test_workflows_of_the_same_name_in_two_folders_are_two_works(tmp_path: Path) -> None:
    """The recorded steps of the one were given to the other."""
    one = write_script(folder(tmp_path, "one"), WORKFLOW)
    two = write_script(folder(tmp_path, "two"), WORKFLOW)
    assert run(one, "one", "stop", home=tmp_path).returncode == 1
    assert run(two, "two", home=tmp_path).stdout == "two\n"
    assert run(one, "again", home=tmp_path).stdout == "one\n"


def test_a_chosen_journal_and_a_project_are_the_same_work_wherever_they_lie(tmp_path: Path) -> None:
    one = write_script(folder(tmp_path, "one"), LOOP)
    two = write_script(folder(tmp_path, "two"), LOOP)
    url = f"sqlite:///{tmp_path / 'chosen.db'}"
    assert python(one.name, "one", "stop", cwd=one.parent, ONWARD_URL=url).returncode == 1
    assert "at 2 of 4" in python(two.name, "two", cwd=two.parent, ONWARD_URL=url).stderr


@pytest.mark.parametrize("text", [LOOP, WORKFLOW])
def test_a_script_moved_to_another_folder_is_told_how_to_continue_and_continues(
    tmp_path: Path, text: str
) -> None:
    old = write_script(folder(tmp_path, "old place"), text)
    assert run(old, "old", "stop", home=tmp_path).returncode == 1
    new = folder(tmp_path, "new") / old.name
    old.rename(new)
    begun = run(new, "new", "stop", home=tmp_path)
    told = re.search(r"then type: onward (cancel \S+) && onward (rename .*?); the same", begun.stderr)
    assert told is not None, begun.stderr
    for command in told.groups():
        onward(*shlex.split(command), cwd=new.parent, home=tmp_path)
    assert "continuing" in run(new, "newer", home=tmp_path).stderr


def test_a_script_renamed_outside_of_a_project_is_told_how_to_continue(tmp_path: Path) -> None:
    """Without a project the notice was left out, and the new pass began without a word."""
    old = write_script(folder(tmp_path, "one"), LOOP)
    write_script(folder(tmp_path, "two"), LOOP)
    assert run(old, "one", "stop", home=tmp_path).returncode == 1
    new = old.rename(old.with_name("fetch.py"))
    begun = run(new, "one", home=tmp_path)
    assert f"&& onward rename {old.name} fetch.py; the same command then continues it" in begun.stderr


def test_a_name_means_the_run_of_the_folder_it_is_typed_in(tmp_path: Path) -> None:
    one = write_script(folder(tmp_path, "one"), LOOP)
    two = write_script(folder(tmp_path, "two"), LOOP)
    for script in (one, two):
        assert run(script, "x", "stop", home=tmp_path).returncode == 1
    onward("cancel", one.name, cwd=one.parent, home=tmp_path)
    assert f"{two}  pending" in re.sub("  +", "  ", onward("status", cwd=one.parent, home=tmp_path))
    assert "pending" in onward("show", one.name, cwd=two.parent, home=tmp_path)
    assert "cancelled" in onward("show", str(one), cwd=two.parent, home=tmp_path)


def test_an_id_is_the_same_run_in_every_folder(tmp_path: Path) -> None:
    text = WORKFLOW.replace("job(7)", 'job.options(id="job-{n}")(7)')
    one = write_script(folder(tmp_path, "one"), text)
    two = write_script(folder(tmp_path, "two"), text)
    assert run(one, "one", home=tmp_path).stdout == "one\n"
    assert run(two, "two", home=tmp_path).stdout == "one\n"


def test_a_run_that_is_imported_belongs_to_the_folder_it_is_imported_in(tmp_path: Path) -> None:
    here, there = folder(tmp_path, "here"), folder(tmp_path, "there")
    one, two = write_script(folder(here, "one"), LOOP), write_script(folder(there, "two"), LOOP)
    assert run(one, "one", "stop", home=here).returncode == 1
    onward("export", "--move", "--all", "-o", str(tmp_path / "runs.jsonl"), cwd=one.parent, home=here)
    onward("import", str(tmp_path / "runs.jsonl"), cwd=two.parent, home=there)
    assert "at 2 of 4" in run(two, "two", home=there).stderr


def test_a_run_of_another_folder_is_replayed_with_the_code_that_is_given(tmp_path: Path) -> None:
    one = write_script(folder(tmp_path, "one"), WORKFLOW)
    assert run(one, "one", home=tmp_path).returncode == 0
    moved = one.rename(folder(tmp_path, "two") / one.name)
    said = onward("replay", "job", "--script", str(moved), cwd=moved.parent, home=tmp_path)
    assert "one" in said


@pytest.mark.parametrize("folder", ["", "/a", "/a b"])
def test_an_identity_can_be_given_another_folder(folder: str) -> None:
    marked = keys.grounded(keys.grounded("loop:x.py", "/before"), folder)
    assert keys.ground_of(marked) == folder
    assert keys.grounded(marked, "") == "loop:x.py"


def test_what_is_typed_belongs_to_the_folder_it_is_typed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    assert ground.program_folder() == tmp_path


def test_the_installed_command_works_for_the_folder_in_which_it_is_typed(tmp_path: Path) -> None:
    """What `onward start` began belonged to the folder of the command, and `onward status` named it with that path."""
    home, tools, here = (folder(tmp_path, name) for name in ("home", "bin", "here"))
    command = tools / "onward"
    command.write_text(
        "import sys\nfrom onward.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
    )
    write_script(here, "import onward\n@onward.workflow\ndef job(n): return n\n")
    environment = {"HOME": str(home), "ONWARD_URL": "", "XDG_STATE_HOME": ""}
    for words in (["demo", "--seconds", "0"], ["start", "job.py:job", "7"]):
        done = python(str(command), *words, cwd=here, **environment)
        assert done.returncode == 0, done.stderr
    listed = json.loads(onward("runs", "--json", cwd=here, home=home))["runs"]
    assert sorted(one["name"] for one in listed) == ["job", "onward-demo"]
    assert str(tools) not in onward("status", cwd=here, home=home)
    assert "200 of 200" in onward("show", "onward-demo", cwd=here, home=home)
