"""A disk that is full, in front of a whole program: nobody is blamed for it, however the program ended."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.lives import python, write_script
from onward.core.model import Run
from onward.storage.sqlite.store import SqliteStore

JOB = """
    import os
    import sys
    from pathlib import Path

    import onward
    from onward.api import connect

    disk = Path(sys.argv[1])
    onward.connect(disk / "journal.db")
    connect.engine().committer._full_s = 0.2
    for item in onward.each("abc", name="loop"):
        print(item, flush=True)
        if item == "b" and sys.argv[2] == "fill":
            with open(disk / "ballast", "wb", buffering=0) as ballast:
                try:
                    while True:
                        ballast.write(bytes(4096))
                except OSError:
                    print("full", flush=True)
        if item == "b" and sys.argv[2] == "die":
            os.kill(os.getpid(), 9)
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True
    )
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def the_run(disk: Path) -> Run:
    store = SqliteStore(disk / "journal.db")
    try:
        [run] = store.runs()
        return run
    finally:
        store.close()


@pytest.mark.important
def test_an_item_whose_end_found_the_disk_full_is_never_taken_for_deadly(disk: Path, tmp_path: Path) -> None:
    """A nightly job that found its disk full three times had an item parked that had done nothing wrong.

    The program ended while the disk was still full, so it could not even record that it ended.
    """
    script = write_script(tmp_path, JOB)
    for _ in range(3):
        night = python(script, disk, "fill", cwd=tmp_path)
        assert night.stdout.splitlines()[-2:] == ["b", "full"]
        assert night.returncode == 1
        assert "no room on the disk" in night.stderr
        (disk / "ballast").unlink()
        assert the_run(disk).state == "running"  # nothing could be written about its end
    last = python(script, disk, "go", cwd=tmp_path)
    assert (last.returncode, last.stdout.split()) == (0, ["b", "c"])
    assert "parked" not in last.stderr
    assert the_run(disk).state == "done"


def test_a_kill_on_the_same_disk_still_counts(disk: Path, tmp_path: Path) -> None:
    script = write_script(tmp_path, JOB)
    for _ in range(3):
        assert python(script, disk, "die", cwd=tmp_path).returncode == -9
    last = python(script, disk, "go", cwd=tmp_path)
    assert last.stdout.split() == ["c"]
    assert "parked" in last.stderr
