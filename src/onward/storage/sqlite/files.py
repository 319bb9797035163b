"""The journal as files: where it may lie, who may read it, and whether it is still the same file.

Creates what is missing with the narrowest rights; refuses links, other people's files and file systems on which
SQLite's log does not work. Nothing here knows SQL.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path
from typing import Final

from onward.core import limits
from onward.core.errors import JournalBroken, JournalFull, JournalUnusable
from onward.storage import host
from onward.storage.sqlite import locks

# f_type of statfs(2): file systems whose files another machine may change, where SQLite's shared memory is not shared.
# https://sqlite.org/wal.html: "all processes using a database must be on the same host computer".
_NETWORK: Final = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFE534D42: "SMB2",
    0xFF534D42: "CIFS",
    0x564C: "NCP",
    0x01021997: "9P",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x73757245: "Coda",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x01161970: "GFS2",
    0x7461636F: "OCFS2",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
    0x786F4256: "VirtualBox shared folder",
    0xBACBACBC: "VMware shared folder",
}
_FUSE: Final = 0x65735546
# FUSE says nothing about where the files are; these are known to be on this machine.
_LOCAL_FUSE: Final = (
    "fuseblk",
    "fuse.fuse-overlayfs",
    "fuse.ntfs-3g",
    "fuse.bindfs",
    "fuse.mergerfs",
    "fuse.lxcfs",
)

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)

# A sync after overwriting part of a file takes a fraction of one that also makes it longer (measured on ext4: 0.3 ms
# against 1.9 ms), so a new log is given a part of the length at which it is started over: 4 MB, written in 10 ms.
_LOG_PART: Final = 1 / 4
_LOG_PAGE_BYTES: Final = 4_096 + 24
# It is a convenience: not where the disk has less than this many times as much left.
_LOG_SHARE: Final = 16

Identity = tuple[int, int]


def prepare(path: Path, *, force_network: bool) -> bool:
    """Make sure that the journal's directory and file exist and may be used, or raise JournalUnusable.

    True if the file was created just now.
    """
    locks.refuse_missing(path)
    try:
        _directory(path.parent)
        _refuse_network(path, forced=force_network)
        for file in (path, side(path, "-wal"), side(path, "-shm"), side(path, "-gate"), side(path, "-turn")):
            _refuse_foreign(file)
        return _create(path)
    except OSError as problem:
        raise unusable(path, problem) from problem


def refuse_truncated(path: Path) -> None:
    """JournalBroken for a file that was emptied: SQLite would throw its log away and begin anew."""
    if path.stat().st_size == 0 and _size(side(path, "-wal")) > 0:
        raise JournalBroken(
            f"the journal {path} is empty although its log {path.name}-wal is not: it was truncated. Nothing was "
            f"changed. Put the file back from a backup; to begin anew, remove both."
        )


def side(path: Path, suffix: str) -> Path:
    """A file that belongs to the journal and lies next to it."""
    return path.with_name(path.name + suffix)


def identity(path: Path) -> Identity | None:
    """What tells the file at `path` from any other that could be put in its place; None if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def lengthen_log(path: Path) -> None:
    """Add zeros to the journal's log, which SQLite takes for its unused rest. Only while nobody else can write."""
    try:
        log = os.open(side(path, "-wal"), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return  # slower commits are no reason to refuse a journal
    try:
        length = os.fstat(log).st_size
        disk = os.fstatvfs(log)
        target = int(limits.WAL_PAGES * _LOG_PART) * _LOG_PAGE_BYTES
        if length < target and disk.f_bavail * disk.f_frsize > _LOG_SHARE * target:
            _add_zeros(log, length, target)
    finally:
        os.close(log)


def _add_zeros(log: int, length: int, target: int) -> None:
    at = length
    try:
        while at < target:
            at += os.pwrite(log, bytes(target - at), at)
        host.sync(log)
    except OSError:
        os.ftruncate(log, length)


def open_private(path: Path) -> int:
    """A descriptor of a file of ours that only its owner can read, created if need be; not inherited by programs."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as problem:
        raise unusable(path, problem) from problem
    return descriptor


def unusable(path: Path, problem: OSError) -> JournalUnusable | JournalFull:
    """The sentence for a file that the system did not let us have."""
    if problem.errno in _NO_ROOM:
        return JournalFull(
            f"there is no room on the disk of {path}; nothing was recorded. Free some space and repeat."
        )
    why = problem.strerror or str(problem)
    cure = "Make it writable for this user, or choose another place with ONWARD_URL."
    if problem.errno == errno.ELOOP:
        why, cure = "it is a symbolic link", "Name the file itself."
    return JournalUnusable(f"the journal {path} cannot be used: {why}; nothing was changed. {cure}")


def _directory(directory: Path) -> None:
    missing = [d for d in (directory, *directory.parents) if not d.exists()]
    for made in reversed(missing):
        try:
            os.mkdir(made, 0o700)
            # The umask may have taken away even the owner's rights; it can never have added any.
            os.chmod(made, 0o700)
            # Its name is on the disk only then; what SQLite syncs later is the directory within.
            _sync(made.parent)
        except FileExistsError:
            continue  # another process was faster
    if not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "its directory is a file", str(directory))
    refuse_other_owner(directory, os.stat(directory))
    if directory.name == ".onward":
        _ignore(directory)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        host.sync(descriptor)
    finally:
        os.close(descriptor)


def _ignore(directory: Path) -> None:
    """Keep a project's journal out of its version control."""
    try:
        descriptor = os.open(
            directory / ".gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
        )
    except OSError:  # it is there, or cannot be written: then the journal's own file will say so
        return
    with os.fdopen(descriptor, "w") as file:
        file.write("*\n")


def _create(path: Path) -> bool:
    """Create an empty file with rights 0600 whatever the umask; False if there is one.

    Never opens a file that is there: closing it again would drop the locks that SQLite holds on it in this process.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return False
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    return True


def _refuse_foreign(path: Path) -> None:
    """Refuse links and other people's files: who owns the log or a lock owns the journal."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise JournalUnusable(
            f"the journal's file {path} is a symbolic link; nothing was changed. Name the file itself, or move it here."
        )
    if not stat.S_ISREG(found.st_mode):
        raise JournalUnusable(
            f"the journal's file {path} is not a file; nothing was changed. Choose another place."
        )
    refuse_other_owner(path, found)


