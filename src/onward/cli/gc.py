"""`onward gc`: remove finished runs that nobody needs any more."""

from __future__ import annotations

from typing import Any

import click

from onward.api import retention
from onward.api.journal import Journal
from onward.api.retention import Policy, Removed
from onward.cli import output
from onward.cli.group import tell
from onward.core.errors import AlreadyRunning
from onward.core.texts import plain
from onward.runtime.observe import span


@click.command()
@click.option(
    "--older-than",
    metavar="AGE",
    help="Ended longer ago than this: 30d, 12h, 90m, 2w. Default: 30d, or [tool.onward] keep.",
)
@click.option(
    "--keep", default=1, show_default=True, type=click.IntRange(0), help="Keep the latest runs of each name."
)
@click.option("--failed", is_flag=True, help="Failed runs too: give them up for good.")
@click.option(
    "--with-ids", is_flag=True, help="Runs with an id of their own too: a call with that id works anew then."
)
@click.option("--shrink", is_flag=True, help="Give the room back to the disk; writers wait meanwhile.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def gc(
    older_than: str | None,
    keep: int,
    *,
    failed: bool,
    with_ids: bool,
    shrink: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove finished runs that nobody needs any more.

    Done and cancelled runs, a few thousand entries at a time, while others go on working. Unfinished runs stay, and so
    does the latest finished run of each name.
    """
    age_s = retention.seconds_of(older_than) if older_than else retention.configured()
    policy = Policy(retention.KEEP_S if age_s is None else age_s, keep, failed, with_ids)
    with Journal.existing() as journal:
        if shrink and not dry_run:
            _refuse_busy(journal)
        removed = retention.collect(journal, policy, dry_run=dry_run)
        if shrink and not dry_run:
            journal.store.shrink()
    if as_json:
        output.emit({"dry_run": dry_run, "older_than_s": policy.older_than_s, **_json(removed)})
    else:
        _say(removed, policy, dry_run=dry_run)


def _refuse_busy(journal: Journal) -> None:
    for one in journal.list(states=("running",), limit=1):
        raise AlreadyRunning(
            one.run.id,
            f"`{plain(one.run.name)}`",
            plain(one.holder or "its holder is unknown"),
            refused="removed",
        )


def _json(removed: Removed) -> dict[str, Any]:
    return dict(removed._asdict())


def _say(removed: Removed, policy: Policy, *, dry_run: bool) -> None:
    runs = "1 run" if removed.runs == 1 else f"{removed.runs:,} runs"
    verb = "would be removed" if dry_run else "removed"
    tell(f"{runs} with {removed.entries:,} entries {verb}: ended more than {span(policy.older_than_s)} ago")
    if removed.with_ids:
        tell(
            f"{removed.with_ids:,} more stay, because calls with their ids are answered from them; --with-ids removes "
            f"them too"
        )
