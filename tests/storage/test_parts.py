"""Files that are written beside their place: what a killed process has left of one does not lie there for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onward.storage.parts import part

WRITER = """
import sys
from pathlib import Path
from onward.storage.parts import part
with part(Path(sys.argv[1])) as path:
    path.write_bytes(b"half")
    Path(f"{path}-wal").write_bytes(b"half")
    print(path.name, flush=True)
    sys.stdin.read()
"""


def begun(folder: Path) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline().startswith(".onward-")
    return writer


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_has_left_goes_with_the_next_one(tmp_path: Path) -> None:
    """A backup every night that is killed every night filled the disk with copies of the journal."""
    writer = begun(tmp_path)
    writer.kill()
    writer.communicate()
    assert len(names(tmp_path)) == 2
    with part(tmp_path) as path:
        assert names(tmp_path) == [path.name]
    assert names(tmp_path) == []


def test_what_another_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    writer = begun(tmp_path)
    theirs = names(tmp_path)
    with part(tmp_path) as path:
        assert names(tmp_path) == sorted([*theirs, path.name])
    assert names(tmp_path) == theirs
    writer.communicate()
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", [".onward-notes.part", ".onward-0123456789abcdef.part.txt", "x.part"])
def test_other_files_are_nobodys_leftovers(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with part(tmp_path):
        pass
    assert (tmp_path / name).read_text() == "mine"


def test_a_link_of_that_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    os.symlink("precious", tmp_path / ".onward-0123456789abcdef.part")
    with part(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_what_took_its_place_stays_there(tmp_path: Path) -> None:
    with part(tmp_path) as path:
        path.write_text("whole")
        path.rename(tmp_path / "place")
    assert names(tmp_path) == ["place"]
    assert (tmp_path / "place").stat().st_mode & 0o077 == 0, "a journal is for its owner's eyes"
