"""`onward move`: carry a whole journal to another place."""

from __future__ import annotations

import click

from onward.api import connect, moving
from onward.api.journal import Journal
from onward.api.staff import Staff
from onward.cli import output
from onward.cli.group import tell
from onward.core.errors import UsageError
from onward.runtime.engine import Engine
from onward.storage.open import open_store
from onward.storage.urls import masked


@click.command()
@click.option("--to", "to", metavar="URL", help="Carry this project's journal there.")
@click.option(
    "--from", "from_", metavar="URL", help="Carry that journal into this project's own, such as back again."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def move(to: str | None, from_: str | None, *, as_json: bool) -> None:
    """Carry a whole journal to another place, such as PostgreSQL.

    Unfinished runs, history, queues and schedules.

    `onward move --to postgresql://…` when one machine is not enough. Nothing may be executed meanwhile: stop workers
    and scripts first. Afterwards the old place takes no new runs and says where everything is; `--from` brings it back.
    Interrupted, the same command goes on where it stopped.
    """
    if (to is None) == (from_ is None):
        raise UsageError("say either --to URL or --from URL; nothing was moved")
    own = connect.resolved(connect.find_url())
    with (
        Journal.existing(from_ or own) as source,
        Journal(Engine(open_store(connect.resolved(to or own)), keeper=False)) as target,
    ):
        done = moving.move(source, target, lambda runs: tell(f"{runs:,} runs carried"))
        places = source.place, target.place
        left = sum(one.state in ("working", "draining") for one in Staff.of(source).workers)
    if as_json:
        output.emit({"from": places[0], "to": places[1], **done._asdict()})
        return
    tell(
        f"{done.runs:,} runs with {done.entries:,} entries are in {places[1]}, {done.unfinished:,} of them go on "
        f"there; checked one by one. {places[0]} takes no new runs any more"
    )
    if done.elsewhere:
        stands = "is closed in both places", "are closed in both places"
        out, on = f" in {places[0]}", f"in {places[1]}"
        tell(output.elsewhere_text(done.elsewhere_id, done.elsewhere, stands, out, on))
    if left:
        what = "1 worker still looks" if left == 1 else f"{left} workers still look"
        tell(f"{what} for work in {places[0]}, where none is left: start them anew with the other place")
    if to is not None:
        tell(f"now tell your programs: ONWARD_URL={masked(to)}, or [tool.onward] url in pyproject.toml")
