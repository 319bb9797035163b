"""How the process of an isolated step ends: crashes, limits, timeouts, and the end of the program it belongs to."""

# A test waits by looking.
# ruff: noqa: ASYNC110
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import onward
from api import isolated
from api.isolated import gone, logged, ran
from api.lives import entries, environment, outcomes, python, the_run, write_script
from onward.api import connect
from onward.core.errors import LeaseLost
from onward.runtime import wardens

pytestmark = pytest.mark.faults

TESTS = Path(__file__).resolve().parents[1]


# -- deaths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("segfault", "killed by SIGSEGV"),
        ("exit", "ended with exit code 7"),
        ("sys.exit", "ended with exit code 3"),
        ("kill", "killed by SIGKILL"),
        ("abort", "killed by SIGABRT"),
        ("group", "killed by SIGKILL"),
    ],
)
def test_a_death_of_the_process_is_a_crash_of_the_step_and_the_run_goes_on(
    tmp_path: Path, how: str, says: str
) -> None:
    path = tmp_path / "log"

    @onward.workflow(name="job")
    def job() -> str:
        try:
            isolated.dies(str(path), how)
        except onward.StepCrashed as error:
            return str(error)
        return "lived"

    message = job()
    assert says in message
    assert "3 times" in message
    assert len(logged(path)) == 3
    states = [(e.state, e.attempt) for e in entries() if e.kind == "step"]
    assert states == [("crashed", 1)] * 3 + [("failed", 1)]
    assert the_run().fence == 1, "the run was never given up"


def test_a_step_whose_process_died_is_executed_again(tmp_path: Path) -> None:
    assert ran(lambda: isolated.dies(str(tmp_path / "log"), "segfault", times=2)) == "survived"
    assert [e.state for e in entries() if e.kind == "step"] == ["crashed", "crashed", "done"]


def test_crashes_are_counted_over_lives_of_the_program(tmp_path: Path) -> None:
    """One death of the program in the step and one of the step's own process: two of three."""
    script = write_script(
        tmp_path,
        """
        import os, signal, sys
        import onward
        import steps

        @onward.workflow
        def job():
            return steps.poison()

        if __name__ == "__main__":
            job()
        """,
    )
    (tmp_path / "steps.py").write_text(
        "import os, signal, onward\n"
        "@onward.step(isolate=True, backoff=0)\n"
        "def poison():\n"
        "    print('began', flush=True)\n"
        "    if os.path.exists('parent'):\n"
        "        os.remove('parent')\n"
        "        os.kill(int(os.environ['PROGRAM']), signal.SIGKILL)\n"
        "        import time; time.sleep(30)\n"
        "    os._exit(1)\n"
    )
    script.write_text(
        script.read_text().replace("import steps", "os.environ['PROGRAM'] = str(os.getpid()); import steps")
    )
    (tmp_path / "parent").touch()
    first = python(script, cwd=tmp_path)
    assert first.returncode == -signal.SIGKILL
    second = python(script, cwd=tmp_path)
    assert "StepCrashed" in second.stderr or "died 3 times" in second.stderr
    assert (first.stdout + second.stdout).count("began") == 3


def test_memory_is_bounded() -> None:
    assert ran(lambda: isolated.allocates(100)) == 100 * 10**6
    with pytest.raises(MemoryError) as caught:
        ran(lambda: isolated.allocates(400))
    assert caught.value.__notes__ == ["step `allocates` may use 256,000,000 bytes (memory=)"]


# -- timeouts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["sleep", "loop", "deaf", "lock"])
def test_a_sync_step_is_ended_when_its_time_is_over(tmp_path: Path, how: str) -> None:
    with pytest.raises(onward.StepTimeout, match=r"step `hangs` took longer than its timeout of 0.3 s"):
        ran(lambda: isolated.hangs(str(tmp_path / "log"), how))
    [pid] = logged(tmp_path / "log")
    assert gone(int(pid))
    assert outcomes() == {"hangs#1": "failed"}


def test_a_timed_out_attempt_counts_as_one(tmp_path: Path) -> None:
    patient = isolated.hangs.options(max_attempts=2, backoff=0, timeout=0.1)
    with pytest.raises(TimeoutError):
        ran(lambda: patient(str(tmp_path / "log"), "sleep"))
    assert len(logged(tmp_path / "log")) == 2
    assert [e.state for e in entries() if e.kind == "step"] == ["retry", "failed"]


