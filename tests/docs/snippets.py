"""Finds the snippets of a Markdown page and runs them as a reader would, in an empty directory.

A ```python block runs as a script. In a ```console block each line that starts with `$ ` runs in a shell, and the
lines below it are the output it must have, `...` standing for anything; without such lines any output will do.
A ```bash or ```sh block without `$ ` is a shell script. Every command must succeed. HTML comments above a block
change that for this block:

    <!-- no-run: reason -->    not run; the reason shows in the test report
    <!-- continues -->         joins the block before: Python in the same script, a console in its directory
    <!-- file: scrape.py -->   saved under this name instead of run, for a block that continues it
    <!-- before: ... -->       Python lines the reader need not see, run ahead of the block's own
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

TIMEOUT_S = 60
PYTHON = frozenset({"python"})
SHELL = frozenset({"console", "bash", "sh", "shell"})
# Names a reader's eye takes for the above; silently not run, they would rot.
MISTAKEN = {"py": "python", "python3": "python", "pycon": "python", "shell-session": "console", "zsh": "bash"}

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,}) *(?P<language>[\w+-]*)")
_COMMENT = re.compile(r"<!--\s*(?P<word>no-run|continues|file|before)\b:?(?P<rest>.*?)-->", re.DOTALL)
_MARK = "onward-snippet-exit"


class SnippetError(Exception):
    """A snippet that is written wrongly, or did not do what the page says."""


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text and the number of its first line of text."""

    language: str
    text: str
    line: int
    continues: bool = False
    no_run: str = ""
    file: str = ""
    before: str = ""


@dataclass
class Snippet:
    """Blocks that share a directory, in the order of the page."""

    page: str
    blocks: list[Block] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.page}:{self.blocks[0].line}"

    @property
    def no_run(self) -> str:
        """Why it is not run; empty when it is."""
        return next((block.no_run for block in self.blocks if block.no_run), "")


def snippets(page: str, markdown: str) -> list[Snippet]:
    """What of the page can be run, in its order. Raises SnippetError where the page cannot be understood."""
    found: list[Snippet] = []
    for block in _blocks(page, markdown):
        if block.language in MISTAKEN:
            raise SnippetError(
                f"{page}:{block.line}: write ```{MISTAKEN[block.language]}, not ```{block.language}"
            )
        if block.language not in PYTHON | SHELL and not block.file:
            continue
        if not block.continues:
            found.append(Snippet(page))
        elif not found:
            raise SnippetError(
                f"{page}:{block.line}: there is no snippet before this one that it could continue"
            )
        found[-1].blocks.append(block)
    return found


def run(snippet: Snippet, directory: Path, *, timeout_s: float = TIMEOUT_S) -> None:
    """Run it in `directory`. Raises SnippetError, naming page and line, when it fails or prints something else."""
    script = ""
    for block in snippet.blocks:
        where = f"{snippet.page}:{block.line}"
        if block.language in PYTHON and not block.file:
            script = _appended(script, block)
            continue
        if script:
            _run_python(script, directory, snippet.name, timeout_s)
            script = ""
        if block.file:
            _save(block, directory, where)
        else:
            _run_shell(block, directory, where, timeout_s)
    if script:
        _run_python(script, directory, snippet.name, timeout_s)


def _blocks(page: str, markdown: str) -> Iterator[Block]:
    lines = markdown.splitlines()
    above = ""  # the comments and empty lines since the last text
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence:
            start, number = number + 1, _end_of(fence, lines, number, page)
            text = dedent("\n".join(lines[start:number])) + "\n"
            yield _block(fence["language"].lower(), text, start + 1, above, page)
            above = ""
        elif lines[number].lstrip().startswith("<!--"):
            start = number
            while "-->" not in lines[number]:
                number += 1
                if number == len(lines):
                    raise SnippetError(f"{page}:{start + 1}: this comment is never closed")
            above += "\n".join(lines[start : number + 1]) + "\n"
        elif lines[number].strip():
            above = ""
        number += 1


def _end_of(fence: re.Match[str], lines: list[str], opened: int, page: str) -> int:
    closing = re.compile(rf"^ *{re.escape(fence['ticks'][0])}{{{len(fence['ticks'])},}} *$")
    for number in range(opened + 1, len(lines)):
        if closing.match(lines[number]):
            return number
    raise SnippetError(f"{page}:{opened + 1}: this block is never closed")


