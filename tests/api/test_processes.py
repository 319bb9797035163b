"""Real processes, really killed: what an item or step is blamed for, and what the next process makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from api.lives import environment, python, told, write_script

pytestmark = pytest.mark.faults


def run(script: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return python(script.name, cwd=script.parent, ONWARD_URL="", **variables)


def test_a_killed_loop_continues_at_the_item_it_was_killed_in(tmp_path: Path) -> None:
    job = write_script(
        tmp_path,
        """
        import os, onward

        for item in onward.each("abcd"):
            print(item, flush=True)
            if item == os.environ.get("DIE"):
                os.kill(os.getpid(), 9)
        """,
    )
    assert run(job, DIE="c").returncode == -signal.SIGKILL
    ended = run(job)
    assert (ended.returncode, ended.stdout.split()) == (0, ["c", "d"])
    assert "continuing job.py, begun" in ended.stderr
    assert "at 2 of 4" in ended.stderr


def test_an_item_that_kills_its_process_is_parked_after_three_and_the_pass_goes_on(tmp_path: Path) -> None:
    job = write_script(
        tmp_path,
        """
        import os, onward

        for item in onward.each("abc"):
            print(item, flush=True)
            if item == "b":
                os.kill(os.getpid(), 9)
        """,
    )
    began = [run(job) for _ in range(4)]
    assert [one.stdout.split() for one in began] == [["a", "b"], ["b"], ["b"], ["c"]]
    assert "item b parked after repeated crashes" in began[-1].stderr


BODY_RAISES = """
    import os, sys, onward

    def main():
        for item in onward.each("abc", max_crashes=ALLOWED):
            print(item, flush=True)
            if item == "b":
                HOW

    main()
