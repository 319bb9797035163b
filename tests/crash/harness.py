"""Runs the programs and kills them: compiles the shim, talks to a fork server, makes points, collects verdicts."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from crash.oracle import Moment, look, violations
from crash.scenes import Scene

HERE: Final = Path(__file__).parent
SOURCE: Final = HERE.parents[1] / "src"
# As in libcrash.c.
COUNT, KILL, TEAR, KILL_AFTER, STOP = range(5)
REFUSED: Final = 3  # the exit code of a program that raised


@dataclass(frozen=True)
class Plan:
    """What happens to one phase: `action` at the `at`-th call that counts (see libcrash.c); never, by default."""

    at: int = -1
    action: int = COUNT
    letters: str = ""  # empty: every call that writes
    name_end: str = ""
    ahead_s: float = 0.0  # how far the clock of this phase is ahead
    lease_s: float = 0.0  # 0: the usual one
    line: str = ""  # `file:number`: killed at the `visit`-th visit of that line; `*`: all visits are counted
    visit: int = 0


UNDISTURBED: Final = Plan()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory, if there is one: it is the kill that is tested, not the disk."""
    memory = Path("/dev/shm")
    base = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="onward-crash-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def compile_shim(folder: Path) -> Path:
    library = folder / "libcrash.so"
    flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library)]
    subprocess.run(["gcc", *flags, str(HERE / "libcrash.c"), "-ldl"], check=True)
    return library


def copied(to: Path) -> Path:
    """A copy of the source as it is now, with what is compiled of it: else every program would compile it again."""
    # What is being compiled at this moment has another name until it is done.
    return shutil.copytree(SOURCE, to, ignore=shutil.ignore_patterns("*.pyc.*"), dirs_exist_ok=True)


