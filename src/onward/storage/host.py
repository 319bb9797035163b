"""What systems say differently: which boot this is, and how data gets past the cache of a disk.

Linux is what onward is tested on. Every question here has an answer where the system cannot tell, and it is the
careful one: a boot nobody knows proves no death, a sync that is not to be had is the one that is.
"""

from __future__ import annotations

import os
import time
from types import ModuleType
from typing import TYPE_CHECKING, Final

from onward.core.lazily import Lazily

if TYPE_CHECKING:
    import ctypes
else:
    ctypes = Lazily("ctypes")

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: opening a journal says so
    fcntl = None

# macOS: there a plain fsync leaves the data in the disk's own cache, which a power cut empties (fsync(2), macOS).
_FULL_SYNC: Final[int | None] = getattr(fcntl, "F_FULLFSYNC", None)

_BOOT: Final = "/proc/sys/kernel/random/boot_id"
# macOS: a new UUID for each boot.
_SESSION: Final = b"kern.bootsessionuuid"
_SESSION_BYTES: Final = 64


def boot() -> str | None:
    """What this boot of the machine is called; None where the system does not tell."""
    try:
        with open(_BOOT, encoding="ascii") as file:
            return file.read().strip() or None
    except OSError:
        return _session()


def _session() -> str | None:
    try:
        ask = ctypes.CDLL(None).sysctlbyname
    except (AttributeError, OSError, TypeError):  # no such call; Windows has not even the library
        return None
    buffer = ctypes.create_string_buffer(_SESSION_BYTES)
    size = ctypes.c_size_t(_SESSION_BYTES)
    if ask(_SESSION, buffer, ctypes.byref(size), None, ctypes.c_size_t(0)) != 0:
        return None
    return buffer.value.decode("ascii", "replace") or None


def monotonic_clock() -> int | None:
    """The clock that goes on while the machine is suspended; None where there is only `time.monotonic`.

    Linux calls it BOOTTIME; its MONOTONIC stands still meanwhile. On macOS it is the other way round: MONOTONIC goes
    on, and what `time.monotonic` reads stands still.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.CLOCK_BOOTTIME
    if hasattr(time, "CLOCK_UPTIME_RAW"):
        return time.CLOCK_MONOTONIC
    return None


def sync(descriptor: int) -> None:
    """Return when the file's content is on the disk. Raises OSError as `os.fsync`."""
    if fcntl is not None and _FULL_SYNC is not None:
        try:
            fcntl.fcntl(descriptor, _FULL_SYNC)
        except OSError:  # a file system that does not know it
            pass
        else:
            return
    os.fsync(descriptor)


def process_start(pid: int) -> int | None:
    """When a process began, in ticks of this boot: no later process of its number has the same; None if it is gone.

    A process that has ended and is still to be waited for by its parent is gone. None as well where there is no /proc.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, parentheses and spaces included.
            fields = file.read().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def process_namespace() -> str | None:
    """What numbers of processes refer to: other containers number their own; None where the system does not tell."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