def refuse_other_owner(path: Path, found: os.stat_result) -> None:
    """JournalUnusable if somebody else could put things into the journal's place."""
    me = os.geteuid()
    # A directory of root's, such as /tmp or /var/lib, is no danger; root itself may look at everybody's journal.
    if me == 0 or found.st_uid == me or (stat.S_ISDIR(found.st_mode) and found.st_uid == 0):
        return
    raise JournalUnusable(
        f"{path} belongs to user {found.st_uid}, not to user {me} who runs this; nothing was changed. Run as that "
        f"user, or choose another place with ONWARD_URL."
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


# -- file systems -----------------------------------------------------------------------------------


def _refuse_network(path: Path, *, forced: bool) -> None:
    kind = None if forced else _network_name(path.parent)
    if kind is not None:
        raise JournalUnusable(
            f"the journal {path} lies on a network file system ({kind}), where SQLite loses data as soon as two "
            f"machines write; nothing was changed. Choose a local disk with ONWARD_URL, or, if only this machine ever "
            f"uses it, add ?force-network=1 to the URL."
        )


def _network_name(directory: Path) -> str | None:
    magic = _file_system(directory)
    if magic is None:
        return None
    if magic == _FUSE:
        kind = _mount_type(directory)
        return None if kind in _LOCAL_FUSE else kind or "FUSE"
    return _NETWORK.get(magic)


def _file_system(directory: Path) -> int | None:
    """f_type of statfs(2), which Python does not offer; None where there is no such call."""
    try:
        statfs = ctypes.CDLL(None, use_errno=True).statfs
    except (AttributeError, OSError):
        return None
    if not os.path.exists("/proc/self/mountinfo"):
        return None  # not Linux: the structure begins with something else
    buffer = ctypes.create_string_buffer(512)
    if statfs(os.fsencode(directory), buffer) != 0:
        return None
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def _mount_type(directory: Path) -> str | None:
    """The name of the file system a directory is on, as in /proc/self/mountinfo."""
    device = os.stat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            before, _, after = line.partition(" - ")
            if before.split()[2] == wanted:
                return after.split()[0]
    return None
