"""Who is alive: processes of this machine by their numbers, others by their sessions, and never by mistake."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from onward.core.errors import JournalBroken
from onward.core.model import Owner
from onward.storage import host
from onward.storage.postgres.store import PostgresStore
from postgres.conftest import Open
from postgres.proxy import Proxy
from postgres.server import Server
from storage import processes
from storage.rows import entry, opened, recorded

pytestmark = [pytest.mark.important, pytest.mark.faults]

_HOLDER = """
import os, sys
from onward.core.model import Owner
from onward.storage import host
from onward.storage.postgres.store import PostgresStore
store = PostgresStore(sys.argv[1])
store.register(Owner("them", os.uname().nodename, host.boot() or "", os.getpid(), "job", 1.0))
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def holder(postgres_server: Server, schema: str, open_store: Open) -> Iterator[subprocess.Popen[str]]:
    """Another process that has registered as `them`."""
    open_store()
    with holding(_HOLDER, postgres_server.url(schema=schema)) as process:
        yield process


@contextmanager
def holding(code: str, url: str) -> Iterator[subprocess.Popen[str]]:
    with processes.start(code, url) as process:
        assert processes.line(process.stdout) == "ready"
        yield process
        process.kill()


@pytest.fixture
def watcher(open_store: Open) -> PostgresStore:
    """Looks at others; a session must be gone for half a second."""
    return open_store(grace_s=0.5, up_s=0.0)


def eventually(what: Callable[[], bool], within_s: float = 20.0) -> float:
    """How long it took to become true."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < within_s
        time.sleep(0.02)
    return time.monotonic() - began


def elsewhere(server: Server, schema: str) -> None:
    """Let `them` be of another machine."""
    server.execute(f"""UPDATE "{schema}".owner SET boot = 'another' WHERE id = 'them'""")


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def test_a_killed_process_of_this_machine_is_dead_at_once(
    holder: subprocess.Popen[str], open_store: Open
) -> None:
    store = open_store()
    assert not store.owner_is_dead("them")
    holder.kill()
    assert eventually(lambda: store.owner_is_dead("them")) < 1.0  # also before its parent has waited for it
    holder.wait()
    assert store.owner_is_dead("them")


def test_a_later_process_of_the_same_number_is_not_taken_for_it(
    holder: subprocess.Popen[str], open_store: Open, postgres_server: Server, schema: str
) -> None:
    store = open_store()
    postgres_server.execute(f"""UPDATE "{schema}".owner SET pid = {os.getpid()} WHERE id = 'them'""")
    assert store.owner_is_dead("them")
    kill(holder)


def test_a_process_in_another_container_is_not_judged_by_its_number(
    holder: subprocess.Popen[str], watcher: PostgresStore, postgres_server: Server, schema: str
) -> None:
    postgres_server.execute(
        f"""UPDATE "{schema}".owner SET process = 'pid:[1]/7/99', pid = 7 WHERE id = 'them'"""
    )
    time.sleep(1.2)
    assert not watcher.owner_is_dead("them")
    kill(holder)
    eventually(lambda: watcher.owner_is_dead("them"))


def test_a_process_of_another_machine_is_dead_when_its_session_has_been_gone_for_a_while(
    holder: subprocess.Popen[str], watcher: PostgresStore, postgres_server: Server, schema: str
) -> None:
    elsewhere(postgres_server, schema)
    assert not watcher.owner_is_dead("them")
    kill(holder)
    assert not watcher.owner_is_dead("them")
    assert 0.3 < eventually(lambda: watcher.owner_is_dead("them")) < 10.0


def test_a_session_that_comes_back_proves_that_its_owner_lives(
    watcher: PostgresStore, open_store: Open, postgres_server: Server, schema: str
) -> None:
    """A killed backend of a living process was taken for the process's death, and its runs were taken over."""
    them = open_store()
    them.register(Owner("them", "there", "another", 1, "job", 1.0))
    assert not watcher.owner_is_dead("them")
    postgres_server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = {them._keeper.link(9e9).backend_pid}"
    )
    assert not watcher.owner_is_dead("them")
    them.renew("them", 99.0)  # as its keeper does all the time
    for _ in range(10):
        assert not watcher.owner_is_dead("them")
        time.sleep(0.1)
    them.unregister("them")
    assert not watcher.owner_is_dead("them")


