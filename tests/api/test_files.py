"""Files as checkpoints: written whole or not at all, whatever goes wrong."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import onward
from api.lives import Killed
from onward.core.errors import UsageError
from onward.runtime import disk


def leftovers() -> list[str]:
    return [name for name in os.listdir() if name.endswith(disk.TEMPORARY)]


@pytest.mark.parametrize("data", ["text\r\nü", b"bytes\0", bytearray(b"ba"), memoryview(b"mv"), "", b""])
def test_what_was_written_is_there_with_its_checksum(data: Any) -> None:
    file = onward.atomic_write("a", data)
    content = data.encode() if isinstance(data, str) else bytes(data)
    assert Path("a").read_bytes() == content
    assert (file.path, file.size) == ("a", len(content))
    assert file == onward.written("a")
    assert leftovers() == []


def test_a_block_takes_its_place_when_it_has_ended() -> None:
    Path("a.txt").write_text("old")
    with onward.atomic_write("a.txt") as file:
        json.dump({"a": "ü\n"}, file)
        assert Path("a.txt").read_text() == "old"
        with pytest.raises(UsageError, match="not written yet"):
            _ = file.recorded
    assert json.loads(Path("a.txt").read_text()) == {"a": "ü\n"}
    assert file.recorded == onward.written("a.txt")
    with onward.atomic_write("a.bin", mode="wb") as binary:
        binary.write(b"12345")
        binary.seek(1)
        binary.write(b"x")
    assert Path("a.bin").read_bytes() == b"1x345"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_leaves_the_old_file(error: type[BaseException]) -> None:
    Path("a").write_text("old")

    def interrupted() -> None:
        with onward.atomic_write("a") as file:
            file.write("half" * 10_000)
            raise error

    with pytest.raises(error):
        interrupted()
    assert Path("a").read_text() == "old"
    assert leftovers() == []


def test_a_file_closed_inside_its_block_is_written_all_the_same() -> None:
    with onward.atomic_write("a") as file:
        file.write("x")
        file.close()
    assert Path("a").read_text() == "x"


def test_two_writers_of_one_path_do_not_mix_and_the_last_one_stays() -> None:
    with onward.atomic_write("a") as first:
        first.write("first")
        with onward.atomic_write("a") as second:
            second.write("second")
        assert Path("a").read_text() == "second"
    assert Path("a").read_text() == "first"
    assert leftovers() == []


def test_what_a_dead_process_left_is_taken_over_by_the_next_writer() -> None:
    Path(f".a{disk.TEMPORARY}").write_text("left by a kill, and longer than what comes")
    onward.atomic_write("a", "new")
    assert Path("a").read_text() == "new"
    assert leftovers() == []


def test_a_link_planted_where_the_draft_goes_is_not_followed() -> None:
    Path("victim").write_text("precious")
    Path(f".a{disk.TEMPORARY}").symlink_to("victim")
    with pytest.raises(OSError, match="nothing was written"):
        onward.atomic_write("a", "new")
    assert Path("victim").read_text() == "precious"


def test_a_second_name_of_a_draft_is_not_written_through() -> None:
    Path("victim").write_text("precious")
    os.link("victim", f".a{disk.TEMPORARY}")
    onward.atomic_write("a", "new")
    assert (Path("a").read_text(), Path("victim").read_text()) == ("new", "precious")


def test_permissions_stay_and_a_link_stays_one() -> None:
    Path("real").write_text("old")
    os.chmod("real", 0o640)
    os.symlink("real", "link")
    onward.atomic_write("link", "new")
    assert os.path.islink("link")
    assert Path("real").read_text() == "new"
    assert stat.S_IMODE(os.stat("real").st_mode) == 0o640


def test_a_new_file_has_the_rights_that_open_would_give_it() -> None:
    Path("plain").write_text("")
    onward.atomic_write("a", "")
    assert os.stat("a").st_mode == os.stat("plain").st_mode


def test_a_name_as_long_as_the_file_system_allows_can_be_written() -> None:
    onward.atomic_write("ü" * 127, "text")
    assert Path("ü" * 127).read_text() == "text"


@pytest.mark.parametrize(
    ("path", "error", "says"),
    [
        ("none/a", FileNotFoundError, "its directory does not exist"),
        (".", IsADirectoryError, "it is a directory"),
        ("a/", IsADirectoryError, "it is a directory"),
        ("x" * 300, OSError, "too long"),
        ("/dev/null", OSError, "not a regular file"),
        ("a\0b", OSError, "null byte"),
    ],
)
def test_what_cannot_be_written_is_refused_with_a_sentence(
    path: str, error: type[OSError], says: str
) -> None:
    with pytest.raises(error, match=f"nothing was written, and what was there is untouched: .*{says}"):
        onward.atomic_write(path, "text")


def test_a_read_only_file_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename would get by the permissions of the file. Told by `os.access`, since root may write everything."""
    Path("a").write_text("old")
    os.chmod("a", 0o444)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="read-only"):
        onward.atomic_write("a", "new")
    assert Path("a").read_text() == "old"
    assert leftovers() == []


