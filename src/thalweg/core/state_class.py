"""The class of a keyed state: objects of it as bytes and back, and put back as they were before a call."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import decimal
import enum
import re
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from thalweg.core.errors import PlanError
from thalweg.core.schema import hints_of

_FIXED: Final = frozenset(
    {
        bool, int, float, complex, str, bytes, types.NoneType, decimal.Decimal, uuid.UUID,
        dt.date, dt.time, dt.datetime, dt.timedelta, dt.timezone,
    }
)  # fmt: skip
"""Types of values that nobody can change; a copy of one is itself."""

_KEPT_AS_THEY_ARE: Final = (dt.datetime, dt.date, dt.time, dt.timedelta, bytes, decimal.Decimal, uuid.UUID)
_PACKED, _TEXT = b"\x00", b"\x01"
_MISSING: Final = object()


class StateClass:
    """A user's class of which a key has an object: dataclass, msgspec Struct, pydantic model, TypedDict or plain class.

    Attributes:
        kind: The class.
        fields: Its annotated fields, and their types as text. What is not annotated is not kept over a restart.

    Raises:
        PlanError: An object of it cannot be made without arguments, or kept.

    Example:
        >>> class Seen:
        ...     times: int = 0
        ...     pages: set[str] = set()
        >>> seen = StateClass(Seen)
        >>> print(seen)
        times: int, pages: set[str]
        >>> seen.decoded(seen.encoded(Seen())).pages
        set()
    """

    def __init__(self, kind: type) -> None:
        self.kind = kind
        hints = hints_of(kind, extras=False)
        self._hints = {name: hint for name, hint in hints.items() if _is_field(name, hint)}
        self.fields = tuple((name, _named(hint)) for name, hint in self._hints.items())
        if not self.fields:
            raise PlanError(
                f"{kind.__name__} has no annotated fields; a state is a dataclass, msgspec Struct, pydantic model, "
                "TypedDict or class with annotations"
            )
        first = self._first()
        self._decode: Callable[[Any], Any] = self._decoder(first)
        self._names = _slots(kind)
        self._has_dict = hasattr(first, "__dict__")
        try:
            self.decoded(self.encoded(first))
        except (TypeError, ValueError, NameError) as error:
            raise PlanError(
                f"an object of {kind.__name__} cannot be kept: {error}; allowed are plain values, datetimes, lists, "
                "dicts, sets, and classes of these that are defined where the annotations find them"
            ) from error

    def __str__(self) -> str:
        return ", ".join(f"{name}: {hint}" for name, hint in self.fields)

    def new(self) -> Any:
        """Return the state that a key begins with."""
        return self.kind()

    def encoded(self, state: Any) -> bytes:
        """Return a state as bytes: MessagePack; JSON where it has integers that MessagePack cannot hold."""
        plain = self._plain(state)
        try:
            return _PACKED + msgspec.msgpack.encode(plain, enc_hook=_fields_of)
        except OverflowError:
            return _TEXT + msgspec.json.encode(plain, enc_hook=_fields_of)

    def decoded(self, data: bytes) -> Any:
        """Return the state that was encoded.

        Raises:
            ValueError: It is not what the class says.
        """
        decode = msgspec.msgpack.decode if data[:1] == _PACKED else msgspec.json.decode
        return self._decode(decode(data[1:]))

    def values(self, state: Any) -> dict[str, Any]:
        """Return a state's fields; objects in it are dicts of theirs."""
        plain = self._plain(state)
        found: dict[str, Any] = msgspec.to_builtins(plain, builtin_types=_KEPT_AS_THEY_ARE, enc_hook=_fields_of)
        return found

    def saved(self, state: Any) -> Any:
        """Return what ``put_back`` needs, a copy of all that can be changed."""
        if type(state) is dict:
            return copied(state)
        inside = None
        if self._has_dict:  # written out: it is done for each row
            inside = {key: part if type(part) in _FIXED else copied(part) for key, part in state.__dict__.items()}
        if not self._names:
            return inside, ()
        values = [getattr(state, name, _MISSING) for name in self._names]
        return inside, [part if type(part) in _FIXED else copied(part) for part in values]

    def put_back(self, state: Any, saved: Any) -> Any:
        """Return the state as it was."""
        if type(state) is dict:
            return saved
        inside, values = saved
        if inside is not None:
            state.__dict__.clear()
            state.__dict__.update(inside)
        put = msgspec.structs.force_setattr if isinstance(state, msgspec.Struct) else object.__setattr__
        for name, value in zip(self._names, values, strict=True):
            if value is not _MISSING:
                put(state, name, value)
            elif hasattr(state, name):
                object.__delattr__(state, name)
        return state

    def _first(self) -> Any:
        try:
            return self.kind()
        except Exception as error:  # the user's class may raise anything
            name = self.kind.__name__
            raise PlanError(
                f".process(state={name}): a key begins with {name}(), so every field needs a default: {error}"
            ) from error

    def _decoder(self, first: Any) -> Callable[[Any], Any]:
        kind = self.kind
        validate = getattr(kind, "model_validate", None)
        if validate is not None:
            return lambda values: validate(values, strict=False)
        if isinstance(first, msgspec.Struct) or dataclasses.is_dataclass(kind):
            return lambda values: msgspec.convert(values, kind, strict=False, dec_hook=_object_of)
        return self._revived

    def _revived(self, values: Mapping[str, Any]) -> Any:
        """Return an object whose class nobody but itself knows how to make: a plain one, or a dict."""
        found = _converted(values, self._hints)
        state = self.kind()
        if isinstance(state, dict):
            state.clear()
            state.update(found)
            return state
        for name, value in found.items():
            setattr(state, name, value)
        return state

    def _plain(self, state: Any) -> Any:
        if isinstance(state, (dict, msgspec.Struct)) or dataclasses.is_dataclass(state):
            return state
        if hasattr(state, "model_dump"):
            return state.model_dump()
        return {name: getattr(state, name) for name in self._hints if hasattr(state, name)}


