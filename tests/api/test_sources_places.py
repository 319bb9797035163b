"""Where loops stand: several in a script, at a prompt, in notebooks, and behind one that runs already."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import onward
from api.lives import environment, python, runs, told, write_script
from surfaces.kernel import Kernel, raised, said

# -- waiting for another one -----------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["each", "map"])
def test_waiting_for_another_process_does_not_block_the_event_loop(what: str, tmp_path: Path) -> None:
    """It slept in the loop's thread, so that nothing else in the program went on."""
    loops = {
        "each": "async for item in onward.each('ab', name='loop', if_running='wait'):\n        found.append(item)",
        "map": "async for item in onward.map(work, 'ab', name='loop', if_running='wait'):\n        found.append(item)",
    }
    waiter = write_script(
        tmp_path,
        f"""
import asyncio, onward
work = str.upper
ticks = 0
async def tick():
    global ticks
    while True:
        ticks += 1
        if ticks == 10:
            open("ticked", "w").close()
        await asyncio.sleep(0.01)
async def main():
    ticker = asyncio.create_task(tick())
    found = []
    {loops[what]}
    ticker.cancel()
    print(ticks > 9, found)
asyncio.run(main())
""",
        name="waiter.py",
    )
    body = {
        "each": "for item in onward.each('ab', name='loop'):\n    hold(item)",
        "map": "list(onward.map(hold, 'ab', name='loop', concurrency=1))",
    }
    holder = write_script(
        tmp_path,
        f"""
import os, time, onward
until = time.monotonic() + 60
def hold(item):
    print(item, flush=True)
    while not os.path.exists("ticked") and time.monotonic() < until:
        time.sleep(0.01)
    return item.upper()
{body[what]}
""",
        name="holder.py",
    )
    first = subprocess.Popen(
        [sys.executable, holder], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE
    )
    assert first.stdout is not None
    first.stdout.readline()
    ended = python(waiter, cwd=tmp_path, timeout=90)
    first.communicate()
    assert "waiting for it" in ended.stderr
    assert ended.stdout.split("\n")[0] == ("True []" if what == "each" else "True ['A', 'B']"), ended.stderr


def test_a_task_may_wait_for_another_task_of_the_same_loop() -> None:
    begun: list[str] = []

    async def work(wait: bool) -> None:
        async for item in onward.each("ab", name="loop", if_running="wait" if wait else "raise"):
            begun.append(item)
            await asyncio.sleep(0.02)

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work(False))
            await asyncio.sleep(0.01)
            tasks.create_task(work(True))

    asyncio.run(main())
    assert begun == ["a", "b"]


def test_a_task_does_not_wait_for_itself() -> None:
    async def main() -> None:
        async for _ in onward.each("ab", name="loop"):
            break_off = onward.each("ab", name="loop", if_running="wait")
            outer = onward.api.loop.current  # type: ignore[attr-defined]
            token = outer.set_here(None)
            try:
                async for _ in break_off:
                    pass
            finally:
                outer.reset_here(token)

    with pytest.raises(onward.AlreadyRunning, match="this process"):
        asyncio.run(asyncio.wait_for(main(), 10))


# -- several loops, and where the name comes from ---------------------------------------------------------

SEVERAL = """
    import os, sys
    import onward
    die_at = sys.argv[1] if sys.argv[1:] else ""
    def work(item):
        print(item, flush=True)
        if item == die_at:
            os._exit(9)
    for item in onward.each(["a1", "a2"]):
        work(item)
    for item in onward.each(["b1", "b2"], name="second"):
        work(item)
    def more():
        for item in onward.each(["c1", "c2"]):
            work(item)
    more()
"""


def test_several_loops_of_a_script_are_continued_each_by_itself(tmp_path: Path) -> None:
    script = write_script(tmp_path, SEVERAL)
    assert python(script, "b2", cwd=tmp_path).returncode == 9
    assert python(script, "c1", cwd=tmp_path).stdout.split() == ["a1", "a2", "b2", "c1"]
    assert python(script, cwd=tmp_path).stdout.split() == ["a1", "a2", "b1", "b2", "c1", "c2"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-c", "import onward\nfor x in onward.each([1]): pass"], None),
        (["-i"], "import onward\nfor x in onward.each([1]): pass\n\nexit(5)\n"),
        (["-"], "import onward\nfor x in onward.each([1]): pass\n"),
    ],
    ids=["-c", "prompt", "stdin"],
)
def test_code_that_stands_in_no_file_is_asked_for_a_name(
    arguments: list[str], text: str | None, tmp_path: Path
) -> None:
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=environment(),
        input=text or "",
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert 'give it a name: onward.each(..., name="...")' in ended.stderr
    assert ended.returncode != 0


NOTEBOOK = {
    "no name": "import onward\nfor n in onward.each(range(3)): pass",
    "named": "begun = []\nfor n in onward.each(range(6), name='cells'):\n    begun.append(n)\n    assert n != stop\n",
    "cursor": "last = onward.cursor('cells', start=0)\nlast.advance(last.value + 1)\nprint(last.value)",
    "async": "async for n in onward.each(range(2), name='awaited'): print(n)",
    "plain": "onward.sleep(0.01); print([n for n in onward.map(abs, [-1, 2], name='plain')])",
    "blocks": "async def f(): onward.sleep(0.01)\nawait f()",
    "await": "await onward.aio.advance(last, 40); print(last.value)",
}


@pytest.mark.slow
def test_in_a_notebook_loops_have_names_and_cells_are_run_again(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    kernel = Kernel(tmp_path, ONWARD_QUIET="1")

    def cell(code: str) -> str:
        return said(kernel.cell(code)).strip()

    try:
        assert 'give it a name: onward.each(..., name="...")' in raised(kernel.cell(NOTEBOOK["no name"]))
        assert raised(kernel.cell("stop = 2\n" + NOTEBOOK["named"])).startswith("AssertionError")
        cell("stop = None\n" + NOTEBOOK["named"])
        assert cell("print(begun)") == "[2, 3, 4, 5]"
        assert [cell(NOTEBOOK["cursor"]) for _ in range(3)] == ["1", "2", "3"]
        assert cell(NOTEBOOK["async"]).split() == ["0", "1"]
        assert cell(NOTEBOOK["plain"]) == "[1, 2]", "the kernel's own loop is no reason to refuse what blocks"
        assert raised(kernel.cell(NOTEBOOK["blocks"])).startswith("BlockingCall")
        assert cell(NOTEBOOK["await"]) == "40"
    finally:
        kernel.end()


def test_a_second_loop_at_the_same_place_is_told_to_take_a_name(tmp_path: Path) -> None:
    script = write_script(
        tmp_path,
        """
        import onward
        for a in onward.each([1]):
            pass
        for b in onward.each([2]):
            pass
        """,
    )
    said = told(python(script, cwd=tmp_path))
    assert "there are two onward.each in job.py (lines 3 and 5)" in said
    assert runs() == []