@pytest.mark.parametrize("mode", ["a", "x", "r", "w+", "wt", "ab", "rb+"])
def test_another_mode_of_open_is_refused_before_it_replaces_the_file(mode: str) -> None:
    Path("f").write_text("old")
    with pytest.raises(UsageError, match='mode="wb"'):
        onward.atomic_write("f", mode=mode)  # type: ignore[call-overload]
    assert Path("f").read_text() == "old"


@pytest.mark.parametrize("text", ["w", "wb", "a", "r"])
def test_a_text_may_look_like_a_mode(text: str) -> None:
    assert onward.atomic_write("f", text).size == len(text)
    assert Path("f").read_text() == text


def test_a_writer_that_nobody_entered_says_that_nothing_was_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("f").write_text("old")
    onward.atomic_write("f")
    assert "with" in capsys.readouterr().err
    assert Path("f").read_text() == "old"
    assert leftovers() == []


@pytest.mark.parametrize("given", [3, ["rows"], None])
def test_what_is_no_content_is_refused(given: Any) -> None:
    with pytest.raises(UsageError, match="nothing was written"):
        onward.atomic_write("f", given)
    assert not os.path.exists("f")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A limit on the size of files stands for a full disk: a write goes as far as it can, and then fails."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("size", [210_000, 5_000_000])
def test_a_file_that_does_not_fit_leaves_the_old_one(size: int) -> None:
    Path("a").write_text("old")
    with pytest.raises(OSError, match="nothing was written") as caught:
        onward.atomic_write("a", "x" * size)
    assert caught.value.errno == errno.EFBIG
    with pytest.raises(OSError, match="nothing was written"), onward.atomic_write("a") as file:
        file.write("x" * size)
    assert Path("a").read_text() == "old"
    assert leftovers() == []


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_an_error_on_the_last_steps_leaves_the_old_file(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fails(*args: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    Path("a").write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fails)
        with pytest.raises(OSError, match="nothing was written"):
            onward.atomic_write("a", "new")
    assert Path("a").read_text() == "old"
    assert leftovers() == []


def test_content_and_name_are_synced_in_the_order_that_power_failures_allow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename
    monkeypatch.setattr(
        os,
        "fsync",
        lambda fd: (done.append("folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file"), fsync(fd)),
    )
    monkeypatch.setattr(os, "rename", lambda a, b: (done.append("rename"), rename(a, b)))
    onward.atomic_write("a", "new")
    assert done == ["file", "rename", "folder"]
    done.clear()
    onward.written("a")
    assert done == ["file", "folder"]


def test_a_child_process_that_ends_does_not_take_the_draft_of_its_parent_away() -> None:
    with onward.atomic_write("a") as file:
        file.write("x")
        file.flush()
        pid = os.fork()
        if pid == 0:
            try:
                file.__del__()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
    assert Path("a").read_text() == "x"


def test_a_run_that_is_stopped_writes_no_more_files() -> None:
    """Whoever has taken the run over may be writing the same file."""
    Path("a").write_text("theirs")

    @onward.workflow
    def flow() -> None:
        from onward.runtime import current

        place = current.peek()
        assert place is not None
        place.session.unwind(Killed())
        onward.atomic_write("a", "ours")

    with pytest.raises(Killed):
        flow()
    assert Path("a").read_text() == "theirs"


@pytest.mark.parametrize("path", ["none", ".", "/dev/null"])
def test_only_a_file_can_be_recorded(path: str) -> None:
    with pytest.raises(OSError):
        onward.written(path)
