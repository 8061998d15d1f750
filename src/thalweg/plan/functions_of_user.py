"""A fingerprint of what a user's function does, so that kept state is used by the same program only."""

from __future__ import annotations

import ast
import datetime as dt
import decimal
import enum
import functools
import hashlib
import inspect
import sysconfig
import textwrap
import types
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

_EXACT: Final = (
    type(None), bool, int, float, complex, str, bytes, decimal.Decimal, uuid.UUID, Path,
    dt.date, dt.time, dt.timedelta, dt.timezone,
)  # fmt: skip
_LIBRARIES: Final = tuple(
    str(Path(path)) for name in ("stdlib", "platstdlib", "purelib", "platlib") if (path := sysconfig.get_path(name))
)
_PACKAGES: Final = ("site-packages", "dist-packages")


def function_fingerprint(function: Callable[..., object], version: str | None = None) -> str:
    """Return 16 hexadecimal digits that change when what the function does changes.

    They cover the function's source (not its comments and layout), its default and closed-over values, the
    constants of its module that it names, and the user's functions among those, and so on. A function of an
    installed library is covered by its name alone, an object by its class and attributes.

    Args:
        function: Any callable.
        version: Stands for all of this: the user says when the function has changed.

    Example:
        >>> def fee(rate):
        ...     return lambda price: price * rate
        >>> function_fingerprint(fee(2)) == function_fingerprint(fee(2))
        True
        >>> function_fingerprint(fee(2)) == function_fingerprint(fee(3))
        False
    """
    if version is not None:
        text = f"version {version!r} of {qualified_name(function)}"
    else:
        text = "\n".join(_parts(function, seen={}))
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def qualified_name(function: Callable[..., object]) -> str:
    """Return a callable's name within its module, or its class's."""
    if isinstance(function, functools.partial):
        return qualified_name(function.func)
    name = getattr(function, "__qualname__", None)
    return name if isinstance(name, str) else type(function).__qualname__


def _parts(value: object, seen: dict[int, object]) -> Iterator[str]:
    """Give lines of text that say what a value is; what was seen before is not followed again.

    What was seen is kept, or its identity would be given to something else. A tuple is followed again: whether two
    equal ones are the same is Python's affair.
    """
    if isinstance(value, enum.Enum):
        yield f"enum {type(value).__qualname__}.{value.name}"
    elif isinstance(value, _EXACT):
        yield f"{type(value).__name__} {value!r}"
    elif id(value) in seen:
        yield "seen before"
    else:
        if not isinstance(value, tuple):
            seen[id(value)] = value
        yield from _compound(value, seen)


def _compound(value: object, seen: dict[int, object]) -> Iterator[str]:
    match value:
        case list() | tuple():
            yield f"{type(value).__name__} of {len(value)}"
            for part in value:
                yield from _parts(part, seen)
        case set() | frozenset():
            yield f"{type(value).__name__} of {len(value)}"
            yield from sorted("\n".join(_parts(part, dict(seen))) for part in value)
        case dict():
            yield f"dict of {len(value)}"
            for key, part in value.items():
                yield from _parts(key, seen)
                yield from _parts(part, seen)
        case types.ModuleType():
            yield f"module {value.__name__}"
        case functools.partial():
            yield "partial"
            yield from _parts((value.func, value.args, value.keywords), seen)
        case types.MethodType():
            yield "method"
            yield from _parts(value.__func__, seen)
            yield from _parts(value.__self__, seen)
        case types.FunctionType() | type() if _of_library(value):
            yield f"library {value.__module__}.{value.__qualname__}"
        case types.FunctionType():
            yield from _function(value, seen)
        case type():
            yield f"class {value.__qualname__}"
            for name, part in sorted(vars(value).items()):
                if isinstance(part, (staticmethod, classmethod)):
                    part = part.__func__
                if isinstance(part, types.FunctionType):
                    yield f"has {name}"
                    yield from _parts(part, seen)
        case types.BuiltinFunctionType():
            yield f"builtin {value.__module__}.{value.__qualname__}"
        case _:
            yield f"object of {type(value).__module__}.{type(value).__qualname__}"
            if not _of_library(type(value)):
                yield from _parts(type(value), seen)
                yield from _parts(_attributes(value), seen)


def _function(function: types.FunctionType, seen: dict[int, object]) -> Iterator[str]:
    yield _source(function)
    yield from _parts(function.__defaults__, seen)
    yield from _parts(function.__kwdefaults__, seen)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f"closes over {name}"
        yield from _parts(_content(cell), seen)
    for name in sorted(set(_names(function.__code__))):
        if name in function.__globals__:
            yield f"names {name}"
            yield from _parts(function.__globals__[name], seen)


def _attributes(value: object) -> dict[str, object]:
    """Return an object's attributes, those in slots among them."""
    found: dict[str, object] = dict(getattr(value, "__dict__", {}))
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{kind.__name__.lstrip('_')}{name}"  # as Python calls it
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                found[name] = getattr(value, name)
    return found


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is bound later, as in a function that calls itself
        return None


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _source(function: types.FunctionType) -> str:
    """Return the function's own source, laid out anew; its instructions where there is no source."""
    try:
        lines, _ = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        # No file (typed at a prompt), or lines that are not whole statements, as of a lambda in a call.
        return _instructions(function.__code__)
    wanted = (ast.Lambda,) if function.__name__ == "<lambda>" else (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(tree) if isinstance(node, wanted)]
    found = [node for node in found if isinstance(node, ast.Lambda) or node.name == function.__name__]
    if len(found) != 1:
        return _instructions(function.__code__)
    return f"source {ast.unparse(found[0])}"


def _instructions(code: types.CodeType) -> str:
    parts: list[Any] = [code.co_code.hex(), code.co_names, code.co_varnames, code.co_argcount, code.co_flags]
    for constant in code.co_consts:
        parts.append(_instructions(constant) if isinstance(constant, types.CodeType) else _constant(constant))
    return f"instructions {parts!r}"


def _constant(value: object) -> str:
    # The order of a frozenset of texts differs between processes.
    return repr(sorted(value, key=repr)) if isinstance(value, frozenset) else repr(value)


def _of_library(value: Any) -> bool:
    """Tell whether a function or class is of an installed package or of Python itself."""
    if value.__module__ == "builtins":
        return True
    try:
        file = inspect.getfile(value)
    except (OSError, TypeError):
        return False
    return any(part in _PACKAGES for part in Path(file).parts) or any(file.startswith(p) for p in _LIBRARIES)
