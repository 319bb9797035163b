"""Files as checkpoints: written whole or not at all, and recorded with their checksum."""

from __future__ import annotations

import errno
import io
import os
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar, overload

from onward.core.codec_files import File
from onward.core.errors import UsageError
from onward.runtime import current, disk, observe
from onward.runtime.disk import Draft
from onward.storage import host

Path = str | os.PathLike[str]
Content = str | bytes | bytearray | memoryview

_BLOCK: Final = object()  # no data: a block writes it


@overload
def atomic_write(path: Path, /, *, mode: Literal["w"] = ..., encoding: str = ...) -> TextWriter: ...
@overload
def atomic_write(path: Path, /, *, mode: Literal["wb"]) -> BytesWriter: ...
@overload
def atomic_write(path: Path, data: Content, /, *, encoding: str = ...) -> File: ...
def atomic_write(path: Path, data: Any = _BLOCK, /, *, mode: str = "w", encoding: str = "utf-8") -> Any:
    """Write a file whole or not at all: whatever happens, `path` holds the old content or all of the new one.

        @onward.step
        def save(batch: list[dict[str, str]]) -> onward.File:
            return onward.atomic_write(onward.numbered("batch", ".json"), json.dumps(batch))

        with onward.atomic_write("report.csv") as file:     # mode="wb" for bytes
            file.write("name,total\\n")
        report = file.recorded

    `data` is bytes, or text that is written in `encoding` with its line ends as they are. Without it, a block writes to
    an open file, which takes its place when the block has ended and is dropped if an exception leaves it. Before the
    File is returned, content and name are on the disk (fsync). A file that is replaced keeps its permissions, a link
    stays one.

    Raises the OSError that fits (FileNotFoundError for a missing directory, PermissionError, OSError for a full disk);
    then nothing was written and the old file is untouched. Raises UsageError for what is neither text nor bytes, and
    for other modes of `open`: a file is written whole, never in parts.
    """
    name = _name(path)
    if data is _BLOCK:
        return _writer(name, mode, encoding)
    if not isinstance(data, Content):
        raise UsageError(
            f"{name}: atomic_write takes text or bytes, not a {type(data).__qualname__}; nothing was written. Turn it "
            "into text first, for example with json.dumps(...), or write it in a block: "
            "`with onward.atomic_write(path) as file:`."
        )
    with BytesWriter(name) as file:
        file.write(data.encode(encoding) if isinstance(data, str) else data)
    return file.recorded


def _writer(name: str, mode: str, encoding: str) -> TextWriter | BytesWriter:
    if mode == "w":
        return TextWriter(name, encoding)
    if mode == "wb":
        return BytesWriter(name)
    raise UsageError(
        f'{name}: atomic_write takes mode="w" or mode="wb", not {mode!r}, since a file is written whole; nothing was '
        "written"
    )


def written(path: Path) -> File:
    """Record a file that was written by other means; it is on the disk (fsync) before this returns.

        @onward.step
        def convert(video: str) -> onward.File:
            subprocess.run(["ffmpeg", "-i", video, "out.webm"], check=True)
            return onward.written("out.webm")

    Reads the whole file once. Raises the OSError that fits, such as FileNotFoundError, if there is no such file.
    """
    name = _name(path)
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if not os.path.isfile(name):
            raise OSError(errno.EINVAL, "it is not a regular file, so it cannot be recorded", name)
        host.sync(fd)
        disk.sync_folder(os.path.realpath(name))
        return disk.recorded(fd, name)
    finally:
        os.close(fd)


def _name(path: Path) -> str:
    given: object = os.fspath(path)
    if not isinstance(given, str):
        raise UsageError(
            f"a path is a str or a pathlib.Path, not {type(given).__qualname__}; nothing was written"
        )
    return given


# -- the block form -----------------------------------------------------------------------------------------

W = TypeVar("W", bound="_Writer")


class _Writer(io.IOBase):
    """What both kinds of open file share: the draft behind them, and how it ends."""

    _path: str
    _draft: Draft | None = None
    _entered = False
    _file: File | None = None

    @property
    def recorded(self) -> File:
        """The file as it was written, to be returned from a step; there once the `with` block has ended."""
        if self._file is None:
            raise UsageError(f"{self._path} is not written yet: take `.recorded` after the `with` block")
        return self._file

    def __enter__(self) -> Self:
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        draft, self._draft = self._draft, None
        assert draft is not None, "a block ends once"
        try:
            # Also after an error: what is left in the buffers must go nowhere but into the draft.
            self.close()
            if error is None:
                _refuse_unwinding()
        except BaseException as problem:
            draft.drop()
            if error is not None:
                return
            if isinstance(problem, OSError):
                raise disk.unwritten(self._path, problem) from problem
            raise
        if error is None:
            self._file = draft.publish()
            return
        draft.drop()
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            raise disk.unwritten(self._path, error) from error

    def __del__(self) -> None:
        draft, self._draft = self._draft, None
        if draft is None:
            return
        try:
            self.close()
        finally:
            draft.drop()
        if not self._entered:
            observe.say(
                f"onward.atomic_write({self._path!r}) was not used in a `with` block, so nothing was written; give "
                "the data after the path, or write `with onward.atomic_write(path) as file:`"
            )


_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class TextWriter(_Writer, io.TextIOWrapper):
    """An open text file that takes its place when its `with` block has ended."""

    def __init__(self, path: str, encoding: str) -> None:
        self._path = path
        self._draft = draft = Draft(path)
        # The draft keeps its own hold of the file, whatever user code does to this one.
        raw = io.FileIO(draft.fd, "r+", closefd=False)
        super().__init__(io.BufferedRandom(raw), encoding=encoding, newline="")


class BytesWriter(_Writer, io.BufferedRandom):
    """An open binary file that takes its place when its `with` block has ended."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._draft = draft = Draft(path)
        super().__init__(io.FileIO(draft.fd, "r+", closefd=False))


def _refuse_unwinding() -> None:
    """A run that was lost or stopped writes nothing more: somebody else may be writing the same file by now."""
    place = current.peek()
    if place is not None and place.session.unwinding is not None:
        raise place.session.unwinding