def test_a_lock_that_a_lost_session_still_has_is_taken_once_it_is_gone(
    watcher: PostgresStore, open_store: Open, postgres_server: Server, schema: str, proxy: Proxy
) -> None:
    """A server that is not told of a broken connection keeps its locks. The owner's next session tried for them once.

    When the server noticed at last, nobody had them, and from other machines the living owner was taken for dead.
    """
    them = open_store(port=proxy.port, call_s=0.5)
    them.register(Owner("them", "there", "another", 1, "job", 1.0))
    lost = them._keeper.link(9e9).backend_pid
    proxy.spares_new = True
    proxy.go_dark()
    them.renew("them", 99.0)
    assert them._keeper.link(9e9).backend_pid != lost
    assert postgres_server.execute(f"SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = {lost}")
    postgres_server.execute(f"SELECT pg_terminate_backend({lost})")
    for _ in range(15):
        them.renew("them", 99.0)  # as its keeper does all the time
        assert not watcher.owner_is_dead("them")
        time.sleep(0.1)


def test_an_owner_registers_over_a_connection_that_breaks(open_store: Open, proxy: Proxy) -> None:
    """It ended a worker that had just been started, with a traceback."""
    them = open_store(port=proxy.port, call_s=0.5)
    proxy.arm(b"presence", "cut before")
    them.register(Owner("them", "there", "another", 1, "job", 1.0))
    assert proxy.struck.is_set()
    proxy.arm(b"add_owner", "cut behind")
    them.register(Owner("me", "there", "another", 1, "job", 1.0))
    assert proxy.struck.is_set()
    assert them.owner("them") is not None
    assert them.owner("me") is not None


def test_nobody_is_dead_while_a_server_has_just_begun(
    holder: subprocess.Popen[str], open_store: Open, postgres_server: Server, schema: str
) -> None:
    store = open_store(grace_s=0.0, up_s=3_600.0)
    elsewhere(postgres_server, schema)
    kill(holder)
    time.sleep(1.0)
    assert not store.owner_is_dead("them")


def test_through_a_pooler_only_the_machines_own_processes_are_judged(
    open_store: Open, pooler_port: int, postgres_server: Server, schema: str
) -> None:
    store = open_store(port=pooler_port, grace_s=0.0, up_s=0.0)
    with holding(_HOLDER, postgres_server.url(port=pooler_port, schema=schema)) as process:
        assert not store.owner_is_dead("them")
        kill(process)
    assert store.owner_is_dead("them")
    elsewhere(postgres_server, schema)
    assert not store.owner_is_dead("them")


def test_a_process_that_has_ended_has_no_start() -> None:
    assert host.process_start(os.getpid()) == host.process_start(os.getpid())
    child = subprocess.Popen(["sleep", "60"])
    assert host.process_start(child.pid) is not None
    child.send_signal(signal.SIGKILL)
    eventually(lambda: host.process_start(child.pid) is None)  # a zombie, until it is waited for
    child.wait()
    assert host.process_start(child.pid) is None


# -- forks ----------------------------------------------------------------------------------------------


def test_a_forked_child_leaves_its_parents_sessions_alone(open_store: Open) -> None:
    store = open_store()
    run = opened(store)
    store.register(Owner("me", "here", "another", 1, "job", 1.0))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store.run("r")
        except JournalBroken as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)  # the fixtures are the parent's
    os.waitpid(child, 0)
    assert "forked" in os.read(reader, 1_000).decode()
    recorded(store, run, entry("a"))
    assert store.renew("me", 99.0) == [(run.no, None)]


def test_a_child_that_outlives_its_parent_does_not_keep_it_alive(
    open_store: Open, postgres_server: Server, schema: str, watcher: PostgresStore
) -> None:
    code = _HOLDER.replace(
        "sys.stdin.readline()", "os.fork() or __import__('time').sleep(20); sys.stdin.readline()"
    )
    with holding(code, postgres_server.url(schema=schema)) as process:
        elsewhere(postgres_server, schema)
        kill(process)
        eventually(lambda: watcher.owner_is_dead("them"))
