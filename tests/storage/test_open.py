"""From URLs to journals: what is understood, what is refused, and what is never shown."""

import subprocess
import sys
from pathlib import Path

import pytest

from onward.core.errors import JournalBusy, JournalUnusable
from onward.storage.memory import MemoryStore
from onward.storage.open import open_store
from onward.storage.sqlite.store import SqliteStore
from onward.storage.urls import masked
from postgres.server import free_port
from storage.rows import opened


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "url", ["sqlite:///a/j.db", "a/j.db", "./a/j.db", "sqlite:////{here}/a/j.db", "{here}/a/j.db"]
)
def test_a_file_is_named_by_url_or_path(tmp_path: Path, url: str) -> None:
    store = open_store(url.format(here=str(tmp_path).lstrip("/") if "////" in url else tmp_path))
    assert isinstance(store, SqliteStore)
    assert store.place == str(tmp_path / "a" / "j.db")
    store.close()


def test_a_url_path_may_hold_any_character_when_quoted(tmp_path: Path) -> None:
    store = open_store("sqlite:///j%20%3F%23.db")
    assert store.place == str(tmp_path / "j ?#.db")
    store.close()


def test_a_relative_path_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store("j.db")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    opened(store)
    assert store.run("r") is not None
    store.close()
    assert not (tmp_path / "other" / "j.db").exists()


def test_a_journal_in_memory_is_fresh_unless_it_has_a_name() -> None:
    assert isinstance(open_store("memory:"), MemoryStore)
    assert open_store("memory:") is not open_store("memory:")
    orders = open_store("memory:orders")
    assert open_store("memory:orders") is orders
    assert open_store("memory:others") is not orders


def test_what_is_durable_is_chosen_at_opening(tmp_path: Path) -> None:
    """2 is FULL: the log is synced before a commit returns; 1 is NORMAL."""
    for durability, level in (("machine", 2), ("process", 1)):
        store = SqliteStore(tmp_path / f"{durability}.db", durability=durability)  # type: ignore[arg-type]
        assert store._writer.pragma("synchronous") == level
        assert store._writer.pragma("journal_mode") == "wal"
        assert store._writer.pragma("wal_autocheckpoint") == 0
        store.close()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_database_that_is_not_there_is_told_in_a_sentence_that_hides_the_password(scheme: str) -> None:
    with pytest.raises(JournalBusy, match=r"cannot be opened .* Check that the server runs there") as caught:
        open_store(f"{scheme}://ada:s3cret@127.0.0.1:{free_port()}/app")
    assert "s3cret" not in str(caught.value)
    assert "postgresql://ada@127.0.0.1" in str(caught.value)


def test_without_its_driver_a_journal_in_postgresql_names_the_extra() -> None:
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from onward.storage.open import open_store\n"
        "open_store('postgresql://ada:s3cret@db/app')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith("onward.core.errors.JournalUnusable: postgresql://ada:***@db/app: ")
    assert said.endswith('pip install "onward[postgres]"')


@pytest.mark.parametrize(
    "url",
    [
        "",
        "journal",
        "mysql://ada:s3cret@db/app",
        "sqlite://",
        "sqlite:///",
        "sqlite:journal.db",
        "sqlite:///a%00b",
    ],
)
def test_what_names_no_journal_is_refused_with_what_would(tmp_path: Path, url: str) -> None:
    with pytest.raises(JournalUnusable, match="names no journal") as caught:
        open_store(url)
    assert "s3cret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("query", ["forse-network=1", "force-network=yes", "mode=ro", "password=s3cret"])
def test_an_option_that_is_not_known_is_refused(tmp_path: Path, query: str) -> None:
    with pytest.raises(
        JournalUnusable, match=r"is not understood.*force-network=1 and force-sqlite=1"
    ) as caught:
        open_store(f"sqlite:///j.db?{query}")
    assert "s3cret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("postgresql://ada@db/app", "postgresql://ada@db/app"),
        ("postgresql://ada:p%40ss:w@rd@db/app", "postgresql://ada:***@db/app"),
        ("postgresql://:pw@db/app", "postgresql://:***@db/app"),
        ("postgresql://db/app?user=a&password=pw&x=1", "postgresql://db/app?user=a&password=***&x=1"),
        ("postgresql://db/app?PASSWORD=pw#f", "postgresql://db/app?PASSWORD=***#f"),
        ("postgresql://ada:pa/ss#w@db/app?schema=a", "postgresql://ada:***@db/app?schema=a"),
    ],
)
def test_secrets_in_urls_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown
