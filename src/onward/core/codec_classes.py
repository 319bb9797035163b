"""Classes of the user in payloads: enums, named tuples, dataclasses, attrs, msgspec structs and pydantic models.

A class is recorded as `module:qualname` and found again only among modules that are imported already; nothing is
imported, and no constructor, validator or `__post_init__` is run. Libraries are recognised through sys.modules.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
import types
from collections.abc import Callable, Collection, Iterator
from typing import Any, Final

from onward.core.codec_types import TAG, Body, Refused, Row, exactly, expect, take
from onward.core.errors import PayloadError

# typing sets it on instances of `Box[int](...)`; it is about the expression, not about the value.
_NOT_STATE: Final = frozenset({"__orig_class__", "__weakref__", "__dict__"})


def class_row(kind: type) -> Row | None:
    """How instances of `kind` are recorded; None when it is none of the kinds of class known here."""
    for tag, (belongs, _) in _KINDS.items():
        if belongs(kind):
            return CLASS_ROWS[tag]
    return None


# -- names of classes -------------------------------------------------------------------------------


def class_name(kind: type) -> str:
    """`module:qualname`, when the class can be found again under it; otherwise raises Refused with the cure."""
    name = f"{kind.__module__}:{kind.__qualname__}"
    if "<locals>" in kind.__qualname__:
        raise Refused(name, "define the class at module level, so that it can be found again")
    if find_class(name) is not kind:
        raise Refused(
            name, "that name stands for something else now; give the class a module-level name of its own"
        )
    return name


def find_class(name: object) -> type | None:
    """The class called `module:qualname` if its module is imported and holds it under that very name."""
    if type(name) is not str:
        return None
    module_name, _, path = name.partition(":")
    found: object = sys.modules.get(module_name)
    for part in path.split("."):
        found = _members(found).get(part)
    if isinstance(found, type) and f"{found.__module__}:{found.__qualname__}" == name:
        return found
    return None


def _members(holder: object) -> Any:
    # Never getattr: a module's `__getattr__`, or a lazy module's `__getattribute__`, may import and execute code.
    if isinstance(holder, type):
        return type.__dict__["__dict__"].__get__(holder)
    if issubclass(type(holder), types.ModuleType):
        return object.__getattribute__(holder, "__dict__")
    return {}


def known_class(body: Body, belongs: Callable[[type], bool]) -> type:
    """The class that a body names in `c`, when it is of the kind that the body's tag says."""
    name = exactly(body.get("c"), str)
    kind = find_class(name)
    if kind is None:
        raise PayloadError(
            f"the class {_quoted(name)} is not defined in any imported module; import its module before this value "
            f"is read, or bring the class back under that name"
        )
    expect(belongs(kind), f"{_quoted(name)} is not a class of the recorded kind, {body[TAG]}")
    return kind


def _quoted(name: str) -> str:
    return ascii(name if len(name) <= 120 else f"{name[:120]}…")


# -- building without constructors ------------------------------------------------------------------


def builtin_base(kind: type) -> type:
    """The nearest base that is written in C: what a blank instance has to be made by."""
    for base in kind.__mro__:
        if isinstance(vars(base).get("__new__"), types.BuiltinFunctionType):
            return base
    return object


def _is_plain(kind: type) -> bool:
    return builtin_base(kind) is object


def _blank(kind: type, fields: Body, names: Collection[str]) -> Any:
    same_fields(kind, fields, names)
    made: Any = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


def same_fields(kind: type, recorded: Body, present: Collection[str]) -> None:
    """Raise PayloadError, naming both sides, unless a class still has exactly the recorded fields."""
    if recorded.keys() == set(present):
        return
    raise PayloadError(
        f"{kind.__module__}:{kind.__qualname__} was recorded with the fields {_listed(recorded)} and has "
        f"{_listed(present)} now; give it the recorded fields again, or fork the run before this value"
    )


def _listed(names: Collection[str]) -> str:
    return f"({ascii(', '.join(sorted(names)))[1:-1][:400]})"


