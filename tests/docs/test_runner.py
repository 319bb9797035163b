"""The snippet runner itself: what it takes for a snippet, and that it fails when a page is wrong."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from docs.snippets import SnippetError, matches, run, snippets


def page(*lines: str) -> str:
    return "\n".join(lines) + "\n"


def run_page(directory: Path, *lines: str, timeout_s: float = 20) -> None:
    for number, snippet in enumerate(snippets("page.md", page(*lines))):
        place = directory / str(number)
        place.mkdir()
        run(snippet, place, timeout_s=timeout_s)


def test_only_python_and_shell_blocks_are_snippets() -> None:
    found = snippets(
        "page.md", page("```python", "1", "```", "```text", "no", "```", "~~~sh", "true", "~~~", "```", "```")
    )
    assert [snippet.name for snippet in found] == ["page.md:2", "page.md:8"]


def test_a_block_inside_a_longer_fence_is_text() -> None:
    assert snippets("page.md", page("````markdown", "```python", "raise SystemExit(1)", "```", "````")) == []


def test_a_python_snippet_runs_as_a_script_in_its_own_directory(tmp_path: Path) -> None:
    run_page(tmp_path, "```python", "open('made', 'w').close()", "```", "", "```python", "x = 1", "```")
    assert (tmp_path / "0" / "made").exists()
    assert not (tmp_path / "1" / "made").exists()


def test_a_failing_python_snippet_is_reported_with_the_line_it_has_in_the_page(tmp_path: Path) -> None:
    with pytest.raises(
        SnippetError, match=r"page\.md:4: the script ended with exit code 1(?s:.*), line 5, in"
    ):
        run_page(tmp_path, "# Title", "", "```python", "x = 1", "x / 0", "```")


def test_a_block_that_continues_knows_the_names_of_the_one_before(tmp_path: Path) -> None:
    run_page(
        tmp_path,
        "```python",
        "x = 1",
        "```",
        "then",
        "<!-- continues -->",
        "",
        "```python",
        "assert x == 1",
        "```",
    )


def test_joined_blocks_run_once(tmp_path: Path) -> None:
    count = "print('run', file=open('runs', 'a'))"
    run_page(
        tmp_path,
        *("```python", count, "```", "<!-- continues -->", "```python", "x = 1", "```"),
        *("<!-- continues -->", "```console", "$ cat runs", "run", "```"),
    )


def test_a_block_that_continues_nothing_is_refused() -> None:
    with pytest.raises(SnippetError, match="no snippet before"):
        snippets("page.md", page("<!-- continues -->", "```python", "1", "```"))


def test_a_comment_counts_only_for_the_block_right_below_it() -> None:
    first, second = snippets(
        "page.md",
        page("<!-- no-run: needs a bank -->", "Text.", "```python", "1", "```", "```python", "2", "```"),
    )
    assert (first.no_run, second.no_run) == ("", "")


def test_a_block_marked_no_run_keeps_its_reason() -> None:
    (snippet,) = snippets("page.md", page("<!-- no-run: needs a bank -->", "", "```python", "1", "```"))
    assert snippet.no_run == "needs a bank"


def test_no_run_without_a_reason_is_refused() -> None:
    with pytest.raises(SnippetError, match="`no-run` needs something"):
        snippets("page.md", page("<!-- no-run -->", "```python", "1", "```"))


@pytest.mark.parametrize("language", ["py", "pycon", "zsh"])
def test_a_language_that_only_looks_as_if_it_were_run_is_refused(language: str) -> None:
    with pytest.raises(SnippetError, match=f"not ```{language}"):
        snippets("page.md", page(f"```{language}", "1", "```"))


@pytest.mark.parametrize("text", ["```python\n1\n", "<!-- no-run: x\n```python\n1\n```\n"])
def test_what_is_never_closed_is_refused(text: str) -> None:
    with pytest.raises(SnippetError, match="never closed"):
        snippets("page.md", text)


def test_lines_the_reader_need_not_see_run_ahead_of_the_block(tmp_path: Path) -> None:
    run_page(
        tmp_path,
        "<!-- before:",
        "venues = ['a']",
        "def scrape(venue): pass",
        "-->",
        "```python",
        "scrape(*venues)",
        "```",
    )


def test_a_block_saved_as_a_file_can_be_used_by_the_console_that_continues_it(tmp_path: Path) -> None:
    run_page(
        tmp_path,
        *("<!-- file: job.py -->", "```python", "print('hello')", "```"),
        *("<!-- continues -->", "```console", "$ python job.py", "hello", "```"),
    )


def test_a_file_outside_the_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnippetError, match="outside"):
        run_page(tmp_path, "<!-- file: ../../job.py -->", "```python", "1", "```")


def test_a_console_keeps_its_directory_and_variables_from_command_to_command(tmp_path: Path) -> None:
    run_page(
        tmp_path,
        *("```console", "$ mkdir place && cd place && export WHO=you", "$ echo $WHO in $(basename $PWD)"),
        *("you in place", "$ echo one \\", "> two", "one two", "```"),
    )


def test_a_console_that_prints_something_else_fails(tmp_path: Path) -> None:
    with pytest.raises(SnippetError, match=r"`echo no` printed\nno\nwhere the page says\nyes"):
        run_page(tmp_path, "```console", "$ echo no", "yes", "```")


def test_errors_are_part_of_the_output(tmp_path: Path) -> None:
    run_page(tmp_path, "```console", "$ echo oh >&2", "oh", "```")


@pytest.mark.parametrize("command", ["false", "exit 3", "echo 'unclosed"])
def test_a_command_that_fails_fails_the_snippet(tmp_path: Path, command: str) -> None:
    with pytest.raises(SnippetError, match="exit code"):
        run_page(tmp_path, "```console", f"$ {command}", "$ true", "```")


def test_a_console_without_a_command_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnippetError, match="starts with"):
        run_page(tmp_path, "```console", "make test", "```")


def test_a_shell_block_without_prompts_runs_whole_and_stops_at_its_failure(tmp_path: Path) -> None:
    with pytest.raises(SnippetError, match="exit code 1"):
        run_page(tmp_path, "```bash", "false", "true", "```")


def test_a_snippet_sees_no_settings_of_onward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONWARD_URL", "sqlite:///somewhere-else.db")
    run_page(tmp_path, "```python", "import os", "assert 'ONWARD_URL' not in os.environ", "```")


def test_a_snippet_that_hangs_is_stopped_with_all_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(SnippetError, match=r"not finished after 0\.5 s"):
        run_page(tmp_path, "```console", "$ sleep 30 & echo $! > pid; wait", "```", timeout_s=0.5)
    pid = (tmp_path / "0" / "pid").read_text().strip()
    while not is_dead(int(pid)):
        assert time.monotonic() - began < 10
        time.sleep(0.01)


def is_dead(pid: int) -> bool:
    """Also when nobody has collected its exit code yet, which is up to the machine's init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["done"], "done\n", True),
        (["done"], "done \n\n", True),
        (["done"], "done\nmore\n", False),
        (["run ... of 10"], "run 3 of 10\n", True),
        (["run ... of 10"], "run 3\n of 10\n", False),
        (["first", "...", "last"], "first\nlast\n", True),
        (["first", "...", "last"], "first\na\nb\nlast\n", True),
        (["first", "..."], "second\n", False),
        (["a.c"], "abc\n", False),
        (["..."], "", True),
        (["something"], "", False),
    ],
)
def test_output_is_compared_line_by_line_with_dots_for_anything(
    expected: list[str], printed: str, same: bool
) -> None:
    assert matches(expected, printed) is same


