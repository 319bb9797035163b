"""What a disk may hold after the power has failed at any point of a recorded story.

What was synced is there. Of what was written since, any part may be there: all, nothing, single sectors, the length
without the data. Names (created, renamed, removed) are kept by the sync of their directory alone, and come in order.
That is stricter than the usual file systems, which also keep the name of a file that is synced.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal, NamedTuple

Policy = Literal["kept", "dropped", "torn"]
_HEAD: Final = struct.Struct("<cHQqI")
SECTOR: Final = 512
# Not on the disk: shared memory of living processes, and what the outside world has seen.
_SHARED: Final = "-shm"
EVIDENCE: Final = ("effects.log", "acks.log", "results.log")


class Op(NamedTuple):
    """One change, as librecord.c writes it."""

    letter: str
    path: str
    number: int
    at: int
    data: bytes


class Image(NamedTuple):
    """A disk after the failure: files by their path below the root, and the directories."""

    files: dict[str, bytes]
    folders: list[str]

    def mark(self) -> bytes:
        """Equal for equal disks."""
        mark = blake2b()
        for path, data in sorted(self.files.items()):
            mark.update(f"{path}\0{len(data)}\0".encode())
            mark.update(data)
        return mark.digest()

    def write(self, root: Path) -> None:
        for folder in sorted(self.folders):
            (root / folder).mkdir(mode=0o700, exist_ok=True)
        for path, data in self.files.items():
            (root / path).write_bytes(data)


def read(trace: Path) -> list[Op]:
    return list(_ops(trace.read_bytes()))


def _ops(data: bytes) -> Iterator[Op]:
    place = 0
    while place < len(data):
        letter, path_length, number, at, length = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        path = data[place : place + path_length].decode()
        place += path_length
        yield Op(letter.decode(), path, number, at, data[place : place + length])
        place += length


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Op] = field(default_factory=list)

    def sync(self) -> None:
        for op in self.pending:
            _change(self.durable, op)
        self.pending.clear()

    def after(self, policy: Policy, chance: random.Random) -> bytes:
        found = bytearray(self.durable)
        if policy == "torn":
            # How much of it has arrived differs from file to file, as caches are written back in any order.
            share = chance.choice((0.0, 0.2, 0.5, 0.8, 1.0))
            for op in self.pending:
                _tear(found, op, share, chance)
            if self.pending and chance.random() < 0.3:
                _lengthen(found, max(op.at + len(op.data) for op in self.pending))
        elif policy == "kept":
            for op in self.pending:
                _change(found, op)
        return bytes(found)


def _change(content: bytearray, op: Op) -> None:
    if op.letter == "w":
        _lengthen(content, op.at)
        content[op.at : op.at + len(op.data)] = op.data
    else:
        del content[op.at :]
        _lengthen(content, op.at)


def _tear(content: bytearray, op: Op, share: float, chance: random.Random) -> None:
    """Apply a part of the change: some of its sectors."""
    if op.letter != "w":
        if chance.random() < share:
            _change(content, op)
        return
    start, end = op.at, op.at + len(op.data)
    while start < end:
        stop = min(end, (start // SECTOR + 1) * SECTOR)
        if chance.random() < share:
            part = op.data[start - op.at : stop - op.at]
            _change(content, Op("w", "", op.number, start, part))
        start = stop


def _lengthen(content: bytearray, length: int) -> None:
    if len(content) < length:
        content.extend(bytes(length - len(content)))


class Disk:
    """Follows a recorded story; `image` says what is left if the power fails now."""

    def __init__(self, root: Path, number: int) -> None:
        """`number`: the inode of the root, which is empty and durable."""
        self._root = str(root)
        self._files: dict[int, _File] = {}
        self._folders: dict[int, str] = {number: self._root}
        self._durable: dict[str, int] = {}  # names that survive
        self._changes: list[Op] = []  # of names, since their directories were synced
        self.evidence = {name: bytearray() for name in EVIDENCE}
        self._witness: dict[int, bytearray] = {}

    def apply(self, op: Op) -> None:
        match op.letter:
            case "c" if op.path.rpartition("/")[2] in EVIDENCE:
                self._witness[op.number] = self.evidence[op.path.rpartition("/")[2]]
            case "c" | "m" | "u" | "r":
                self._name(op)
            case "d":
                self._sync_folder(self._folders[op.number])
            case "s" if op.number in self._files:
                self._files[op.number].sync()
            case "w" | "t" if op.number in self._witness:
                _change(self._witness[op.number], op)
            case "w" | "t" if op.number in self._files:
                self._files[op.number].pending.append(op)

    def _name(self, op: Op) -> None:
        if op.letter == "c":
            self._files.setdefault(op.number, _File())
        elif op.letter == "m":
            self._folders[op.number] = op.path
        self._changes.append(op)

    def _sync_folder(self, folder: str) -> None:
        rest = []
        for op in self._changes:
            if folder in _folders_of(op):
                _rename(self._durable, op)
            else:
                rest.append(op)
        self._changes = rest

    def is_loose(self) -> bool:
        """Whether a file that does not belong to the journal has changes that are not synced."""
        named = {op.path: op.number for op in self._changes if op.letter in "cr"} | self._durable
        own = (
            number for path, number in named.items() if not path.rpartition("/")[2].startswith("journal.db")
        )
        return any(number in self._files and self._files[number].pending for number in own)

    # -- the failure --------------------------------------------------------------------------------

    def image(self, policy: Policy, chance: random.Random) -> Image:
        names = dict(self._durable)
        upto = {"kept": len(self._changes), "dropped": 0, "torn": chance.randint(0, len(self._changes))}[
            policy
        ]
        for op in self._changes[:upto]:
            _rename(names, op)
        folders = {path: number for path, number in names.items() if number in self._folders}
        files: dict[str, bytes] = {}
        found: dict[int, bytes] = {}  # a file with two names has one content
        for path, number in names.items():
            if number in self._files and not path.endswith(_SHARED) and self._reached(path, folders):
                if number not in found:
                    found[number] = self._files[number].after(policy, chance)
                files[self._short(path)] = found[number]
        return Image(files, [self._short(path) for path in folders if self._reached(path, folders)])

    def _reached(self, path: str, folders: dict[str, int]) -> bool:
        """Whether all directories above are there."""
        above = path.rpartition("/")[0]
        return above == self._root or (above in folders and self._reached(above, folders))

    def _short(self, path: str) -> str:
        return path.removeprefix(self._root + "/")


def _rename(names: dict[str, int], op: Op) -> None:
    match op.letter:
        case "c" | "m":
            names[op.path] = op.number
        case "u":
            names.pop(op.path, None)
        case "r" if op.path in names:
            names[op.data.decode()] = names.pop(op.path)


def _folders_of(op: Op) -> set[str]:
    paths = {op.path, op.data.decode()} if op.letter == "r" else {op.path}
    return {path.rpartition("/")[0] for path in paths}
