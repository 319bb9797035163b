"""A process that was stopped too long and goes on after its run was taken over records nothing."""

import shutil
import time

import pytest

from crash.corpus import BY_NAME
from crash.harness import STOP, Plan, Server
from crash.oracle import changes, ending_of, look
from crash.test_kills import Tell
from crash.zombies import haunt

pytestmark = [pytest.mark.important]
# A heir's clock is ahead, so scenes that sleep are not for it.
HAUNTED = ["loop", "loop_steps", "loop_async", "chores", "workflow_nested", "map_threads", "map_tasks"]


BEGUN = pytest.mark.parametrize("continued", [False, True], ids=["new", "continued"])


@BEGUN
@pytest.mark.parametrize("name", HAUNTED)
def test_a_holder_stopped_before_a_commit_changes_nothing_after_it_was_taken_over(
    server: Server, name: str, continued: bool, tell: Tell
) -> None:
    tally = haunt(server, BY_NAME[name], continued=continued, every=4)
    tell(tally)
    assert tally.tried > 2
    assert tally.clean, tally.report()


@pytest.mark.full
@pytest.mark.timeout(1_500)
@BEGUN
@pytest.mark.parametrize("name", HAUNTED)
def test_a_holder_stopped_before_each_of_its_commits_changes_nothing(
    server: Server, name: str, continued: bool, tell: Tell
) -> None:
    tally = haunt(server, BY_NAME[name], continued=continued)
    tell(tally)
    assert tally.tried > 8
    assert tally.clean, tally.report()


def test_a_stopped_holder_keeps_its_run_until_its_lease_ends_and_no_longer(server: Server) -> None:
    """With leases of half a second and all clocks as they are: refused before, taken over after."""
    scene, folder = BY_NAME["loop_steps"], server.fresh()
    zombie = server.start(folder, scene.name, 1, Plan(8, STOP, letters="g", name_end="-turn", lease_s=0.5))
    assert server.wait(zombie)["how"] == "stopped"
    early = look(folder, died=False)
    assert {run["state"] for run in early.runs.values()} == {"running"}

    assert server.run(folder, scene.name, 2, Plan(lease_s=0.5))["code"] == 3
    assert "AlreadyRunning" in (folder / "stderr.log").read_text()
    assert not changes(early, look(folder, died=False))

    time.sleep(0.6)
    assert server.run(folder, scene.name, 3, Plan(lease_s=0.5)) | {"pid": 0} == {
        "how": "ended",
        "code": 0,
        "pid": 0,
    }
    after = look(folder, died=False)
    assert server.resume(zombie)["code"] == 3
    final = look(folder, died=False)
    assert not changes(after, final)
    assert not ending_of(scene, [early, after, final], folder)
    shutil.rmtree(folder)
