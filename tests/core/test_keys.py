"""Keys name units by their place in the code; what no longer fits its record is noticed."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.core import keys, limits
from onward.core.errors import UsageError
from onward.core.keys import Scope, checked, divergence, repeated
from onward.core.model import Entry

names = st.text(st.characters(categories=("L", "N"), include_characters="_.-"), min_size=1, max_size=12)


def test_calls_of_one_name_are_counted_and_other_names_do_not_matter() -> None:
    scope = Scope()
    assert [scope.next(name) for name in ("fetch", "parse", "fetch", "fetch", "parse")] == [
        "fetch#1",
        "parse#1",
        "fetch#2",
        "fetch#3",
        "parse#2",
    ]


def test_a_given_key_stands_beside_the_counted_ones() -> None:
    scope = Scope()
    assert scope.named("fetch", "home") == "fetch/home"
    assert scope.next("fetch") == "fetch#1"


def test_the_scope_inside_a_unit_begins_with_its_key() -> None:
    inner = Scope().inner("each/rome")
    assert inner.next("fetch") == "each/rome > fetch#1"
    assert inner.inner("each/rome > fetch#1").named("get", "x") == "each/rome > fetch#1 > get/x"


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), names)))
def test_no_two_calls_of_a_program_share_a_key(calls: list[tuple[str, str]]) -> None:
    scopes = {"a": Scope().inner("a#1"), "b": Scope().inner("b#1")}
    made = [scopes[where].next(name) for where, name in calls]
    assert len(set(made)) == len(made)


@given(st.lists(names), st.randoms(use_true_random=False))
def test_keys_of_a_name_do_not_depend_on_the_order_of_other_calls(called: list[str], chance) -> None:
    first, second = Scope(), Scope()
    before = [first.next(name) for name in called]
    shuffled = list(called)
    chance.shuffle(shuffled)
    assert sorted(before) == sorted(second.next(name) for name in shuffled)


def test_scopes_without_end_are_refused() -> None:
    scope = Scope()
    for _ in range(limits.SCOPE_DEPTH):
        scope = scope.inner(scope.next("again"))
    with pytest.raises(UsageError, match="calls itself without end"):
        scope.inner(scope.next("again"))


@pytest.mark.parametrize(
    "key", ["", "x" * (limits.KEY_CHARS + 1), "a > b", "line\nbreak", "nul\0", "\x1b[31m"]
)
def test_what_cannot_stand_as_a_key_is_refused(key: str) -> None:
    with pytest.raises(UsageError, match="key"):
        checked(key)


@pytest.mark.parametrize("key", [1, None, b"x", 1.5, ("a",)])
def test_a_key_is_a_str(key) -> None:
    with pytest.raises(UsageError, match=f"not a {type(key).__qualname__}; nothing was executed"):
        checked(key)


@pytest.mark.parametrize("key", ["a", "x" * limits.KEY_CHARS, "Zürich 8001", "a>b", "~2", "#1", "漢字"])
def test_any_other_text_is_a_key_as_it_is(key: str) -> None:
    assert checked(key) == key


def test_the_first_of_equal_items_has_the_plain_key() -> None:
    assert [repeated("each/a", n) for n in (1, 2, 3)] == ["each/a", "each/a~2", "each/a~3"]


# -- divergence -------------------------------------------------------------------------------------

DONE = Entry("fetch#1", "step", "done", "fetch", b"one")
HASH_OF_SEVEN = blake2b(b'{"$t":"tuple","v":[7]}', digest_size=8).digest()


@pytest.mark.parametrize(
    ("entry", "kind", "name", "fingerprint", "diverges"),
    [
        (DONE, "step", "fetch", b"one", False),
        (DONE, "step", "fetch", b"two", True),
        (DONE, "step", "parse", b"one", True),
        (DONE, "child", "fetch", b"one", True),
        # Without a fingerprint on one side there is nothing to compare.
        (DONE, "step", "fetch", None, False),
        (DONE._replace(fingerprint=None), "step", "fetch", b"two", False),
        # One small number is its own fingerprint; it was hashed before.
        (DONE._replace(fingerprint=HASH_OF_SEVEN), "step", "fetch", b"7", False),
        (DONE._replace(fingerprint=HASH_OF_SEVEN), "step", "fetch", b"8", True),
        # A failed entry binds to new arguments, but not to another function.
        (DONE._replace(state="failed"), "step", "fetch", b"two", False),
        (DONE._replace(state="failed"), "step", "parse", b"one", True),
        (DONE._replace(state="failed"), "sleep", "fetch", b"one", True),
    ],
)
def test_a_record_serves_only_the_call_that_it_was_made_for(
    entry: Entry, kind: str, name: str, fingerprint: bytes | None, diverges: bool
) -> None:
    assert (divergence(entry, kind, name, fingerprint) is not None) == diverges


def test_divergence_tells_what_is_recorded_and_what_is_asked_for() -> None:
    assert divergence(DONE, "step", "parse", b"one") == ("step `fetch`", "step `parse`")
    found = divergence(DONE, "step", "fetch", b"two")
    assert found == ("step `fetch` with other arguments", "step `fetch` with these arguments")


def test_the_separator_cannot_come_from_a_name_that_was_given() -> None:
    with pytest.raises(UsageError):
        Scope().named("fetch", f"a{keys.SEPARATOR}b")
