"""`onward demo`: a job that begs to be killed."""

from __future__ import annotations

import os
import time
from typing import Final

import click

from onward.api.journal import Journal
from onward.api.loop import each
from onward.cli.group import INTERRUPTED
from onward.runtime.observe import span

NAME: Final = "onward-demo"
ITEMS: Final = 200


@click.command()
@click.option(
    "--seconds",
    default=20.0,
    show_default=True,
    type=click.FloatRange(0),
    help="How long the whole job takes.",
)
def demo(seconds: float) -> None:
    """See it work: a job of 200 items that you may kill at any moment.

    It is recorded where your own programs would be, so that `onward status` and `onward show` find it.
    """
    click.echo(
        f"{ITEMS} items of work, {span(seconds)} in all. Press Ctrl-C at any moment, or in another terminal:"
    )
    click.echo(f"    kill -9 {os.getpid()}")
    click.echo("Then type `onward demo` again: it continues where it stopped.\n")
    done = 0
    try:
        for _ in each(range(ITEMS), name=NAME):
            time.sleep(seconds / ITEMS)
            done += 1
    except KeyboardInterrupt:
        click.echo(f"\nStopped after {done} items. Type `onward demo` again: they will not be done again.")
        click.get_current_context().exit(INTERRUPTED)
    _tell_story()


def _tell_story() -> None:
    """What the journal says of the run that has just finished."""
    journal = Journal()
    line = journal.timeline(NAME)
    counts = journal.counts(line.run)
    if len(line.leases) == 1:
        click.echo(
            f"\nAll {counts.done} items are done, in one go. Type `onward demo` once more, and kill it this time."
        )
    else:
        died = sum(1 for lease in line.leases if lease.end == "died")
        stopped = len(line.leases) - 1 - died
        click.echo(
            f"\nAll {counts.done} items are done, each once, in {len(line.leases)} passes (killed {died} ×, stopped "
            f"{stopped} ×): {line.kept.units} items, {span(line.kept.work_s)} of work, were kept and not done again."
        )
    click.echo(f"Look at it with: onward show {line.run.id}")
