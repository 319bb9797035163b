"""How a journal in PostgreSQL is opened: first starts, roles, layouts, and what is said when it cannot be."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onward.core.errors import JournalBroken, JournalBusy, JournalError, JournalUnusable
from onward.core.model import Applied, Change, Owner
from onward.storage.postgres import layout
from onward.storage.postgres.address import parsed
from onward.storage.postgres.store import PostgresStore
from postgres.conftest import Open
from postgres.server import Server, server
from storage.rows import a_run, entry, opened, recorded

pytestmark = pytest.mark.important


@pytest.fixture
def runner(postgres_server: Server, schema: str) -> Iterator[str]:
    """A role with the rights that docs/postgresql.md names, and no others."""
    server = postgres_server
    PostgresStore(server.url(schema=schema)).close()
    server.execute("DO $$ BEGIN CREATE ROLE runner LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    for statement in granted():
        server.execute(re.sub(r"\bonward\b", f'"{schema}"', statement).replace("onward_runner", "runner"))
    yield "runner"
    server.execute("ALTER ROLE runner RESET ALL")


def granted() -> list[str]:
    """What docs/postgres.md gives to a role that may only work."""
    page = (Path(__file__).parents[2] / "docs" / "postgres.md").read_text("utf-8")
    [block] = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    return [one for one in block.strip().split(";") if one.strip() and "CREATE ROLE" not in one]


def refused(url: str, match: str) -> str:
    with pytest.raises(JournalUnusable, match=match) as caught:
        PostgresStore(url)
    return str(caught.value)


def test_many_first_starts_at_once_make_one_journal(open_store: Open) -> None:
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda _: open_store(), range(8)))
    run = opened(stores[0])
    assert all(store.run("r") == run for store in stores)


def test_a_role_without_rights_to_alter_anything_can_do_all_the_work(
    open_store: Open, runner: str, postgres_server: Server, schema: str
) -> None:
    store = open_store(user=runner)
    run = opened(store)
    recorded(store, run, entry("a"), begun=())
    assert store.renew("me", 99.0) == [(run.no, None)]
    assert isinstance(store.add_run(a_run("far"), [entry("a")], []), Applied)
    assert list(store.problems()) == []
    store.delete(run.no)
    with pytest.raises(Exception, match="permission denied"):
        postgres_server.execute(f'SET ROLE runner; CREATE TABLE "{schema}".x ()')


def test_a_role_that_may_not_create_the_journal_is_told_so(
    postgres_server: Server, runner: str, schema: str
) -> None:
    said = refused(postgres_server.url(user=runner, schema=f"{schema}x"), "does not exist yet")
    assert "the role `runner` could not bring it to layout" in said
    assert "GRANT CREATE ON DATABASE" in said
    assert postgres_server.execute(f"SELECT FROM pg_namespace WHERE nspname = '{schema}x'") == []


def test_a_role_that_lost_its_rights_is_told_what_it_lacks(
    open_store: Open, runner: str, postgres_server: Server, schema: str
) -> None:
    store = open_store(user=runner)
    run = opened(store)
    postgres_server.execute(f'REVOKE INSERT ON "{schema}".entry FROM runner')
    with pytest.raises(JournalUnusable, match=r"lacks a right .permission denied for table entry"):
        recorded(store, run, entry("a"))


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooler"])
def test_objects_on_a_hostile_search_path_are_not_used(
    request: pytest.FixtureRequest,
    open_store: Open,
    runner: str,
    postgres_server: Server,
    schema: str,
    pooled: bool,
) -> None:
    """Whoever could create functions and operators on the path of a role had them called by it."""
    evil = f"evil{schema}"
    port = request.getfixturevalue("pooler_port") if pooled else None
    for statement in (
        f'CREATE SCHEMA "{evil}"',
        f'GRANT USAGE ON SCHEMA "{evil}" TO runner',
        f"""CREATE FUNCTION "{evil}".eq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'hijacked'; END $$""",
        f'CREATE OPERATOR "{evil}".= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = "{evil}".eq)',
        *(
            f"""CREATE FUNCTION "{evil}".{name} RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RAISE 'hijacked'; END $$"""
            for name in ("cardinality(bigint[])", "pg_advisory_xact_lock(bigint)", "nextval(regclass)")
        ),
        f'ALTER ROLE runner SET search_path = "{evil}", pg_catalog',
    ):
        postgres_server.execute(statement)
    store = open_store(user=runner, port=port)
    run = opened(store)
    recorded(store, run, entry("a"))
    recorded(store, run, entry("b"))
    store.commit([Change(run.no, 1, (entry("c"),), ended=("c",)), Change(run.no, 1, (entry("d"),))])
    assert [e.key for e in store.entries(run.no)] == ["a", "b", "c", "d"]
    assert store.renew("me", 99.0) == [(run.no, None)]


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooler"])
def test_a_role_whose_commits_are_not_synced_gets_synced_ones_all_the_same(
    request: pytest.FixtureRequest, open_store: Open, runner: str, postgres_server: Server, pooled: bool
) -> None:
    postgres_server.execute("ALTER ROLE runner SET synchronous_commit = off")
    port = request.getfixturevalue("pooler_port") if pooled else None
    store = open_store(user=runner, port=port)
    link = store._line.link(float("inf"))
    [facts] = link.all(("begin", ()), ("facts", ()), ("commit", ()))[1]
    assert facts[1] == "on"


def test_a_server_that_syncs_nothing_is_said_aloud(schema: str) -> None:
    with tempfile.TemporaryDirectory(prefix="onward-pg-") as folder:
        Path(folder).chmod(0o755)
        with server(Path(folder) / "server", fsync="off", full_page_writes="off") as weak:
            store = PostgresStore(weak.url(schema=schema))
            assert "fsync and full_page_writes off: what was acknowledged may be lost" in store.doubts[0]
            store.close()


def test_a_pooler_is_noticed_and_can_be_told(postgres_server: Server, pooler_port: int, schema: str) -> None:
    for port, query, direct in [
        (None, {}, True),
        (pooler_port, {}, False),
        (None, {"pooler": "1"}, False),
        (None, {"pooler": "0"}, True),
    ]:
        store = PostgresStore(postgres_server.url(port=port, schema=schema, **query))
        assert store._line.link(float("inf")).direct is direct
        store.close()


# -- what cannot be opened ------------------------------------------------------------------------------


def test_a_newer_layout_is_refused_and_left_alone(postgres_server: Server, schema: str) -> None:
    PostgresStore(postgres_server.url(schema=schema)).close()
    postgres_server.execute(f"""UPDATE "{schema}".meta SET value = '99' WHERE name = 'version'""")
    refused(postgres_server.url(schema=schema), "has layout 99, this version of onward knows layouts up to")
    assert postgres_server.execute(f'SELECT value FROM "{schema}".meta') == [("99",)]


def test_a_newer_layout_that_has_only_added_to_ours_is_used_as_it_is(
    open_store: Open, postgres_server: Server, schema: str
) -> None:
    open_store().close()
    postgres_server.execute(f"""UPDATE "{schema}".meta SET value = '99' WHERE name = 'version'""")
    postgres_server.execute(f"""INSERT INTO "{schema}".meta VALUES ('least', '{layout.VERSION}')""")
    store = open_store()
    recorded(store, opened(store), entry("a"))
    assert set(postgres_server.execute(f'SELECT name, value FROM "{schema}".meta')) == {
        ("version", "99"),
        ("least", str(layout.VERSION)),
    }
    postgres_server.execute(f"""UPDATE "{schema}".meta SET value = '99' WHERE name = 'least'""")
    refused(postgres_server.url(schema=schema), "has layout 99, this version of onward knows layouts up to")
    store.register(Owner("me", "here", "boot", 1, "job", 1.0))
    with pytest.raises(JournalBroken, match="Update onward here"):  # whoever is at work hears of it in time
        store.renew("me", 99.0)


def test_tables_of_another_program_are_not_touched(postgres_server: Server, schema: str) -> None:
    postgres_server.execute(f'CREATE SCHEMA "{schema}" CREATE TABLE run (id int)')
    refused(postgres_server.url(schema=schema), "has tables of another program")
    assert postgres_server.execute(f'SELECT * FROM "{schema}".run') == []


def test_an_empty_schema_is_used(postgres_server: Server, schema: str) -> None:
    postgres_server.execute(f'CREATE SCHEMA "{schema}"')
    store = PostgresStore(postgres_server.url(schema=schema))
    opened(store)
    store.close()


def test_a_journal_that_is_only_looked_for_is_not_created(postgres_server: Server, schema: str) -> None:
    with pytest.raises(JournalUnusable, match="there is no journal"):
        PostgresStore(postgres_server.url(schema=schema), create=False)
    assert postgres_server.execute(f"SELECT FROM pg_namespace WHERE nspname = '{schema}'") == []


def test_a_database_that_takes_no_writes_is_refused(
    postgres_server: Server, runner: str, schema: str
) -> None:
    postgres_server.execute("ALTER ROLE runner SET default_transaction_read_only = on")
    refused(postgres_server.url(user=runner, schema=schema), "is read-only here")


def test_a_database_that_cannot_hold_every_text_is_refused(postgres_server: Server, schema: str) -> None:
    name = f"latin_{schema}"
    postgres_server.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    refused(postgres_server.url(database=name, schema=schema), "has the encoding LATIN1")
    postgres_server.execute(f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"database": "nowhere"}, r'database "nowhere" does not exist.*Create it \(`createdb`\)'),
        ({"user": "nobody_here"}, 'role "nobody_here" does not exist.*createuser'),
        ({"sslmode": "require"}, "server does not support SSL.*sslmode"),
    ],
)
def test_what_the_server_refuses_is_told_with_its_cure(
    postgres_server: Server, change: dict[str, str], match: str
) -> None:
    refused(postgres_server.url(**change), match)  # type: ignore[arg-type]


def test_a_server_that_is_down_is_told(postgres_server: Server) -> None:
    """It may be there a moment later, so it is an error of the kind that passes."""
    with pytest.raises(JournalBusy, match=r"Connection refused.*Check that the server runs there"):
        PostgresStore(postgres_server.url(port=1))


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("postgresql://ada:s3cret@db/app?schema=Bad-Name", "is no name for the journal's schema"),
        ("postgresql://ada:s3cret@db/app?schema=pg_x", "is no name for the journal's schema"),
        ("postgresql://ada:s3cret@db/app?pooler=yes", "pooler is 1 or 0"),
        ("postgresql://ada:s3cret@db/app?colour=red", "`colour` is not understood"),
        ("postgresql://ada:s3c%ret@db/app", "no URL that libpq understands"),
        ("postgresql://ada:s3cret/x@db/app", "no URL that libpq understands"),
        ("postgresql:ada:s3cret@db", "names no journal"),
    ],
)
def test_a_wrong_url_is_told_and_no_password_is_shown(url: str, match: str) -> None:
    said = refused(url, match)
    assert "s3c" not in said
    assert "ret/x" not in said


def test_places_are_urls_without_passwords() -> None:
    for url, place in [
        ("postgres://ada:pw@db:5433/app?sslmode=require", "postgresql://ada@db:5433/app"),
        ("postgresql+psycopg://ada:pw@db/app?schema=jobs", "postgresql://ada@db/app?schema=jobs"),
        ("postgresql:///app?host=/run/pg&password=pw", "postgresql:///app?host=/run/pg"),
        ("postgresql://db/app?user=ada&password=pw", "postgresql://ada@db/app"),
    ]:
        address = parsed(url)
        assert address.place == place
        assert address.scrubbed("it was pw") == "it was ***"


def test_a_dropped_schema_breaks_the_journal_with_a_sentence(
    open_store: Open, postgres_server: Server, schema: str
) -> None:
    store = open_store()
    run = opened(store)
    postgres_server.execute(f'DROP SCHEMA "{schema}" CASCADE')
    with pytest.raises(JournalError, match=r"tables of the journal .* are not as they were"):
        recorded(store, run, entry("a"))


def test_nothing_of_the_driver_is_imported_without_need() -> None:
    program = "import onward, onward.cli, sys; onward.connect('memory:'); sys.exit('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