"""


def test_an_exception_that_ends_the_program_counts_against_its_item(tmp_path: Path) -> None:
    job = write_script(
        tmp_path, BODY_RAISES.replace("HOW", "raise ConnectionError('no route')").replace("ALLOWED", "2")
    )
    began = [run(job) for _ in range(3)]
    assert [one.stdout.split() for one in began] == [["a", "b"], ["b"], ["c"]]
    assert "ConnectionError: no route" in began[0].stderr
    assert "item b parked after repeated failures, the last one ConnectionError: no route" in began[2].stderr
    shown = python("-m", "onward.cli", "failed", "job.py:main", cwd=tmp_path, ONWARD_URL="").stdout
    assert "has ended the program 2 times, the last time with ConnectionError: no route" in shown
    assert "died" not in shown, "nothing died, and a person would look for what killed it"


@pytest.mark.parametrize(
    "how",
    [
        "break",
        "return",
        "sys.exit(3)",
        "raise KeyboardInterrupt",
        "os.kill(os.getpid(), 15)",
        "os.kill(os.getpid(), 2)",
        "os.kill(os.getpid(), 1)",
    ],
)
def test_leaving_on_purpose_never_counts_against_the_item(tmp_path: Path, how: str) -> None:
    job = write_script(tmp_path, BODY_RAISES.replace("HOW", how).replace("ALLOWED", "1"))
    began = [run(job) for _ in range(2)]
    assert [one.stdout.split() for one in began] == [["a", "b"], ["b"]]


def test_an_error_further_down_is_not_blamed_on_the_item_that_a_break_left(tmp_path: Path) -> None:
    """Both stand in one function, and the item used to be blamed for it."""
    job = write_script(
        tmp_path,
        """
        import onward

        for item in onward.each("abc", max_crashes=1):
            print(item, flush=True)
            if item == "b":
                break
        raise ConnectionError("something else")
        """,
    )
    assert [run(job).stdout.split() for _ in range(2)] == [["a", "b"], ["b"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_signal_ends_a_workflow_and_leaves_it_unfinished(
    tmp_path: Path, number: signal.Signals
) -> None:
    job = write_script(
        tmp_path,
        f"""
        import os, onward

        @onward.step
        def first():
            print("first", flush=True)

        @onward.step
        def second():
            print("second", flush=True)
            if "DIE" in os.environ:
                os.kill(os.getpid(), {int(number)})

        @onward.workflow
        def main():
            first()
            try:
                second()
            finally:
                print("cleaned up", flush=True)

        main()
        """,
    )
    ended = run(job, DIE="1")
    assert (ended.returncode, ended.stdout.split("\n")[:3]) == (
        128 + number,
        ["first", "second", "cleaned up"],
    )
    assert run(job).stdout.split("\n")[:1] == ["second"]


def test_attempts_survive_a_kill(tmp_path: Path) -> None:
    job = write_script(
        tmp_path,
        """
        import os, onward

        @onward.step(max_attempts=3, backoff=0)
        def fragile():
            attempt = onward.current().attempt
            print(attempt, onward.idempotency_key(), flush=True)
            if attempt == 2 and "DIE" in os.environ:
                os.kill(os.getpid(), 9)
            raise ConnectionError(f"attempt {attempt}")

        @onward.workflow
        def main():
            fragile()

        main()
        """,
    )
    first, second = run(job, DIE="1"), run(job)
    assert [line.split()[0] for line in first.stdout.splitlines()] == ["1", "2"]
    assert [line.split()[0] for line in second.stdout.splitlines()] == ["2", "3"]
    assert len({line.split()[1] for line in (first.stdout + second.stdout).splitlines()}) == 1
    assert "ConnectionError: attempt 3" in second.stderr


def test_a_sleep_survives_a_kill(tmp_path: Path) -> None:
    job = write_script(
        tmp_path,
        """
        import os, threading, time, onward
        from onward.api import connect

        def sleeps():
            return [entry for entry in connect.engine().store.entries(1) if entry.kind == "sleep"]

        def die():
            while not sleeps():
                time.sleep(0.01)
            os.kill(os.getpid(), 9)

        @onward.workflow
        def main():
            if "DIE" in os.environ:
                threading.Thread(target=die).start()
            onward.sleep(hours=1)

        if "LATER" in os.environ:
            store = connect.engine().store
            store.now = lambda: time.time() + 3_600
        main()
        [sleep] = sleeps()
        print(sleep.value)
        """,
    )
    before = time.time()
    assert run(job, DIE="1").returncode == -signal.SIGKILL
    after = time.time()
    wake_at = float(run(job, LATER="1").stdout)
    assert before + 3_600 <= wake_at <= after + 3_600, "it slept until the time that its first life recorded"


def test_a_child_of_fork_records_nothing_and_does_not_disturb_its_parent(tmp_path: Path) -> None:
    job = write_script(
        tmp_path,
        """
        import os, sys, onward

        for item in onward.each("abc"):
            if item == "b":
                child = os.fork()
                if child == 0:
                    sys.exit(5)  # unwinds through the loop
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
            print(item, flush=True)
        """,
    )
    ended = run(job)
    assert (ended.returncode, ended.stdout.split()) == (0, ["a", "b", "c"]), ended.stderr
    assert "finished, 3 done" in ended.stderr


def test_multiprocessing_in_a_body_works_as_ever(tmp_path: Path) -> None:
    job = write_script(
        tmp_path,
        """
        import multiprocessing, onward

        def square(number):
            return number * number

        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                for item in onward.each([1, 2, 3]):
                    print(*pool.map(square, [item, item + 1]), flush=True)
        """,
    )
    ended = run(job)
    assert (ended.returncode, ended.stdout) == (0, "1 4\n4 9\n9 16\n"), ended.stderr


def test_a_second_process_waits_for_the_first_and_takes_its_result(tmp_path: Path) -> None:
    job = write_script(
        tmp_path,
        """
        import sys, onward

        @onward.workflow
        def main():
            print("inside", flush=True)
            return sys.stdin.readline()

        print(main.options(if_running="wait")())
        """,
    )
    with subprocess.Popen(
        [sys.executable, job.name], cwd=tmp_path, env=environment(ONWARD_URL=""), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as first:  # fmt: skip
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "inside\n"
        with subprocess.Popen(
            [sys.executable, job.name], cwd=tmp_path, env=environment(ONWARD_URL=""), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as second:  # fmt: skip
            assert second.stderr is not None
            assert second.stdout is not None
            assert any("waiting for it" in line for line in second.stderr)
            first.stdin.write("the result\n")
            first.stdin.flush()
            assert first.stdout.read().strip() == "the result"
            assert second.stdout.read().strip() == "the result"
            assert second.wait() == 0


def test_a_loop_in_a_terminal_that_is_closed_is_given_back(tmp_path: Path) -> None:
    """A reader that goes away (`| head`) ends the program like any other; the item comes again."""
    job = write_script(
        tmp_path,
        """
        import onward

        for item in onward.each(range(3)):
            print(item, flush=True)
        """,
    )
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, job.name], cwd=tmp_path, env=environment(ONWARD_URL=""), stdout=writing,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert "BrokenPipeError" in ended.stderr
    assert run(job).stdout.split() == ["0", "1", "2"]


def test_an_error_of_onward_is_one_sentence_without_a_traceback(tmp_path: Path) -> None:
    job = write_script(
        tmp_path,
        """
        import onward

        @onward.workflow
        def main(client):
            pass

        main(object())
        """,
    )
    said = told(run(job))
    assert said.count("onward: the arguments of `main`") == 1
    assert "Traceback" not in said
