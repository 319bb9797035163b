"""Records programs of the crash corpus, lets the power fail at each point of the story, and judges what is left.

The judge is that of `tests/crash`: every acknowledged call is in the journal with its value, the journal is sound, and
the program, run again, ends as if nothing had happened.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from crash.harness import Server, last_words
from crash.oracle import Moment, look, promised, violations
from crash.scenes import Scene
from power.disk import EVIDENCE, Disk, Image, Op, Policy, read

Durability = Literal["machine", "process"]
HERE: Final = Path(__file__).parent


def compile_recorder(folder: Path) -> Path:
    library = folder / "librecord.so"
    flags = ["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library)]
    subprocess.run(["gcc", *flags, str(HERE / "librecord.c"), "-ldl"], check=True)
    return library


@dataclass
class Story:
    """What a program did to the disk."""

    scene: Scene
    root: Path  # where it happened, and where images of it must lie: rows name their file by its whole path
    place: str  # of the journal's directory below it, or nothing
    number: int  # the inode of the root
    ops: list[Op]
    effects: bytes  # what the outside world saw in the end
    apart: bool  # effects came from processes that were not recorded, so that nothing tells when

    def journal(self) -> Path:
        """The directory of the journal; if it was lost, one without any."""
        return self.root / self.place if (self.root / self.place).is_dir() else self.root


def record(
    folder: Path,
    library: Path,
    source: Path,
    scene: Scene,
    *,
    durability: Durability = "machine",
    tidies: bool = False,
    place: str = "",
) -> Story:
    """Run the scene's program once with the code in `source`.

    `tidies` makes checkpoints on the way; `place` is a directory for the journal, which does not exist before.
    """
    root = folder / f"disk-{os.getpid()}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    trace = folder / f"trace-{os.getpid()}"
    trace.unlink(missing_ok=True)
    order: dict[str, object] = {
        "folder": str(root),
        "trace": str(trace),
        "program": scene.name,
        "journal": str(root / place / "journal.db"),
        "tidies": tidies,
        "durability": durability,
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("ONWARD_")},
        "LD_PRELOAD": str(library),
        "ONWARD_QUIET": "1",
        "PYTHONPATH": f"{source}{os.pathsep}{HERE.parent}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "power.recorded", json.dumps(order)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    number = root.stat().st_ino
    ops = read(trace)
    trace.unlink()
    effects = (root / "effects.log").read_bytes()
    recorded = Disk(root, number)
    for op in ops:
        recorded.apply(op)
    return Story(scene, root, place, number, ops, effects, apart=recorded.evidence["effects.log"] != effects)


@dataclass
class Losses:
    """What a sweep over a story has found."""

    what: str
    seed: int = 0
    ops: int = 0
    failures: int = 0  # of the power
    images: int = 0  # different ones, with what had been acknowledged
    empty: int = 0  # before anything was acknowledged
    acknowledged: int = 0  # calls, in the whole story
    reruns: int = 0
    lost: dict[str, list[str]] = field(default_factory=dict)  # promises broken, by point

    def __str__(self) -> str:
        return (
            f"{self.what}: power failed {self.failures} times in {self.ops} changes of the disk, {self.images} "
            f"different disks, {self.reruns} run again, {self.acknowledged} acknowledged calls, seed {self.seed}, "
            f"{len(self.lost)} disks with something lost"
        )

    def report(self) -> str:
        lines = [str(self)]
        for point, found in list(self.lost.items())[:5]:
            lines += [f"  {point}:", *(f"    {one}" for one in found[:6])]
        return "\n".join(lines)


def fail_everywhere(
    story: Story,
    server: Server | None,
    *,
    policies: Iterable[Policy],
    share: float,
    seed: int,
    reruns: float = 0.0,
    until_lost: bool = False,
) -> Losses:
    """Let the power fail after a `share` of the changes and after the last, once for each of `policies`.

    Scenes without calls of their own acknowledge everything at their end: only there can they lose something. A share
    `reruns` of the disks is also examined by `onward doctor` and run to its end by `server`: a larger one of those
    where a file of the program is not synced. They are that share whatever the seed, so that 1 / `reruns` different
    disks are enough for one; only where the first is left to chance.
    """
    losses = Losses(f"{story.scene.name}", seed, len(story.ops))
    chance = random.Random(f"{seed}/{story.scene.name}")
    disk, seen = Disk(story.root, story.number), set()
    policies = list(policies)
    due = chance.random()  # reruns
    for count, op in enumerate(story.ops, 1):
        disk.apply(op)
        if chance.random() >= share and count < len(story.ops):
            continue
        for policy in policies:
            losses.failures += 1
            image = disk.image(policy, chance)
            known = (image.mark(), *(len(text) for text in disk.evidence.values()))
            if known in seen:
                continue
            seen.add(known)
            # Files that the journal is to complete are half written now: what becomes of them only a rerun shows.
            due += min(1.0, 4 * reruns) if disk.is_loose() else reruns
            again = due >= 1
            due -= again
            found = _judge(story, image, disk, server if again else None, losses)
            if found:
                losses.lost[f"change {count} ({op.letter} {op.path or op.number}), {policy}"] = found
                if until_lost:
                    return losses
    return losses


def _judge(story: Story, image: Image, disk: Disk, server: Server | None, losses: Losses) -> list[str]:
    root = _laid_out(story, image, disk)
    losses.images += 1
    try:
        moment = look(root, died=True, journal=story.journal())
    except sqlite3.DatabaseError as error:
        return [f"the journal cannot be read: {error}"]
    losses.acknowledged = max(losses.acknowledged, len(moment.acks))
    losses.empty += not moment.acks and not moment.results
    found = [*promised(story.scene, moment), *_rows(story.scene, moment, root)]
    if server is not None and not found:
        losses.reruns += 1
        found += _again(story, moment, root, server)
    return found


def _laid_out(story: Story, image: Image, disk: Disk) -> Path:
    """The disk and what the outside world has seen, in place of the recorded folder."""
    root = story.root
    shutil.rmtree(root)
    root.mkdir()
    image.write(root)
    for name in EVIDENCE:
        (root / name).write_bytes(disk.evidence[name])
    if story.apart:
        (root / "effects.log").write_bytes(story.effects)
    return root


def _rows(scene: Scene, moment: Moment, root: Path) -> list[str]:
    """Nobody completes the files of a run that has ended: they are whole when that is recorded."""
    over = moment.runs and all(run["state"] == "done" for run in moment.runs.values())
    if scene.rows is None or not over:
        return []
    file = root / "rows.jsonl"
    text = file.read_text(errors="replace") if file.exists() else None
    wanted = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in scene.rows)
    return [] if text == wanted else [f"the run is done and rows.jsonl holds {text!r}"]


def _again(story: Story, moment: Moment, root: Path, server: Server) -> list[str]:
    """`onward doctor` has nothing to say, and the program run again ends as if nothing had happened."""
    found = []
    if (root / "journal.db").exists():
        health = server.run(root, "doctor", 0)
        if (health["how"], health.get("code")) != ("ended", 0):
            found.append(f"doctor {health['how']} with {health.get('code')}: {last_words(root)}")
    ending = server.run(root, story.scene.name, 2)
    if (ending["how"], ending.get("code")) != ("ended", 0):
        return [*found, f"run again it {ending['how']} with {ending.get('code')}: {last_words(root)}"]
    found += violations(story.scene, [moment, look(root, died=False)], root)
    # Where nothing tells when an effect was, those after the failure count as before it.
    return [one for one in found if not (story.apart and "were repeated" in one)]
