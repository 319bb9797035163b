"""`onward workers`: who works, on what, and what nobody works on."""

from __future__ import annotations

from typing import Any

import click

from onward.api.journal import Journal
from onward.api.staff import Staff, WorkerView
from onward.cli import output
from onward.cli.group import tell
from onward.core.texts import plain


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def workers(*, as_json: bool) -> None:
    """List workers, and what nobody works on.

    Where they are, what they execute, and which queued runs no living worker knows.
    """
    with Journal.existing() as journal:
        staff = Staff.of(journal)
        now, moved_to = journal.now(), journal.store.moved_to()
    if as_json:
        output.emit(
            {
                "workers": [_json(one) for one in staff.workers],
                "left_alone": [_left(one) for one in staff.left_alone],
                "moved_to": moved_to,
            }
        )
        return
    rows = [_row(one, now) for one in staff.workers]
    if rows:
        head = ["worker", "state", "executes", "queues", "workflows", "seen"]
        output.table([[click.style(cell, bold=True) for cell in head], *rows])
    if moved_to is not None:
        tell(output.moved_text(moved_to))
    elif not rows:
        tell("no worker is known here; start one with: onward worker TARGET")
    for sentence in staff.sentences():
        tell(sentence)


def _row(one: WorkerView, now: float) -> list[str]:
    return [
        f"{one.pid} on {plain(one.host)}",
        output.state_text(one.state),
        f"{one.active} of {one.row.concurrency}",
        ", ".join(plain(queue) for queue in one.row.queues) or "all",
        plain(", ".join(one.row.names), 60),
        output.ago(one.row.seen_at, now),
    ]


def _json(one: WorkerView) -> dict[str, Any]:
    return {
        "owner": one.row.owner,
        "host": one.host,
        "pid": one.pid,
        "state": one.state,
        "active": one.active,
        "concurrency": one.row.concurrency,
        "queues": list(one.row.queues),
        "workflows": list(one.row.names),
        "seen_at": output.iso(one.row.seen_at),
    }


def _left(one: tuple[str, str, int, float]) -> dict[str, Any]:
    queue, name, count, since = one
    return {"queue": queue, "workflow": name, "runs": count, "oldest_at": output.iso(since)}