def test_an_async_isolated_step_that_is_deaf_to_cancellation_is_ended(tmp_path: Path) -> None:
    @onward.workflow(name="job")
    async def job() -> None:
        await isolated.hangs_async(str(tmp_path / "log"))

    with pytest.raises(onward.StepTimeout):
        asyncio.run(job())
    [pid] = logged(tmp_path / "log")
    assert gone(int(pid))


def test_cancelling_the_task_ends_the_process(tmp_path: Path) -> None:
    @onward.workflow(name="job")
    async def job() -> None:
        await isolated.sleeps_async(str(tmp_path / "log"))

    async def main() -> None:
        task = asyncio.ensure_future(job())
        while not logged(tmp_path / "log"):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    [pid] = logged(tmp_path / "log")
    assert gone(int(pid))
    assert the_run().state == "pending"


def test_what_a_step_started_ends_with_it(tmp_path: Path) -> None:
    assert ran(lambda: isolated.breeds(str(tmp_path / "log"))) == "left it behind"
    [pid] = logged(tmp_path / "log")
    assert gone(int(pid))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
def test_what_has_left_its_group_ends_with_the_step_too(tmp_path: Path) -> None:
    """A browser that a step had started in a session of its own went on for ever after a timeout."""
    assert ran(lambda: isolated.daemonises(str(tmp_path / "log"))) == "left it behind"
    [pid] = logged(tmp_path / "log")
    assert gone(int(pid))


@pytest.mark.parametrize("how", ["closed", "gone", "full"])
def test_a_step_that_cannot_print_any_more_keeps_its_outcome(tmp_path: Path, how: str) -> None:
    """It was executed, counted as crashed because its output could not be flushed, and executed twice more."""
    assert ran(lambda: isolated.loses_stdout(str(tmp_path / "log"), how)) == "worked"
    assert logged(tmp_path / "log") == ["worked"]


# -- the parent's end ---------------------------------------------------------------------------------


SLEEPER = """
    import sys
    sys.path.insert(0, {tests!r})
    import onward
    from api import isolated

    @onward.workflow
    def job():
        return isolated.sleeps({log!r})

    if __name__ == "__main__":
        job()
    """


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_however_the_program_ends_its_isolated_step_ends_with_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    log = tmp_path / "log"
    script = write_script(tmp_path, SLEEPER.format(tests=str(TESTS), log=str(log)))
    with subprocess.Popen(
        [sys.executable, script], cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL
    ) as program:
        until = time.monotonic() + 30
        while not logged(log) and time.monotonic() < until:
            time.sleep(0.01)
        program.send_signal(number)
        program.wait(100)
    [pid] = logged(log)
    assert gone(int(pid))


def test_a_lost_lease_ends_the_process(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ended: list[BaseException] = []

    def work() -> None:
        try:
            ran(lambda: isolated.sleeps(str(log)))
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while not logged(log):
        time.sleep(0.01)
    [session] = connect.engine().sessions.values()
    session.unwind(LeaseLost(session.run.id, 1))
    thread.join(20)
    assert len(ended) == 1
    [pid] = logged(log)
    assert gone(int(pid))


def test_a_warden_that_is_killed_takes_its_worker_along_and_that_is_a_crash_of_the_step(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"

    def kill_wardens() -> None:
        while not logged(log):
            time.sleep(0.01)
        for warden in list(wardens.every):
            warden._process.kill()

    thread = threading.Thread(target=kill_wardens)
    thread.start()
    patient = isolated.sleeps.options(max_crashes=1)
    with pytest.raises(onward.StepCrashed, match="and the one that watched it were killed"):
        ran(lambda: patient(str(log)))
    thread.join()
    [pid] = logged(log)
    assert gone(int(pid))


def test_nothing_is_left_open_after_many_calls(tmp_path: Path) -> None:
    @onward.workflow(name="job")
    def job() -> None:
        for number in range(3):
            isolated.doubled(number)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(20):
            isolated.doubled(number)
        for how in ("segfault", "exit"):
            with pytest.raises(onward.StepCrashed):
                isolated.dies(str(tmp_path / how), how)
        assert len(os.listdir("/proc/self/fd")) <= before

    job()