def _fields_of(value: object, names: Collection[str]) -> Body:
    # Whatever else the instance carries would be lost without a word, so it is refused.
    for extra in _attributes(value):
        if extra not in names and extra not in _NOT_STATE and not _is_cached(type(value), extra):
            raise Refused(_full_name(value), f"declare its attribute `{extra}` as a field, or return a dict")
    fields = {}
    for name in names:
        try:
            fields[name] = getattr(value, name)
        except AttributeError:
            raise Refused(
                _full_name(value), f"give its field `{name}` a value before it is recorded"
            ) from None
    return fields


def _attributes(value: object) -> Iterator[str]:
    yield from getattr(value, "__dict__", ())
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            mangled = (
                f"_{base.__name__.lstrip('_')}{slot}" if slot.startswith("__") and slot[-2:] != "__" else slot
            )
            if hasattr(value, mangled):
                yield mangled


def _is_cached(kind: type, name: str) -> bool:
    return any(isinstance(vars(base).get(name), functools.cached_property) for base in kind.__mro__)


def _full_name(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


# -- enums and named tuples -------------------------------------------------------------------------


def _is_enum(kind: type) -> bool:
    return issubclass(kind, enum.Enum) and not issubclass(kind, enum.Flag)


def _is_flag(kind: type) -> bool:
    return issubclass(kind, enum.Flag)


def _write_enum(value: enum.Enum) -> Body:
    return {"c": class_name(type(value)), "v": value._name_}


def _read_enum(body: Body) -> enum.Enum:
    name = take(body, str, "c")
    kind: Any = known_class(body, _is_enum)
    expect(name in kind._member_map_, f"{_quoted(body['c'])} has no member {_quoted(name)} (any more)")
    found: enum.Enum = kind._member_map_[name]
    return found


def _write_flag(value: enum.Flag) -> Body:
    return {"c": class_name(type(value)), "v": int(value._value_)}


def _read_flag(body: Body) -> enum.Flag:
    bits = take(body, int, "c")
    kind: Any = known_class(body, _is_flag)
    found: enum.Flag = kind(bits)
    expect(
        type(found) is kind and found._value_ == bits, f"{_quoted(body['c'])} has no flags {bits} (any more)"
    )
    return found


def _is_namedtuple(kind: type) -> bool:
    fields = getattr(kind, "_fields", None)
    return (
        builtin_base(kind) is tuple
        and isinstance(fields, tuple)
        and all(type(name) is str for name in fields)
    )


def _write_namedtuple(value: Any) -> Body:
    names, items = type(value)._fields, tuple(tuple.__iter__(value))
    if len(names) != len(items) or getattr(value, "__dict__", None):
        raise Refused(_full_name(value), "return a dataclass: it holds more, or less, than its fields")
    return {"c": class_name(type(value)), "v": dict(zip(names, items, strict=True))}


def _read_namedtuple(body: Body) -> Any:
    fields = take(body, dict, "c")
    kind: Any = known_class(body, _is_namedtuple)
    same_fields(kind, fields, kind._fields)
    return tuple.__new__(kind, [fields[name] for name in kind._fields])


# -- classes with fields ----------------------------------------------------------------------------


def _is_dataclass(kind: type) -> bool:
    return hasattr(kind, "__dataclass_fields__") and _is_plain(kind)


def _dataclass_names(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _is_attrs(kind: type) -> bool:
    return hasattr(kind, "__attrs_attrs__") and _is_plain(kind)


def _attrs_names(kind: Any) -> list[str]:
    return [field.name for field in kind.__attrs_attrs__]


def _with_fields(tag: str, belongs: Callable[[type], bool], names: Callable[[type], list[str]]) -> Row:
    def write(value: object) -> Body:
        return {"c": class_name(type(value)), "v": _fields_of(value, names(type(value)))}

    def read(body: Body) -> object:
        fields = take(body, dict, "c")
        kind = known_class(body, belongs)
        return _blank(kind, fields, names(kind))

    return Row(tag, write, read)


def _is_struct(kind: type) -> bool:
    msgspec = sys.modules.get("msgspec")
    return msgspec is not None and issubclass(kind, msgspec.Struct)


def _write_struct(value: Any) -> Body:
    kind = type(value)
    if hasattr(kind, "__post_init__"):
        # msgspec alone can make a struct, and it always calls __post_init__: code of the user, on data from disk.
        raise Refused(_full_name(value), "it cannot be rebuilt without its __post_init__; return a dataclass")
    return {"c": class_name(kind), "v": _fields_of(value, kind.__struct_fields__)}


def _read_struct(body: Body) -> Any:
    fields = take(body, dict, "c")
    kind: Any = known_class(body, _is_struct)
    same_fields(kind, fields, kind.__struct_fields__)
    expect(
        not hasattr(kind, "__post_init__"),
        f"{_quoted(body['c'])} has a __post_init__ now, which is not run here",
    )
    return kind(**fields)


def _is_model(kind: type) -> bool:
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(kind, pydantic.BaseModel) and _is_plain(kind)


def _write_model(value: Any) -> Body:
    kind = type(value)
    state, fields = vars(value), kind.model_fields
    for name in state:
        if name not in fields and not _is_cached(kind, name):
            raise Refused(_full_name(value), f"declare its attribute `{name}` as a field")
    if missing := [name for name in fields if name not in state]:
        raise Refused(_full_name(value), f"give its field `{missing[0]}` a value before it is recorded")
    extra, private = value.__pydantic_extra__, value.__pydantic_private__
    if (private is None) != (not kind.__private_attributes__):
        raise Refused(_full_name(value), "make it with its constructor: its private attributes are missing")
    body = {"c": class_name(kind), "v": {name: state[name] for name in fields}}
    body["s"] = sorted(value.__pydantic_fields_set__)
    body |= {} if extra is None else {"x": dict(extra)}
    body |= {} if private is None else {"p": dict(private)}
    return body


def _read_model(body: Body) -> Any:
    fields = take(body, dict, "c", "s", "x", "p")
    kind: Any = known_class(body, _is_model)
    same_fields(kind, fields, kind.model_fields)
    given = {exactly(name, str) for name in exactly(body.get("s"), list)}
    extra = exactly(body["x"], dict) if "x" in body else None
    private = exactly(body["p"], dict) if "p" in body else None
    expect(given <= fields.keys() | (extra or {}).keys(), "it lists fields as set that it does not have")
    expect(not (extra or {}).keys() & fields.keys(), "its extra fields repeat its fields")
    # A private attribute without a default may be unset, so fewer than declared are right.
    expect((private or {}).keys() <= set(kind.__private_attributes__), "its private attributes are others")
    expect((private is None) == (not kind.__private_attributes__), "its private attributes are others")
    made = object.__new__(kind)
    for name, part in zip(_MODEL_STATE, (fields, given, extra, private), strict=True):
        object.__setattr__(made, name, part)
    return made


_MODEL_STATE: Final = ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")

# Enums before dataclasses (an enum may be both), models before dataclasses for the same reason.
_KINDS: Final[dict[str, tuple[Callable[[type], bool], Row]]] = {
    "enum": (_is_enum, Row("enum", _write_enum, _read_enum)),
    "flag": (_is_flag, Row("flag", _write_flag, _read_flag)),
    "namedtuple": (_is_namedtuple, Row("namedtuple", _write_namedtuple, _read_namedtuple)),
    "struct": (_is_struct, Row("struct", _write_struct, _read_struct)),
    "model": (_is_model, Row("model", _write_model, _read_model)),
    "attrs": (_is_attrs, _with_fields("attrs", _is_attrs, _attrs_names)),
    "dataclass": (_is_dataclass, _with_fields("dataclass", _is_dataclass, _dataclass_names)),
}
CLASS_ROWS: Final[dict[str, Row]] = {tag: row for tag, (_, row) in _KINDS.items()}