@pytest.mark.parametrize(
    ("body", "ci", "outcome"),
    [
        ("@pytest.mark.important\ndef test_x(): pytest.skip('no disk')", "true", "failed=1"),
        ("@pytest.mark.important\n@pytest.mark.xfail\ndef test_x(): assert False", "true", "failed=1"),
        ("@pytest.mark.important\ndef test_x(): pytest.skip('no disk')", "", "skipped=1"),
        ("def test_x(): pytest.skip('no disk')", "true", "skipped=1"),
        ("@pytest.mark.important\ndef test_x(): pass", "true", "passed=1"),
        ("pytest.skip('no disk', allow_module_level=True)", "true", "errors=1"),
    ],
    ids=[
        "important and skipped",
        "important and expected to fail",
        "skipped outside CI",
        "skipped but not important",
        "passed",
        "whole module skipped",
    ],
)
def test_in_ci_an_important_test_cannot_be_skipped(tmp_path: Path, body: str, ci: str, outcome: str) -> None:
    conftest = Path(__file__).resolve().parents[1] / "conftest.py"
    (tmp_path / "conftest.py").write_text(conftest.read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = important\n")
    (tmp_path / "test_it.py").write_text(f"import pytest\n\n{body}\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--junitxml=report.xml"]
    environment = {"PATH": "/usr/bin:/bin", "CI": ci}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    name, _, count = outcome.partition("=")
    report = (tmp_path / "report.xml").read_text()
    if name == "passed":
        assert done.returncode == 0
        assert 'tests="1"' in report
    else:
        assert f'{"failures" if name == "failed" else name}="{count}"' in report, done.stdout
