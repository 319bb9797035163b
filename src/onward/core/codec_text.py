"""JSON trees as text: written as they are, or in the one way that does not depend on the order of dicts and sets.

A tree is what `codec_tree` makes of a value. What is kept is written in its own order and can be stored as UTF-8: lone
surrogates, which are no text, go in escaped and tagged. The canonical text serves only to compare and to hash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring
from typing import Any, Final

from onward.core.codec_files import MARK, by_path
from onward.core.codec_types import TAG, escaped, has_surrogates


def _writer(*, sort_keys: bool) -> Callable[[Any, int], Iterable[str]]:
    """Gives the pieces of a tree's text; its second argument is 0."""
    encoder = json.JSONEncoder(
        ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"), sort_keys=sort_keys
    )
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda plain, _: (encoder.encode(plain),)
    # What `JSONEncoder.encode` builds anew in every call, built once: 1 µs instead of 2 for a small value.
    return make(  # type: ignore[no-any-return]
        None,
        encoder.default,
        encode_basestring,
        None,
        ":",
        ",",
        sort_keys,
        encoder.skipkeys,
        encoder.allow_nan,
    )


_chunks: Final = _writer(sort_keys=False)
_sorted_chunks: Final = _writer(sort_keys=True)


def _dumps(plain: Any) -> str:
    return "".join(_chunks(plain, 0))


def _sorted_dumps(plain: Any) -> str:
    return "".join(_sorted_chunks(plain, 0))


def text_of(plain: Any) -> str:
    """In its own order."""
    text = _dumps(plain)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return _dumps(_without_surrogates(plain))
    return text


def _without_surrogates(plain: Any) -> Any:
    if type(plain) is str:
        return escaped(plain) if has_surrogates(plain) else plain
    if type(plain) is list:
        return [_without_surrogates(item) for item in plain]
    if type(plain) is not dict:
        return plain
    pairs = [[_without_surrogates(key), _without_surrogates(item)] for key, item in plain.items()]
    if all(type(key) is str for key, _ in pairs):
        return dict(pairs)
    return {TAG: "dict", "v": pairs}


_UNORDERED: Final = frozenset({"dict", "set", "frozenset"})


def canonical(plain: Any) -> str:
    """The text of a tree in which the order of dicts and sets does not show. Lone surrogates stay in it."""
    text = _sorted_dumps(plain)
    # A dict with odd keys and a set are lists in JSON, a file counts by its path; most values hold none of them.
    if '"$t":"dict"' in text or 'set","v":' in text or MARK in text:
        return _sorted_dumps(_ordered(plain))
    return text


def _ordered(plain: Any) -> Any:
    if type(plain) is list:
        return [_ordered(item) for item in plain]
    if type(plain) is not dict:
        return plain
    if plain.get(TAG) == "file":
        return by_path(plain)
    made = {key: _ordered(item) for key, item in plain.items()}
    if plain.get(TAG) in _UNORDERED:
        made["v"].sort(key=_sorted_dumps)
    return made
