"""The command line. Each command is in the file of its noun, imported when it is called: help comes at once."""

from __future__ import annotations

import click

from onward.cli.group import Commands

_COMMANDS = {
    "run": ("onward.cli.run:run", "Run a script, and start it again when it crashes, until it has finished."),
    "worker": ("onward.cli.worker:worker", "Execute queued runs until SIGTERM or Ctrl-C."),
    "dev": ("onward.cli.worker:dev", "A worker that starts anew whenever a file of the project changes."),
    "start": ("onward.cli.start:start", "Queue a run of a workflow for the workers."),
    "workers": ("onward.cli.workers:workers", "List workers, and what nobody works on."),
    "status": (
        "onward.cli.status:status",
        "One glance: what runs, how far it is, what failed, what to type.",
    ),
    "watch": (
        "onward.cli.watch:watch",
        "Watch what runs, live: state, progress, rate, time left, who executes it.",
    ),
    "runs": ("onward.cli.runs:runs", "List runs, newest first."),
    "show": ("onward.cli.show:show", "Show one run: its timeline, attempts and errors."),
    "failed": (
        "onward.cli.failed:failed",
        "List the items of a run that failed or were parked, with their inputs.",
    ),
    "replay": (
        "onward.cli.replay:replay",
        "Run a recorded workflow, loop or map again with the code as it is now; no step is executed.",
    ),
    "pause": ("onward.cli.acts:pause", "Stop a run at its next step, until it is resumed."),
    "resume": ("onward.cli.acts:resume", "Let a paused run go on."),
    "queue": ("onward.cli.queue:queue", "What waits in queues."),
    "schedule": ("onward.cli.schedule:schedule", "What starts by the clock."),
    "retry": ("onward.cli.acts:retry", "Make a failed or stuck run ready to be continued."),
    "cancel": ("onward.cli.acts:cancel", "End a run for good; what it has recorded is kept."),
    "reset": ("onward.cli.acts:reset", "Forget a run's progress, so that its next call starts afresh."),
    "skip": ("onward.cli.acts:skip", "Declare a failed or crashed item as done: it is not tried again."),
    "rename": (
        "onward.cli.rename:rename",
        "Let a moved script or a renamed function continue what its old name began.",
    ),
    "export": (
        "onward.cli.export:export",
        "Write runs with all that is recorded of them as lines of JSON, for `onward import`.",
    ),
    "import": ("onward.cli.export:import_", "Read runs that `onward export` wrote into the journal."),
    "move": ("onward.cli.move:move", "Carry a whole journal to another place, such as PostgreSQL."),
    "backup": ("onward.cli.backup:backup", "Copy the journal into FILE while others go on writing to it."),
    "restore": (
        "onward.cli.restore:restore",
        "Put FILE, which `onward backup` wrote, in the place of the journal.",
    ),
    "gc": ("onward.cli.gc:gc", "Remove finished runs that nobody needs any more."),
    "doctor": ("onward.cli.doctor:doctor", "Check the journal and the place where it lies."),
    "demo": ("onward.cli.demo:demo", "See it work: a job of 200 items that you may kill at any moment."),
}


@click.group(
    cls=Commands,
    commands_from=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="onward", message="onward %(version)s")
def main() -> None:
    """Work that survives: see what is recorded, and act on it.

    The journal is found as programs find it: the variable ONWARD_URL, [tool.onward] url in pyproject.toml, else
    .onward/journal.db at the project's root.

    \b
    Exit codes: 0 finished, 1 failed (or the journal is damaged), 2 wrong usage (or what is there is no
    journal that can be used), 3 finished with failed items, 4 not finished yet, 5 no such run or journal,
    75 try again later (journal or run is busy, or its server away), 130 and 143 interrupted.
    """
