"""Holders that are stopped, taken over, and go on: a zombie for each commit that a program makes."""

from __future__ import annotations

import shutil

from crash.harness import KILL, STOP, Plan, Server, Tally, last_words
from crash.oracle import changes, ending_of, look, structure
from crash.scenes import Scene


def haunt(
    server: Server, scene: Scene, *, continued: bool, every: int = 1, until_broken: bool = False
) -> Tally:
    """Stop a holder before each of its commits, let another process take over and stop that one in the middle of its
    work; then let the first one go on: it must not change anything. At the end the second finishes the run.

    With `continued` the holder, too, continues a run whose first process was killed.
    """
    tally = Tally(
        f"{scene.name}, stopped and taken over{', when it continued a run' if continued else ''}",
        act="take-overs",
    )
    at = 1
    while _zombie(server, scene, at, tally, continued=continued) and not (until_broken and tally.broken):
        at += every
    return tally


def _zombie(server: Server, scene: Scene, at: int, tally: Tally, *, continued: bool) -> bool:
    """One holder, stopped when it is about to wait for its `at`-th turn to write; False if it has ended before."""
    folder, point = server.fresh(), f"stopped before commit {at}"
    if continued:
        first = server.run(folder, scene.name, 0, Plan(4, KILL, letters="w", name_end="effects.log"))
        assert first["how"] == "killed", first
    zombie = server.start(folder, scene.name, 1, Plan(at, STOP, letters="g", name_end="-turn"))
    if server.wait(zombie)["how"] != "stopped":
        shutil.rmtree(folder)
        return False
    tally.tried += 1
    # Its clock is ahead by more than a lease, so the zombie's is over, and nobody has told the zombie.
    heir = server.start(folder, scene.name, 2, Plan(1, STOP, letters="w", name_end="effects.log", ahead_s=60))
    ending = server.wait(heir)
    before = look(folder, died=False)
    server.resume(zombie)
    after = look(folder, died=False)
    tally.kills += 1
    if ending["how"] == "stopped":
        ending = server.resume(heir)
    found = changes(before, after) + [f"after the zombie: {one}" for one in structure(after)]
    found += ending_of(scene, [before, after, look(folder, died=False)], folder)
    if found:
        tally.broken[point] = found
    if (ending["how"], ending.get("code")) != ("ended", 0):
        tally.troubles[point] = [f"the heir {ending['how']} with {ending.get('code')}: {last_words(folder)}"]
    shutil.rmtree(folder)
    return True
