"""What values are recognised by: the fingerprints of arguments, and the keys of items.

Equal values have equal ones in every process, and those that earlier versions took are still known. A fingerprint is
taken of anything, an item's key only of what can be recorded.
"""

from __future__ import annotations

from base64 import b32encode
from json.encoder import encode_basestring
from typing import Any, Final

from onward.core.blake import blake2b
from onward.core.codec_text import canonical
from onward.core.codec_tree import NO_STACK, loose_tree, not_recordable, tree
from onward.core.codec_types import INT_MAX, INT_MIN, Refused, type_name
from onward.core.errors import NotRecordable

_HASH_BYTES: Final = 8
_new_seal: Final = blake2b(
    digest_size=_HASH_BYTES
).copy  # a copy for each fingerprint: half the cost of making one
# Numbers of at most seven characters, between these.
_LEAST: Final = -1_000_000
_MOST: Final = 10_000_000
# '' is in every text, so that an empty text counts as odd too.
_ODD_STARTS: Final = "0123456789+-#\"'"
_LONG: Final = 10**120


def fingerprint(value: object) -> bytes:
    """At most eight bytes that are equal for equal arguments of a step, whatever the order of dicts and sets.

    Never raises: what cannot be recorded (clients, connections) counts by its type only.
    """
    text = None
    if type(value) is tuple:
        if len(value) == 1 and type(one := value[0]) is int and _LEAST < one < _MOST:
            # Its own fingerprint: of so few numbers a hash hides nothing, and it is a fifth of what a replay costs.
            return b"%d" % one
        text = _plain_tuple(value)
    if text is None:
        try:
            text = canonical(tree(value, 0))
        except Exception:  # code of the user (properties, odd mappings) may raise anything
            text = _loose_text(value)
    return _hashed(text)


def hashed(fingerprint: bytes | None) -> bytes | None:
    """A fingerprint as earlier versions took it, which hashed all arguments; None if it is one already."""
    if fingerprint is None or len(fingerprint) >= _HASH_BYTES:
        return None
    return _hashed(f'{{"$t":"tuple","v":[{fingerprint.decode()}]}}')


def _hashed(text: str) -> bytes:
    seal = _new_seal()
    seal.update(text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass"))
    return seal.digest()


def _plain_tuple(values: tuple[object, ...]) -> str | None:
    """The canonical text of a tuple of scalars, or None: what most steps are called with, at a fifth of the cost."""
    text = ""
    for value in values:
        kind = type(value)
        if kind is int and INT_MIN <= value <= INT_MAX:  # type: ignore[operator]
            part = f"{value}"
        elif kind is str:
            part = encode_basestring(value)  # type: ignore[arg-type]
        else:
            return None
        text = f"{text},{part}" if text else part
    return f'{{"$t":"tuple","v":[{text}]}}'


def item_key(value: object) -> str:
    """The key of a loop's item: short plain text and numbers as they are, anything else as `#` and a hash.

    Two items have the same key only if they are equal in type and content. Raises NotRecordable when the content
    cannot be taken.
    """
    kind = type(value)
    if kind is str:
        text: Any = value
        if (
            text[:1] not in _ODD_STARTS
            and len(text) <= 120
            and text.isprintable()
            and "~" not in text
            and " > " not in text
        ):
            return text  # type: ignore[no-any-return]
    elif kind is int and -_LONG < value < _LONG:  # type: ignore[operator]
        return str(value)
    try:
        content = canonical(tree(value, 0)).encode("utf-8", "surrogatepass")
    except Refused as refused:
        raise _no_key(refused) from refused.__cause__
    except RecursionError:
        raise _no_key(Refused(type_name(value), NO_STACK)) from None
    return "#" + b32encode(blake2b(content, digest_size=16).digest())[:26].decode("ascii").lower()


def _no_key(refused: Refused) -> NotRecordable:
    refused.cure = "give key= to say what recognises an item"
    return not_recordable("item", refused)


def _loose_text(value: object) -> str:
    try:
        return canonical(loose_tree(value, 0))
    except Exception:  # too deep, contains itself, or code of the user raised
        return type_name(value)
