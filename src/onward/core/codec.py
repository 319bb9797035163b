"""Values to JSON text and back, exactly or not at all.

Payloads are plain JSON with a closed set of tagged types, `{"$t": "decimal", "v": "1.10"}`. What is not in the set is
refused with the path of the culprit. Reading trusts nothing: no class is imported, no constructor is run, and whatever
is malformed raises PayloadError. Size limits, compression and encryption are left to the callers. What values are
recognised by, their fingerprints and keys, comes from `codec_prints`.
"""

from __future__ import annotations

import binascii
import json
from json.encoder import encode_basestring
from typing import Any, Final

from onward.core.codec_arrays import ARRAY_ROWS
from onward.core.codec_classes import CLASS_ROWS
from onward.core.codec_errors import described, is_faithful, rebuilt
from onward.core.codec_files import FILE_ROWS
from onward.core.codec_prints import fingerprint, hashed, item_key
from onward.core.codec_text import text_of
from onward.core.codec_tree import MAX_DEPTH, NO_STACK, not_recordable, tree
from onward.core.codec_types import (
    INT_MAX,
    INT_MIN,
    ROWS,
    TAG,
    Body,
    Refused,
    type_name,
)
from onward.core.errors import NotRecordable, PayloadError
from onward.core.limits import ITEM_CHARS

__all__ = [
    "MAX_DEPTH",
    "PayloadError",
    "checksum",
    "decode",
    "decode_error",
    "encode",
    "encode_error",
    "error_is_faithful",
    "fingerprint",
    "hashed",
    "item_key",
    "item_of_error",
]


def encode(value: object, *, where: str = "value") -> str:
    """`value` as JSON text that `decode` turns into an equal value of the same types, dict order included.

    Raises NotRecordable, with the path inside the value and the cure; `where` says in that message whose value it is.
    Objects that appear twice in a value are two equal objects afterwards.
    """
    try:
        return _flat(value) or text_of(tree(value, 0))
    except Refused as refused:
        raise not_recordable(where, refused) from refused.__cause__
    except RecursionError:
        raise not_recordable(where, Refused(type_name(value), NO_STACK)) from None


def decode(text: str) -> Any:
    """The value that `encode` wrote. Raises PayloadError, and nothing else, on any other text."""
    value: Any = None
    try:
        try:
            # Straight to what `json.loads` comes to: the texts that onward writes have no space around them. A
            # single character is looked for in half the time.
            if ("$" not in text or _TAGGED not in text) and ("\\" not in text or "\\u" not in text):
                value, end = _scan_plain(text, 0)
                # As many names as colons after quotes: no name occurs twice, and no dict stands in it.
                if end == len(text) and text.count('":') == (len(value) if type(value) is dict else 0):
                    return value
            value, end = _scan(text, 0)
        except StopIteration:
            end = -1
        return value if end == len(text) else _DECODER.decode(text)  # which says what is wrong
    except PayloadError:
        raise
    except TypeError:
        raise PayloadError(
            f"it is not text but {type_name(text)}; the journal was written by something else"
        ) from None
    except RecursionError:
        raise PayloadError("it is nested too deeply for the recursion limit of Python here") from None
    except ValueError as error:
        raise PayloadError(f"it is not the JSON that onward writes ({error})") from error


