"""`onward runs`: the list of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, get_args

import click

from onward.api import ground
from onward.api.journal import Journal
from onward.cli import output
from onward.cli.group import tell
from onward.core.model import RunState
from onward.core.texts import plain
from onward.core.timeline import ShownState

_STATES: Final[list[ShownState]] = [*get_args(RunState), "interrupted"]


@click.command()
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(_STATES),
    help="Only runs in this state; repeatable.",
)
@click.option("--name", help="Only runs of this loop, map or workflow.")
@click.option("--search", help="Only runs with this text in their id, name, arguments or error.")
@click.option(
    "--limit", default=30, show_default=True, type=click.IntRange(1, 10_000), help="At most so many."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def runs(
    states: Sequence[ShownState], name: str | None, search: str | None, limit: int, *, as_json: bool
) -> None:
    """List runs, newest first."""
    with Journal.existing() as journal:
        # One more than is shown tells whether there are more.
        if search is None:
            found = journal.list(states=states, name=name, limit=limit + 1)
        else:
            found = journal.search(search, states=states, name=name, limit=limit + 1)
        now, moved_to = journal.now(), journal.store.moved_to()
    more, found = len(found) > limit, found[:limit]
    if as_json:
        output.emit({"runs": [output.run_json(one) for one in found], "more": more, "moved_to": moved_to})
        return
    rows = [
        [
            plain(one.run.id),
            plain(ground.full_name(one.run)),
            output.state_text(one.state),
            output.progress_text(one),
            output.ago(one.run.created_at, now),
        ]
        for one in found
    ]
    output.table(rows)
    if moved_to is not None:
        tell(output.moved_text(moved_to))
    if not found:
        tell("no run fits")
    elif more:
        tell(f"these are the latest {limit}; --limit shows more")
