"""Sinks that are one file of text, which grows: rows are appended at the places that the journal has for them."""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

from onward.api.sinks import recorded
from onward.api.sinks.recorded import Rows
from onward.api.sinks.sink import Base, Book, Mode
from onward.core.errors import UsageError
from onward.runtime import disk
from onward.runtime.output import Part
from onward.storage import host


def text_base(path: Path, mode: Mode, name: str) -> Base:
    """What the journal says of a text file before the first row."""
    base: Base = {"path": str(path.absolute()), "mode": mode, "size": 0, "crc": 0}
    if path.exists() and not path.is_file():
        raise UsageError(f"{name} is not a regular file; nothing was written. Give the name of a file.")
    if mode == "append" and path.exists():
        base["size"] = path.stat().st_size
        base["crc"] = _checksum(path, base["size"])
        if base["size"] and not _ends_line(path):
            raise UsageError(
                f"{name} does not end with a line end, so rows cannot be appended to it; it was left as it is"
            )
    return base


class Lines(Book):
    """One text file in one run."""

    def open(self) -> None:
        last = recorded.latest(self.engine, self.session, self.name)
        if last is None:
            self._begin()
        elif not (self._is_whole(last) or self._complete(last)):
            self._compare()

    # -- beginning ---------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        size, crc = self.base["size"], self.base["crc"]
        disk.make_folder(self.path.parent)
        if self.base["mode"] == "append" and (self._size() != size or _checksum(self.path, size) != crc):
            self.foreign("it is no longer as it was when the pass began")
        with open(self.path, "ab") as file:
            file.truncate(size)
            host.sync(file.fileno())
        disk.sync_folder(str(self.path))
        self.stands_at(size, crc)

    # -- continuing: three ways, each slower and surer than the one before ----------------------------------------

    def _is_whole(self, last: Rows) -> bool:
        crc = zlib.crc32(last.data, last.crc)
        if self._size() != last.end or _checksum(self.path, last.end) != crc:
            return False
        self.stands_at(last.end, crc)
        return True

    def _complete(self, last: Rows) -> bool:
        """The file is what was recorded, up to a point: append the rest."""
        size = self._size()
        missing = recorded.following(self.engine, self.session, self.name, size) if size < last.end else None
        if missing is None:
            return False
        first = missing[0]
        crc = _checksum(self.path, first.at)
        if crc != first.crc or not first.data.startswith(self._tail(first.at)) or missing[-1] != last:
            return False
        self._restore([(rows.at, rows.data) for rows in missing])
        self.stands_at(last.end, zlib.crc32(last.data, last.crc))
        return True

    def _compare(self) -> None:
        """Compare all of the file with all of the journal, and write what is not there.

        A concurrent lease that died may leave gaps in the journal, and a power failure holes in the file: bytes that
        were not synced read as zeros, which no row contains.
        """
        size, crc, at = self._size(), self.base["crc"], self.base["size"]
        missing: list[tuple[int, bytes]] = []
        if size < at or _checksum(self.path, at) != crc:
            self.foreign("what stood there before the pass is not there any more")
        with open(self.path, "rb") if size else open(os.devnull, "rb") as file:
            file.seek(at)
            for rows in recorded.in_order(self.engine, self.session, self.name):
                found = file.read(len(rows.data))
                if found != rows.data:
                    if not _is_torn(found, rows.data):
                        self.foreign(f"its content from byte {at:,} on is not what was recorded")
                    missing.append((at, rows.data))
                at, crc = at + len(rows.data), zlib.crc32(rows.data, crc)
        if size > at:
            self.foreign(f"it has {size - at:,} bytes more than were recorded")
        self._restore(missing)
        self.stands_at(at, crc)

    def _restore(self, missing: list[tuple[int, bytes]]) -> None:
        if not missing:
            return
        disk.make_folder(self.path.parent)
        with open(self.path, "r+b" if self.path.exists() else "w+b") as file:
            for at, data in missing:
                file.seek(at)
                file.write(data)
            file.flush()
            host.sync(file.fileno())
        disk.sync_folder(str(self.path))

    # -- writing -------------------------------------------------------------------------------------------------

    def put(self, part: Part) -> None:
        try:
            with open(self.path, "r+b") as file:
                size = file.seek(0, os.SEEK_END)
                if size != part.at:
                    # A process that has lost this run and does not know it yet may just have completed the file.
                    file.seek(part.at)
                    if size < part.at or file.read(len(part.data)) != part.data:
                        self.foreign(f"it has {size:,} bytes where {part.at:,} were written")
                    return
                file.write(part.data)
        except FileNotFoundError:
            self.foreign("it is gone")
        except OSError as error:
            why = "the disk is full; make room" if error.errno == errno.ENOSPC else error.strerror
            what = f"recorded rows could not be put into the file, which is completed when the pass goes on: {why}"
            raise OSError(error.errno, what, self.name) from error

    def settle(self, *, final: bool) -> None:
        if not self.path.exists():
            self.foreign("it is gone")
        with open(self.path, "r+b") as file:
            host.sync(file.fileno())

    # -- looking ---------------------------------------------------------------------------------------------------

    def _size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _tail(self, at: int) -> bytes:
        if not self.path.exists():
            return b""
        with open(self.path, "rb") as file:
            file.seek(at)
            return file.read()


def _checksum(path: Path, size: int) -> int:
    """Of the first `size` bytes; -1 if there are not that many."""
    crc = 0
    if size == 0:
        return crc
    if not path.exists():
        return -1
    with open(path, "rb") as file:
        while size > 0 and (data := file.read(min(size, 1 << 20))):
            crc = zlib.crc32(data, crc)
            size -= len(data)
    return crc if size == 0 else -1


def _is_torn(found: bytes, recorded_data: bytes) -> bool:
    """Whether `found` is the beginning of what was recorded, but for zeros where something else should stand."""
    return all(byte in (0, wanted) for byte, wanted in zip(found, recorded_data, strict=False))


def _ends_line(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) in (b"\n", b"\r")