def _block(language: str, text: str, line: int, comments: str, page: str) -> Block:
    said = {match["word"]: match["rest"] for match in _COMMENT.finditer(comments)}
    for word in ("no-run", "file", "before"):
        if word in said and not said[word].strip():
            raise SnippetError(f"{page}:{line}: `{word}` needs something after its colon")
    return Block(
        language=language,
        text=text,
        line=line,
        continues="continues" in said,
        no_run=said.get("no-run", "").strip(),
        file=said.get("file", "").strip(),
        before=dedent(said.get("before", "")).strip("\n"),
    )


def _save(block: Block, directory: Path, where: str) -> None:
    path = (directory / block.file).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise SnippetError(f"{where}: {block.file} lies outside the snippet's directory")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_appended("", block, padded=False), encoding="utf-8")


def _appended(script: str, block: Block, *, padded: bool = True) -> str:
    """The script with the block at its end: on the line it has in the page, so that tracebacks name that line."""
    before = block.before + "\n" if block.before else ""
    lines = script.count("\n") + before.count("\n")
    padding = "\n" * max(0, block.line - 1 - lines) if padded else ""
    return script + before + padding + block.text


def _run_python(script: str, directory: Path, where: str, timeout_s: float) -> None:
    # Named after the page: a loop without a name takes its script's.
    path = directory / (re.sub(r"\W+", "_", where.rpartition(":")[0]) + ".py")
    path.write_text(script, encoding="utf-8")
    code, output = _execute([sys.executable, path.name], directory, where, timeout_s)
    if code != 0:
        raise SnippetError(f"{where}: the script ended with exit code {code} and this output:\n{output}")


def _run_shell(block: Block, directory: Path, where: str, timeout_s: float) -> None:
    commands = _commands(block)
    if not commands:
        if block.language == "console":
            raise SnippetError(f"{where}: no line of this console starts with `$ `")
        commands = [(f"set -e\n{block.text}", [])]
    # One shell for all, so that `cd` and `export` last; the mark separates the outputs.
    script = "".join(f"{command}\nprintf '\\n%s %s\\n' {_MARK} $?\n" for command, _ in commands)
    code, output = _execute(["bash", "-c", script], directory, where, timeout_s)
    results = re.findall(rf"(.*?)\n{_MARK} (\d+)\n", output, re.DOTALL)
    for position, (command, expected) in enumerate(commands):
        if position == len(results):
            raise SnippetError(f"{where}: the shell ended with exit code {code} in `{command}`:\n{output}")
        printed, status = results[position][0].strip("\n"), results[position][1]
        if status != "0":
            raise SnippetError(
                f"{where}: `{command}` ended with exit code {status} and this output:\n{printed}"
            )
        if expected and not matches(expected, printed):
            wanted = "\n".join(expected)
            raise SnippetError(f"{where}: `{command}` printed\n{printed}\nwhere the page says\n{wanted}")


def _commands(block: Block) -> list[tuple[str, list[str]]]:
    """Each command of a console with the lines of output below it."""
    commands: list[tuple[str, list[str]]] = []
    for line in block.text.rstrip("\n").split("\n"):
        if line.startswith("$ "):
            commands.append((line[2:], []))
        elif commands and not commands[-1][1] and commands[-1][0].endswith("\\"):
            commands[-1] = (f"{commands[-1][0]}\n{line.removeprefix('> ')}", [])
        elif commands:
            commands[-1][1].append(line)
        elif line.strip():
            return []
    return commands


def matches(expected: list[str], printed: str) -> bool:
    """Whether `printed` is what was expected; `...` is anything in a line, and any lines when alone in one.

    Spaces at the ends of lines and empty lines at either end do not count.
    """
    pattern = ""
    for line in "\n".join(expected).strip("\n").split("\n"):
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r".*?".join(re.escape(part) for part in line.rstrip().split("...")) + r"\n"
    lines = [line.rstrip() for line in printed.strip("\n").split("\n")]
    return re.fullmatch(pattern, "\n".join(lines) + "\n") is not None


def _execute(command: list[str], directory: Path, where: str, timeout_s: float) -> tuple[int, str]:
    """Exit code and everything printed; nothing the snippet started is left running."""
    with subprocess.Popen(
        command,
        cwd=directory,
        env=_environment(directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise SnippetError(f"{where}: not finished after {timeout_s:g} s") from None
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    return process.returncode, output


def _environment(directory: Path) -> dict[str, str]:
    """A reader's: nothing of onward is set, `python` and `onward` are those of the tests."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("ONWARD_", "PYTEST_"))
    }
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return inherited | {"PATH": programs, "HOME": str(directory), "NO_COLOR": "1", "PYTHONUTF8": "1"}
