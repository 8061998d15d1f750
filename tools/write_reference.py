"""Write the tables of docs/reference/expressions.md from the declarations that the engines read.

Run: ``python tools/write_reference.py`` to write them, with ``--check`` to fail where the page is not what
the declarations say.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from thalweg.plan import expr, namespaces
from thalweg.plan.aggregates import AGGREGATES
from thalweg.plan.functions import FUNCTIONS, Function

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "expressions.md"

_NAMESPACES = {
    "str": namespaces.StrNamespace,
    "dt": namespaces.DtNamespace,
    "list": namespaces.ListNamespace,
    "struct": namespaces.StructNamespace,
}
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(page: str) -> str:
    """Return the page with its tables as the declarations have them."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{_table(found[2])}\n\n{found[3]}", page)


def _table(section: str) -> str:
    if section == "aggregates":
        rows = [(_called(expr.Expr, name), declared.meaning) for name, declared in AGGREGATES.items()]
    else:
        chosen = [f for f in FUNCTIONS.values() if _section(f) == section]
        rows = [(_written(f), f.meaning) for f in chosen]
    return "\n".join(["| | gives |", "| --- | --- |", *(f"| {_code(how)} | {_escaped(what)} |" for how, what in rows)])


def _section(function: Function) -> str:
    namespace, dot, _ = function.name.partition(".")
    return namespace if dot else "operators" if function.symbol else "plain"


def _written(function: Function) -> str:
    """Return how a program writes a function."""
    namespace, dot, method = function.name.partition(".")
    if function.symbol:
        return f"{function.symbol}a" if len(function.takes) == 1 else f"a {function.symbol} b"
    if dot:
        return f".{namespace}{_called(_NAMESPACES[namespace], method)}"
    if function.name == "when":
        return "when(a).then(b).otherwise(c)"
    if hasattr(expr.Expr, function.name):
        return _called(expr.Expr, function.name)
    return f"{function.name}({_parameters(getattr(expr, function.name), skip=0)})"


def _called(holder: type, method: str) -> str:
    return f".{method}({_parameters(getattr(holder, method), skip=1)})"


def _parameters(function: Callable[..., object], skip: int) -> str:
    named = list(inspect.signature(function).parameters.values())[skip:]
    return ", ".join(_shown(named))


def _shown(parameters: Iterable[inspect.Parameter]) -> Iterable[str]:
    star = False
    for parameter in parameters:
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            star = True
            yield f"*{parameter.name}"
            continue
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not star:
            star = True
            yield "*"
        default = parameter.default
        yield parameter.name if default is inspect.Parameter.empty else f"{parameter.name}={default!r}"


def _code(text: str) -> str:
    return "`" + _escaped(text) + "`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> str | None:
    """Write the page, or return what is wrong with it."""
    page = PAGE.read_text(encoding="utf-8")
    wanted = filled(page)
    if "--check" not in arguments:
        PAGE.write_text(wanted, encoding="utf-8")
    elif page != wanted:
        return f"{PAGE.name} is not what the declarations say; run: python tools/write_reference.py"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