def checksum(text: str) -> int:
    """CRC-32 of the text's UTF-8 bytes."""
    return binascii.crc32(text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass"))


def encode_error(error: BaseException, *given: object) -> str:
    """What is kept of an exception, as JSON text. Never raises; what cannot be recorded is left out and named.

    `given`: the item that failed with it, if there is one; kept too when it can be recorded and is not too large.
    """
    parts = described(error, _is_recordable)
    if given and _is_recordable(given[0]):
        try:
            if len(encode(given[0])) <= ITEM_CHARS:
                parts["item"] = given[0]
        except NotRecordable:  # deeper than what is left of the stack
            pass
    return encode(parts, where="error")


def item_of_error(text: str) -> str | None:
    """The item that failed with this error, as the text that `encode` gave; None if it was not kept.

    Still text, because its class may not be imported where failures are looked at.
    """
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PayloadError(
            f"the recorded exception is malformed ({type(error).__name__}: {error})"
        ) from error
    return text_of(parts["item"]) if type(parts) is dict and "item" in parts else None


def decode_error(text: str) -> Exception:
    """The exception again: of its own class where `error_is_faithful` held and its module is imported, else StepFailed.

    Raises PayloadError when `text` is not what `encode_error` wrote.
    """
    parts = decode(text)
    try:
        return rebuilt(parts)
    except PayloadError:
        raise
    except Exception as error:
        raise PayloadError(
            f"the recorded exception is malformed ({type(error).__name__}: {error})"
        ) from error


def error_is_faithful(error: BaseException) -> bool:
    """Whether an exception comes back as its own class; if not, it is StepFailed live as well as on replay."""
    return is_faithful(error)


def _is_recordable(value: object) -> bool:
    try:
        tree(value, 0)
    except Exception:  # code of the user may raise anything
        return False
    return True


# -- from JSON to text ------------------------------------------------------------------------------


# Larger ones are left to the walk and to JSON's own writer, which by then is as fast.
_FEW: Final = 16


def _flat(value: object) -> str | None:
    """The text of a scalar, or of a small dict of them, which most results are: at a third of the cost of a walk.

    None if it is anything else, or takes a closer look.
    """
    if type(value) is not dict:
        return _scalar(value)
    if not 0 < len(value) <= _FEW or TAG in value:
        return None
    made = "{"
    for key, item in value.items():
        # As `_scalar`, whose call would cost as much again.
        if type(item) is str:
            text: str | None = encode_basestring(item)
        elif type(item) is int and INT_MIN <= item <= INT_MAX:
            text = f"{item}"
        else:
            text = _scalar(item)
        if text is None or type(key) is not str:
            return None
        made = f"{made}{encode_basestring(key)}:{text},"
    return f"{made[:-1]}}}" if made.isascii() else None


def _scalar(value: object) -> str | None:
    kind = type(value)
    if kind is str:
        text = encode_basestring(value)  # type: ignore[arg-type]
        return text if text.isascii() else None
    if kind is int:
        return str(value) if INT_MIN <= value <= INT_MAX else None  # type: ignore[operator]
    return "null" if value is None else "true" if value is True else "false" if value is False else None


# -- from text to values ----------------------------------------------------------------------------


def _from_pairs(pairs: list[tuple[str, Any]]) -> Any:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise PayloadError("an object in it names the same key twice")
    return _untagged(made) if TAG in made else made


def _untagged(body: Body) -> Any:
    tag = body[TAG]
    read = _READERS.get(tag) if type(tag) is str else None
    if read is None:
        raise PayloadError(f"its tag {ascii(tag)[:80]} is not known; a newer onward may have written it")
    try:
        return read(body)
    except PayloadError as error:
        raise PayloadError(f"a `{tag}` in it is malformed: {error.problem}") from error
    except Exception as error:  # readers check shapes, not every value; none of their errors may escape
        raise PayloadError(f"a `{tag}` in it is malformed ({type(error).__name__}: {error})") from error


def _no_constant(name: str) -> Any:
    raise PayloadError(f"it holds {name}, which is not JSON")


_READERS: Final = {
    row.tag: row.read
    for row in (*ROWS.values(), *CLASS_ROWS.values(), *ARRAY_ROWS.values(), *FILE_ROWS.values())
}
_DECODER: Final = json.JSONDecoder(object_pairs_hook=_from_pairs, parse_constant=_no_constant)
_scan: Final = _DECODER.scan_once  # type: ignore[attr-defined]  # what `raw_decode` calls
# Knows no tags and sees no name that occurs twice: a dict of scalars is read in half the time.
_TAGGED: Final = f'"{TAG}"'  # or with an escape in it
_scan_plain: Final = json.JSONDecoder(parse_constant=_no_constant).scan_once  # type: ignore[attr-defined]
