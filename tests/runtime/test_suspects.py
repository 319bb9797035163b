"""Who may be executed beside whom after a death that several units were in."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from onward.runtime.suspects import Suspects

A, B, C = "gather#1/0 > a#1", "gather#1/1 > b#1", "gather#1/2 > c#1"


def test_two_suspects_take_turns() -> None:
    suspects = Suspects([A, B])
    assert suspects.enter(A)
    assert not suspects.enter(B)
    suspects.leave(A)
    assert suspects.enter(B)


def test_nothing_begins_beside_a_suspect() -> None:
    suspects = Suspects([A])
    assert suspects.enter(A)
    assert not suspects.enter(C)
    suspects.leave(A)
    assert suspects.enter(C)


def test_a_suspect_waits_for_what_is_in_flight_and_nothing_new_goes_ahead_of_it() -> None:
    suspects = Suspects([A])
    assert suspects.enter(B)
    assert not suspects.enter(A)
    assert not suspects.enter(C)
    suspects.leave(B)
    assert not suspects.enter(C)
    assert suspects.enter(A)


def test_the_parts_of_what_a_suspect_waits_for_go_on() -> None:
    suspects = Suspects([A])
    assert suspects.enter(B)
    assert not suspects.enter(A)
    assert suspects.enter(f"{B} > inner#1")


def test_what_has_a_suspect_inside_goes_alone_until_that_one_has_its_outcome() -> None:
    """Two items whose inner steps are suspects would wait for each other for ever otherwise."""
    inner_a, inner_b = f"{A} > inner#1", f"{B} > inner#1"
    suspects = Suspects([inner_a, inner_b])
    assert suspects.enter(A)
    assert not suspects.enter(B)
    assert suspects.enter(inner_a)
    suspects.leave(inner_a)
    assert not suspects.enter(B)  # it needs to be alone itself, and A is still in flight
    assert suspects.enter(f"{A} > inner#2")
    suspects.leave(f"{A} > inner#2")
    suspects.leave(A)
    assert suspects.enter(B)
    assert suspects.enter(inner_b)


def test_suspects_inside_of_one_unit_take_turns_too() -> None:
    first, second = f"{A} > gather#1/0 > x#1", f"{A} > gather#1/1 > y#1"
    suspects = Suspects([first, second])
    assert suspects.enter(A)
    assert suspects.enter(first)
    assert not suspects.enter(second)
    assert not suspects.enter(f"{A} > gather#1/2 > z#1")
    suspects.leave(first)
    assert suspects.enter(second)


def test_a_suspect_that_has_lived_is_none_any_more() -> None:
    suspects = Suspects([A])
    assert suspects.enter(A)
    suspects.leave(A)
    assert suspects.enter(A)
    assert suspects.enter(B)


def test_whoever_gives_up_waiting_is_not_waited_for() -> None:
    suspects = Suspects([A])
    assert suspects.enter(B)
    assert not suspects.enter(A)
    suspects.leave(A)
    assert suspects.enter(C)


@given(st.data())
def test_all_come_through_and_no_suspect_has_company(data: st.DataObject) -> None:
    """A tree of branches, each a sequence of units that may have branches of their own, stepped in any order."""
    tree = {
        f"g#1/{n} > u#{m}": [f"g#1/{n} > u#{m} > g#1/{k} > v#1" for k in range(2)]
        for n in range(3)
        for m in (1, 2)
    }
    everything = [*tree, *(part for parts in tree.values() for part in parts)]
    suspected = data.draw(st.sets(st.sampled_from(everything), min_size=1))
    suspects = Suspects(suspected)
    todo = {n: [f"g#1/{n} > u#{m}" for m in (1, 2)] for n in range(3)}  # by branch
    flying: dict[str, list[str]] = {}  # units in flight, and the parts they still have to do
    parts_flying: set[str] = set()
    lived: set[str] = set()
    for _ in range(2_000):
        if not flying and not any(todo.values()):
            break
        moves = [("begin", branch[0]) for branch in todo.values() if branch and branch[0] not in flying]
        moves += [("part", part) for parts in flying.values() for part in parts if part not in parts_flying]
        moves += [("end part", part) for part in parts_flying]
        moves += [("end", unit) for unit, parts in flying.items() if not parts]
        moved = False
        for what, key in data.draw(st.permutations(moves)):
            if what == "begin" and suspects.enter(key):
                flying[key] = list(tree[key])
            elif what == "part" and suspects.enter(key):
                parts_flying.add(key)
            elif what == "end part":
                suspects.leave(key)
                lived.add(key)
                parts_flying.discard(key)
                flying[key.rpartition(" > g#")[0]].remove(key)
            elif what == "end":
                suspects.leave(key)
                lived.add(key)
                del flying[key]
                todo[int(key[4])].remove(key)
            else:
                continue
            moved = True
            for one in (suspected - lived) & (set(flying) | parts_flying):
                company = (set(flying) | parts_flying) - {one}
                assert all(one.startswith(f"{c} > ") or c.startswith(f"{one} > ") for c in company)
            break
        assert moved, "they wait for each other"
    assert lived == set(everything)
