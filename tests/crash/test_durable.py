"""A completed call is on the disk: the journal's log is synced after its record was written and before it returns."""

import shutil

import pytest

from crash.corpus import SCENES
from crash.harness import Server, Tally, story
from crash.scenes import Scene

pytestmark = [pytest.mark.important]
# Where nothing runs in parallel, what stands between two lines of the program's logs belongs to the call in between.
SEQUENTIAL = [scene for scene in SCENES if not scene.parallel and not scene.silent]


def unsynced(server: Server, scene: Scene) -> tuple[int, list[str]]:
    """How many calls an undisturbed run of the scene completes, and which of them were not written and synced."""
    folder = story(server, scene, (), "undisturbed", Tally(scene.name))
    assert folder is not None
    notes = (folder / "notes.1").read_text().splitlines()
    shutil.rmtree(folder)
    # A loop has ended before its program acknowledges the last item; a workflow's result is a call of its own.
    return judged(notes if scene.result is not None else [note for note in notes if note != "w results.log"])


def judged(notes: list[str]) -> tuple[int, list[str]]:
    """How many completed calls the notes tell of, and what is wrong with some."""
    acks, found = 0, []
    since: list[str] = []  # what happened to the journal's log since the program wrote its last line
    for number, note in enumerate(notes):
        letter, _, name = note.partition(" ")
        if note in ("w acks.log", "w results.log"):
            acks += 1
            if "p" not in since or since[-1] != "s":
                found.append(f"call {acks} (note {number}) returned after {since}")
        if name in ("acks.log", "effects.log", "results.log"):
            since = []
        elif name == "journal.db-wal" and letter in "ps":
            since.append(letter)
    return acks, found


@pytest.mark.parametrize("scene", SEQUENTIAL, ids=lambda scene: scene.name)
def test_every_completed_call_was_written_and_synced_before_it_returned(server: Server, scene: Scene) -> None:
    acks, found = unsynced(server, scene)
    print(f"{scene.name}: {acks} completed calls")
    assert acks > 2
    assert not found, found


def test_the_order_of_writes_and_syncs_is_what_is_judged() -> None:
    log, ack = "journal.db-wal", "w acks.log"
    assert judged([f"p {log}", f"s {log}", ack]) == (1, [])
    assert len(judged([f"s {log}", f"p {log}", ack])[1]) == 1
    assert len(judged([f"p {log}", f"s {log}", ack, ack])[1]) == 1
    assert len(judged([f"p {log}", "s journal.db", ack])[1]) == 1