class Server:
    """A fork server that runs the code of `source`."""

    def __init__(self, folder: Path, library: Path, source: Path) -> None:
        self.folder = folder
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ONWARD_")},
            "LD_PRELOAD": str(library),
            "PYTHONPATH": f"{source}{os.pathsep}{HERE.parent}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "crash.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            bufsize=1,
        )
        try:
            found = Path(self._answer()["onward"])
            assert found.is_relative_to(source), f"the server runs {found}, not the code in {source}"
        except BaseException:
            self.close()
            raise

    def fresh(self) -> Path:
        """A folder for one point."""
        return Path(tempfile.mkdtemp(prefix="point-", dir=self.folder))

    def run(self, folder: Path, scene: str, phase: int, plan: Plan = UNDISTURBED) -> dict[str, Any]:
        """One phase to its end; how it ended."""
        return self._ask({"do": "run", **_order(folder, scene, phase, plan)})

    def start(self, folder: Path, scene: str, phase: int, plan: Plan) -> int:
        pid: int = self._ask({"do": "start", **_order(folder, scene, phase, plan)})["pid"]
        return pid

    def wait(self, pid: int) -> dict[str, Any]:
        """How it ended, or that it has stopped."""
        return self._ask({"do": "wait", "pid": pid})

    def resume(self, pid: int) -> dict[str, Any]:
        """Let a stopped process go on; how it ended, or that it has stopped again."""
        return self._ask({"do": "resume", "pid": pid})

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the fork server ended with {self._process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        return answer


def _order(folder: Path, scene: str, phase: int, plan: Plan) -> dict[str, Any]:
    return {"folder": str(folder), "program": scene, "phase": phase, **plan.__dict__}


# -- points -------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What a sweep has tried and found."""

    what: str
    seed: int = 0
    act: str = "kills"
    tried: int = 0
    kills: int = 0
    wanted: int = 0  # kills that were planned, where that is told
    calls: int = 0  # that could be killed, in one undisturbed run
    kinds: str = ""  # of these calls
    broken: dict[str, list[str]] = field(default_factory=dict)  # promises, by point
    troubles: dict[str, list[str]] = field(
        default_factory=dict
    )  # phases that should have ended well, by point

    def __str__(self) -> str:
        of = f" of {self.calls} calls{self.kinds}" if self.calls else ""
        return (
            f"{self.what}: {self.tried} points tried{of}, {self.kills} {self.act} landed, "
            f"seed {self.seed}, {len(self.broken)} points with violations, {len(self.troubles)} with failed phases"
        )

    @property
    def clean(self) -> bool:
        return not self.broken and not self.troubles

    def report(self) -> str:
        """The tally with the first violations."""
        lines = [str(self)]
        for point, found in [*self.broken.items(), *self.troubles.items()][:5]:
            lines += [f"  {point}:", *(f"    {one}" for one in found[:6])]
        return "\n".join(lines)


def measure(server: Server, scene: Scene, tally: Tally) -> None:
    """Note how many calls of an undisturbed run can be killed. Raises if that run itself breaks a promise."""
    alone = Tally(scene.name)
    folder = story(server, scene, (), "undisturbed", alone)
    assert alone.clean, alone.report()
    assert folder is not None
    tally.calls = int((folder / "count.1").read_text())
    letters = Counter(note[0] for note in (folder / "notes.1").read_text().splitlines() if note[0] != "g")
    tally.kinds = f" ({', '.join(f'{count} {_CALLS[letter]}' for letter, count in letters.most_common())})"
    shutil.rmtree(folder)


def story(server: Server, scene: Scene, plans: Sequence[Plan], point: str, tally: Tally) -> Path | None:
    """Run the program once for each plan and then undisturbed to its end, and judge it. Its folder, if nothing died."""
    folder = server.fresh()
    moments: list[Moment] = []
    trouble: list[str] = []
    tally.tried += 1
    for phase, plan in enumerate((*plans, UNDISTURBED), 1):
        ending = server.run(folder, scene.name, phase, plan)
        if scene.forks and ending.get("code") == REFUSED and "AlreadyRunning" in last_words(folder):
            time.sleep(0.5)  # a held lock proves nothing; one that lasts longer is a failure
            ending = server.run(folder, scene.name, phase, plan)
        died = ending["how"] == "killed"
        tally.kills += died
        if not died and (ending["how"], ending.get("code")) != ("ended", 0):
            trouble.append(f"phase {phase} {ending['how']} with {ending.get('code')}: {last_words(folder)}")
        moments.append(look(folder, died=died))
        if not died:
            break  # it ended before its plan: what follows would be a new run
    if found := violations(scene, moments, folder):
        tally.broken[point] = found
    if trouble:
        tally.troubles[point] = trouble
    if plans:
        shutil.rmtree(folder)
        return None
    return folder


def sweep(
    server: Server,
    scene: Scene,
    action: int,
    *,
    share: float,
    seed: int,
    twice: bool = False,
    until_broken: bool = False,
) -> Tally:
    """Kill the program at its calls: at all of them, or at an evenly spread `share` whose offset `seed` gives.

    `until_broken` takes them in random order and ends at the first violation: for code that has one.
    """
    tally = Tally(f"{scene.name}, {_ACTIONS[action]}{', again while recovering' if twice else ''}", seed)
    measure(server, scene, tally)
    chance = random.Random(f"{seed}/{scene.name}/{action}/{twice}")
    points = chosen(tally.calls, share, chance)
    if until_broken:
        chance.shuffle(points)
    for at in points:
        if until_broken and tally.broken:
            break
        plans = [Plan(at, action)]
        if twice:
            plans.append(Plan(chance.randint(1, tally.calls), chance.choice((KILL, TEAR))))
        story(
            server, scene, plans, " then ".join(f"{_ACTIONS[p.action]} at call {p.at}" for p in plans), tally
        )
    return tally


_CALLS: Final = {
    "w": "write", "p": "pwrite", "v": "writev", "s": "sync", "t": "truncate", "o": "open to create", "u": "unlink",
    "r": "rename", "m": "mkdir", "f": "fallocate",
}  # fmt: skip
_ACTIONS: Final = {KILL: "killed", TEAR: "torn", KILL_AFTER: "killed after", STOP: "stopped"}


def chosen(calls: int, share: float, chance: random.Random) -> list[int]:
    """Numbers from 1 to `calls`, evenly spread: at least two, if there are as many."""
    share = max(share, min(1, 2 / max(1, calls)))
    if share >= 1:
        return list(range(1, calls + 1))
    step = 1 / share
    offset = chance.random() * step
    return [
        int(offset + step * n) + 1
        for n in range(int((calls - offset) / step) + 1)
        if int(offset + step * n) < calls
    ]


def last_words(folder: Path) -> str:
    log = folder / "stderr.log"
    return log.read_text()[-1500:] if log.exists() else ""
