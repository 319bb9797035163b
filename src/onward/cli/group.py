"""The group of all commands: imports one when it is called; turns every error into a sentence and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
from collections.abc import Mapping
from typing import Any, Final

import click

from onward.core.errors import (
    PASSING,
    AlreadyRunning,
    JournalUnusable,
    NoJournal,
    OnwardError,
    QueueNotFound,
    RunNotFound,
    ScheduleNotFound,
    UsageError,
)
from onward.core.texts import plain_lines

FINISHED: Final = 0
FAILED: Final = 1
USAGE: Final = 2
FAILED_ITEMS: Final = 3
UNFINISHED: Final = 4
NOT_FOUND: Final = 5
BUSY: Final = 75  # EX_TEMPFAIL of sysexits.h: try again later
INTERRUPTED: Final = 130

# Longest sentence of an error: some quote what the user gave.
_SENTENCE: Final = 2_000


class Commands(click.Group):
    """`commands_from` maps a command's name to where it is and what it does in one line."""

    def __init__(self, *args: Any, commands_from: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commands_from = commands_from

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands_from)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands_from:
            return None
        module, _, name = self.commands_from[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.commands_from.items()])

    def invoke(self, ctx: click.Context) -> Any:
        ctx.color = wants_color()
        try:
            return super().invoke(ctx)
        except click.UsageError as error:  # it quotes what was typed
            raise click.UsageError(plain_lines(error.format_message()), error.ctx) from None
        except OnwardError as error:
            complain(error)
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            _drop_output()
            tell(f"what was to be said could not be written: {error.strerror}")
            ctx.exit(FAILED)


def _drop_output() -> None:
    """Forget what could not be written: Python would try once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def exit_code(error: OnwardError) -> int:
    """The exit code that stands for an error."""
    if isinstance(error, (RunNotFound, QueueNotFound, ScheduleNotFound, NoJournal)):
        return NOT_FOUND
    if isinstance(error, (AlreadyRunning, *PASSING)):
        return BUSY
    # Where the journal is not, or is damaged, trying again later is in vain.
    return USAGE if isinstance(error, (UsageError, JournalUnusable)) else FAILED


def complain(error: OnwardError) -> None:
    """One sentence on stderr."""
    text = str(error)
    tell(plain_lines(text if len(text) <= _SENTENCE else text[: _SENTENCE - 1] + "…"))


def tell(message: str) -> None:
    """A message to the person; data goes to stdout."""
    click.echo(f"onward: {message}", err=True)


def wants_color() -> bool | None:
    """What the environment says of colours; None leaves it to whether the output is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return False if os.environ.get("TERM") == "dumb" else None
