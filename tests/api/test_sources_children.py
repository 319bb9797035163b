"""Loops in the children of a process that has its journal open."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from api.lives import environment, python, write_script

# -- children ------------------------------------------------------------------------------------------

CHILDREN = """
    import multiprocessing, os, sys
    import onward

    def child(name):
        try:
            for item in onward.each(["a", "b", "c"], name=name):
                os.write(1, f"{name} {item}\\n".encode())  # in one piece
            last = onward.cursor("cursor " + name, start=0)
            last.advance(7)
        except onward.AlreadyRunning:
            os.write(1, f"{name} is running\\n".encode())

    if __name__ == "__main__":
        held = onward.cursor("of the parent", start=0)
        for item in onward.each([1], name="before"):
            pass
        context = multiprocessing.get_context(sys.argv[1])
        children = [context.Process(target=child, args=(f"loop-{n}",)) for n in range(3)]
        for one in children:
            one.start()
        for one in children:
            one.join()
        held.advance(1)
        print([one.exitcode for one in children], onward.Journal().get("loop-1").state, held.value)
"""


@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver"])
def test_children_of_a_process_with_an_open_journal_loop_each_for_itself(way: str, tmp_path: Path) -> None:
    ended = python(write_script(tmp_path, CHILDREN), way, cwd=tmp_path)
    lines = ended.stdout.splitlines()
    assert lines[-1] == "[0, 0, 0] done 1", ended.stderr
    assert sorted(lines[:-1]) == sorted(f"loop-{n} {item}" for n in range(3) for item in "abc")


PREFORK = """
    import glob, os, sys, time
    import onward
    for _ in onward.each([1], name="before the fork"):
        pass
    children = []
    for n in range(3):
        pid = os.fork()
        if pid == 0:
            try:
                for item in onward.each(["a", "b"], name="of all"):
                    until = time.monotonic() + 60
                    while len(glob.glob("told-*")) < 2 and time.monotonic() < until:
                        time.sleep(0.01)
                os.write(1, b"did it\\n")  # `print` may write the end of a line by itself, after another's
            except onward.AlreadyRunning as error:
                os.write(1, f"{str(error).split(',')[0]}\\n".encode())
                open(f"told-{n}", "w").close()
            sys.exit(0)
        children.append(pid)
    print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
"""


def test_of_children_that_run_the_same_loop_one_does_it_and_the_others_are_told_who(tmp_path: Path) -> None:
    ended = python(write_script(tmp_path, PREFORK), cwd=tmp_path)
    lines = ended.stdout.splitlines()
    assert lines.count("did it") == 1, ended.stderr
    assert sum(line.startswith("`of all` is already running (process ") for line in lines) == 2
    assert lines[-1] == "[0, 0, 0]"


APP = """
    import os
    import onward
    for _ in onward.each([1], name="preloaded"):
        pass
    def app(environ, start_response):
        done = [n for n in onward.each(range(3), name=f"request-{environ['QUERY_STRING']}")]
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"{os.getpid()} {done}".encode()]
"""


@pytest.mark.slow
def test_workers_of_gunicorn_loop_each_for_itself(tmp_path: Path) -> None:
    import http.client
    import socket

    write_script(tmp_path, APP, name="app.py")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "2", "-b", f"127.0.0.1:{port}", "app:app"]
    server = subprocess.Popen(command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)

    def ask(n: int) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", f"/?{n}")
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status == 200, text
        return text

    try:
        for _ in range(100):
            try:
                ask(0)
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        answers = [ask(n) for n in range(1, 9)]
        assert all(answer.endswith("[0, 1, 2]") for answer in answers)
    finally:
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=100)
    assert "Traceback" not in said, said