def copied(value: Any) -> Any:
    """Return a value that shares nothing that can be changed."""
    kind = type(value)
    if kind in _FIXED:
        return value
    if kind is dict:
        return {key: copied(part) for key, part in value.items()}
    if kind is list:
        return [copied(part) for part in value]
    if kind is set:
        return value.copy()  # what is in a set cannot be changed
    return value if value is _MISSING or isinstance(value, enum.Enum) else copy.deepcopy(value)


def _fields_of(value: Any) -> Any:
    """Return an object of a class that is not msgspec's to know as a dict."""
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if hasattr(value, "__dict__"):
        return dict(value.__dict__)
    raise TypeError(f"an object of {type(value).__name__} cannot be kept in a state")


def _object_of(kind: type, values: Any) -> Any:
    """Return the object that ``_fields_of`` took apart."""
    if hasattr(kind, "model_validate"):
        return kind.model_validate(values, strict=False)
    made = kind()
    for name, value in _converted(values, hints_of(kind, extras=False)).items():
        setattr(made, name, value)
    return made


def _converted(values: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: msgspec.convert(value, hints[name], strict=False, dec_hook=_object_of) if name in hints else value
        for name, value in values.items()
    }


def _is_field(name: str, hint: Any) -> bool:
    return not name.startswith("_") and typing.get_origin(hint) is not typing.ClassVar and name != "model_config"


def _named(hint: Any) -> str:
    plain = isinstance(hint, type) and not typing.get_args(hint)
    return hint.__name__ if plain else re.sub(r"(?:[\w<>]+\.)+", "", str(hint))  # wherever the classes are defined


def _slots(kind: type) -> tuple[str, ...]:
    """Return the names of values that an object has beside those in its dict."""
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    names: list[str] = []
    for part in kind.__mro__:
        own = part.__dict__.get("__slots__", ())
        for name in (own,) if isinstance(own, str) else own:
            hidden = name.startswith("__") and not name.endswith("__")
            if name not in ("__dict__", "__weakref__"):
                names.append(f"_{part.__name__.lstrip('_')}{name}" if hidden else name)
    return tuple(names)
