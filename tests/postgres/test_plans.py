"""What the server does for a claim costs as much as what is ready, however many runs there are beside it."""

from __future__ import annotations

import pytest

from onward.core.model import Claim
from onward.storage.postgres.delivery import Delivery
from onward.storage.postgres.shelf import reads
from onward.storage.postgres.sql import statements
from postgres.conftest import Open
from postgres.server import Server

_KINDS = {
    "ready": ("text[], text[], bigint", "'{}', '{w}', 100", "run_ready"),
    "ready_limited": ("text[], text[], bigint", "'{}', '{w}', 100", "run_ready"),
    "due": ("text[], text[], bigint, double precision", "'{}', '{w}', 100, 5", "run_due"),
    "due_limited": ("text[], text[], bigint, double precision", "'{}', '{w}', 100, 5", "run_due"),
    "claim_plain": (
        "text[], text[], bigint, double precision, text, double precision",
        "'{}', '{w}', 0, 5, 'me', 35",
        "run_ready",
    ),
    "next_due": ("text[], text[], double precision", "'{}', '{w}', 5", "run_due"),
}


@pytest.mark.parametrize("name", _KINDS)
def test_a_plan_that_is_made_for_few_runs_is_good_for_many(
    open_store: Open, postgres_server: Server, schema: str, name: str
) -> None:
    """A claim's plan was made while the journal was small: it took all runs of the workflow, those that have long ended
    among them, to sort the few that were ready; for as long as the worker's connection lasted.
    """
    open_store()
    sql = statements(schema)
    kinds, values, index = _KINDS[name]
    claim = Claim("me", 30.0, ("w",))
    delivery = Delivery({})
    delivery.add(claim)
    asked = [step for step, _ in (delivery.claiming(5.0) if name == "claim_plain" else reads(claim, 5.0))]
    with postgres_server.connect() as connection:

        def add(state: str, count: int, wake_at: str = "NULL") -> None:
            connection.execute(
                f'INSERT INTO "{schema}".run (kind, name, direct, state, fence, wake_at, queue, stalls, claimed_seq, '
                f"done, counted_seq, created_at, updated_at, priority, attempt, id, identity) SELECT 'workflow', 'w', "
                f"false, '{state}', 0, {wake_at}, 'q', 0, -1, 0, -1, 1, 1, 0, 0, gen_random_uuid(), i "
                f"FROM generate_series(1, {count}) AS i".encode()
            )

        # As many as make the index of what is ready, or due, higher than that of names.
        add(*(("pending", 240) if index == "run_ready" else ("waiting", 240, "9.0")))
        connection.execute(sql["session"].encode())
        connection.execute("BEGIN")
        for step in asked[: asked.index(name)]:
            if step.endswith("sorted"):
                connection.execute(sql[step].encode())
        connection.execute(f"PREPARE claim ({kinds}) AS {sql[name]}".encode())
        for _ in range(7):  # from the sixth on it is one for all values
            connection.execute(f"EXECUTE claim ({values})".encode())
        add("done", 3_000)
        add("pending", 3_000)
        add("waiting", 3_000, "9.0")
        plan = connection.execute(f"EXPLAIN EXECUTE claim ({values})".encode()).fetchall()
    lines = [line for (line,) in plan]
    assert any(f"using {index} on" in line for line in lines), plan
    assert not any("run_name" in line or "run_listed" in line for line in lines), plan
    assert sum("Tid Scan" in line for line in lines) == (2 if name == "claim_plain" else 0), plan
