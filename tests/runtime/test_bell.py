"""What waits for a session is woken, in threads and in event loops."""

from __future__ import annotations

import asyncio
import threading

from onward.runtime.bell import Bell


def test_threads_and_tasks_that_wait_are_woken_at_once() -> None:
    bell = Bell()
    threading.Timer(0.1, bell.set).start()

    async def both() -> list[bool]:
        return await asyncio.gather(bell.wait_async(3_600), asyncio.to_thread(bell.wait, 3_600))

    assert asyncio.run(both()) == [True, True]


def test_whoever_comes_after_it_has_rung_does_not_wait() -> None:
    bell = Bell()
    bell.set()
    assert asyncio.run(bell.wait_async(30))


def test_a_wait_that_nobody_ends_is_over_in_time_and_leaves_nothing_behind() -> None:
    bell = Bell()
    assert not asyncio.run(bell.wait_async(0.01))
    assert bell._tasks == {}


def test_a_loop_that_closed_meanwhile_harms_nobody_else() -> None:
    bell = Bell()
    closed = asyncio.new_event_loop()
    bell._tasks[closed.create_future()] = closed
    closed.close()
    threading.Timer(0.05, bell.set).start()
    assert asyncio.run(bell.wait_async(30))


def test_a_task_that_is_cancelled_while_it_waits_is_forgotten() -> None:
    bell = Bell()

    async def cancelled() -> None:
        task = asyncio.ensure_future(bell.wait_async(30))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    assert bell._tasks == {}
