"""In a real kernel of a notebook: one display for each pass, updated in place."""

from collections.abc import Iterator

import pytest

from surfaces.kernel import Kernel, Message, said


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    made = Kernel(tmp_path_factory.mktemp("notebook"), ONWARD_URL="sqlite:///journal.db")
    yield made
    made.end()


def displays(found: list[Message]) -> list[tuple[str, str, dict[str, str]]]:
    """The displays of a cell: what came, the display's id, what it shows."""
    return [
        (kind, content["transient"].get("display_id", ""), content["data"])
        for kind, content in found
        if kind in ("display_data", "update_display_data")
    ]


def test_a_pass_has_one_display_that_is_updated_in_place(notebook: Kernel) -> None:
    found = notebook.cell(
        "import onward, time\nfor n in onward.each(range(30), name='<b>slow</b>'):\n    time.sleep(0.05)\n"
    )
    shown = displays(found)
    assert [kind for kind, _, _ in shown[:2]] == ["display_data", "update_display_data"]
    assert len({display_id for _, display_id, _ in shown}) == 1
    first, last = shown[0][2], shown[-1][2]
    assert "of 30" in first["text/plain"]
    assert '<progress value="' in first["text/html"]
    assert "&lt;b&gt;slow&lt;/b&gt;" in first["text/html"], "a name is text, not HTML"
    assert "finished, 30 done" in last["text/plain"]
    assert "finished, 30 done" in last["text/html"]
    assert "\x1b[2K" not in said(found)
    assert "30 done" not in said(found), "the end is said once"


def test_a_short_pass_says_a_line_and_displays_nothing(notebook: Kernel) -> None:
    found = notebook.cell("for n in onward.each(range(3), name='short'):\n    pass\n")
    assert displays(found) == []
    assert "onward: short: finished, 3 done" in said(found)


def test_an_interrupted_cell_is_continued_by_the_same_cell(notebook: Kernel) -> None:
    code = (
        "done = []\nfor n in onward.each(range(6), name='cell'):\n"
        "    if n == 3 and {stop}: raise KeyboardInterrupt\n    done.append(n)\n"
    )
    first = notebook.cell(code.format(stop=True))
    assert "stopped after" in said(first)
    assert "the same call continues there" in said(first), "no command would start this notebook again"
    notebook.cell(code.format(stop=False))
    assert "[3, 4, 5]" in said(notebook.cell("print(done)"))


def test_a_map_is_displayed_too(notebook: Kernel) -> None:
    found = notebook.cell(
        "print(len(list(onward.map(lambda n: time.sleep(0.05) or n, range(40), name='mapped', concurrency=2))))\n"
    )
    assert "40" in said(found)
    assert "finished, 40 done" in displays(found)[-1][2]["text/plain"]


def test_a_quiet_notebook_shows_nothing(notebook: Kernel) -> None:
    notebook.cell("import os; os.environ['ONWARD_QUIET'] = '1'")
    found = notebook.cell("for n in onward.each(range(20), name='quiet'):\n    time.sleep(0.05)\n")
    assert displays(found) == []
    assert said(found) == ""
    notebook.cell("del os.environ['ONWARD_QUIET']")
