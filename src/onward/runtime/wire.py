"""What a process and the ones that execute isolated steps for it say to each other: a letter, a length, bytes.

Everything is text that the codec wrote, or JSON; nothing that arrives is executed.
"""

from __future__ import annotations

import inspect
import json
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

# To a warden.
READY: Final = b"R"  # these modules of onward's own, and of Python's, will be needed by workers
ORDER: Final = (
    b"O"  # execute this; carries the worker's end of its line and what stdin, stdout and stderr are
)
KILL: Final = b"K"  # end the worker, and all that it has started
# From a warden.
EXIT: Final = b"X"  # the worker has ended; its exit status
# From a worker.
BEGUN: Final = b"B"  # the function is loaded and called now
BEAT: Final = b"H"  # a heartbeat
SURE_BEAT: Final = b"W"  # a heartbeat whose caller waits until it is recorded
VALUE: Final = b"V"
ERROR: Final = b"E"
# To a worker.
KEPT: Final = b"."  # the heartbeat is recorded
REFUSED: Final = b"!"  # it is not, and why

_HEAD: Final = struct.Struct("!cQ")


class Order(NamedTuple):
    """A call to be executed in a process of its own. Functions go by name, values as the codec writes them."""

    module: str
    qualname: str
    unwraps: int  # how many `__wrapped__` lie between what the name stands for and the function
    args: str
    modules: tuple[str, ...]  # to be imported before the arguments can be read
    script: str | None  # the file that is `__main__` in the caller, if that is needed
    script_module: str | None  # its name, if it was begun by `python -m`
    is_async: bool
    memory_bytes: int | None
    run: tuple[str, str, str]  # id, kind and name
    key: str
    attempt: int
    what: str  # the unit, for messages
    beat: str | None  # the latest heartbeat of an earlier attempt


class Surroundings(NamedTuple):
    """What the worker takes over from its caller as it is at the moment of the call."""

    environ: dict[str, str]
    cwd: str
    path: list[str]
    argv: list[str]


def pack(order: Order, around: Surroundings) -> bytes:
    return json.dumps([order._asdict(), around._asdict()]).encode("ascii")


def unpack(body: bytes) -> tuple[Order, Surroundings]:
    order, around = json.loads(body)
    order["modules"], order["run"] = tuple(order["modules"]), tuple(order["run"])
    return Order(**order), Surroundings(**around)


def send(line: socket.socket, letter: bytes, body: bytes = b"", fds: Sequence[int] = ()) -> None:
    """Send one frame; open files ride with its head."""
    head = _HEAD.pack(letter, len(body))
    if fds:
        socket.send_fds(line, [head], fds)
    else:
        line.sendall(head)
    if body:
        line.sendall(body)


def receive(line: socket.socket) -> tuple[bytes, bytes, list[int]] | None:
    """Wait for one frame; None when the other side is gone."""
    head, fds, _, _ = socket.recv_fds(line, _HEAD.size, 8)
    while 0 < len(head) < _HEAD.size:
        more = line.recv(_HEAD.size - len(head))
        if not more:
            return None
        head += more
    if not head:
        return None
    letter, length = _HEAD.unpack(head)
    body = bytearray()
    while len(body) < length:
        more = line.recv(min(1 << 20, length - len(body)))
        if not more:
            return None
        body += more
    return letter, bytes(body), fds


class Frames:
    """Frames put together from what arrives piece by piece."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        rest = self._rest
        rest += data
        while len(rest) >= _HEAD.size:
            letter, length = _HEAD.unpack_from(rest)
            end = _HEAD.size + length
            if len(rest) < end:
                return
            body = bytes(rest[_HEAD.size : end])
            del rest[:end]
            yield letter, body


def stands_for(module: object, qualname: str) -> Any:
    """What a module holds under a qualified name: in classes the very thing, not what access to it would give."""
    found: Any = module
    for part in qualname.split("."):
        found = inspect.getattr_static(found, part) if isinstance(found, type) else getattr(found, part)
    return found


def status(code: int) -> bytes:
    """The exit code of a worker, negative for the signal that killed it."""
    return struct.pack("!i", code)


def code_of(body: bytes) -> int:
    code: int = struct.unpack("!i", body)[0]
    return code


def text(value: Any) -> bytes:
    """Text for a frame; what UTF-8 cannot hold survives."""
    return str(value).encode("utf-8", "surrogatepass")


def untext(body: bytes) -> str:
    return body.decode("utf-8", "surrogatepass")
