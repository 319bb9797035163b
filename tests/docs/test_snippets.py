"""Every snippet of the README and of docs/ does what the page says. How a page marks its snippets: snippets.py."""

from pathlib import Path

import pytest

from docs.snippets import Snippet, run, snippets

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SNIPPETS = [
    snippet
    for page in PAGES
    if page.exists()
    for snippet in snippets(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.name)
def test_a_snippet_does_what_its_page_says(snippet: Snippet, tmp_path: Path) -> None:
    if snippet.no_run:
        pytest.skip(snippet.no_run)
    run(snippet, tmp_path)


@pytest.mark.important
def test_some_snippets_of_the_readme_are_run() -> None:
    assert [snippet for snippet in SNIPPETS if snippet.page == "README.md" and not snippet.no_run]
