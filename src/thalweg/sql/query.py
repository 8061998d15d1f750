"""The text of a query: parsed, and where in it things stand, for messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import TokenType

from thalweg.core.errors import PlanError, UnsupportedError

_SAID = "sql, line "
# What begins with a word that the tree does not keep the place of.
_WORDS: Final[Mapping[type[exp.Expr], str]] = MappingProxyType(
    {exp.Interval: "interval", exp.Cast: "cast", exp.TryCast: "try_cast", exp.Case: "case"}
)
# Advice for programs, and what it is in a query.
_ADVICE: Final = (
    (re.compile(r'col\("([^"]*)"\)'), r"\1"),
    (re.compile(r'lit\("([^"]*)"\)'), r"'\1'"),
    (re.compile(r"lit\((-?[\d.e+]+)\)"), r"\1"),
    (re.compile(r"with \.str\.to_integer\(\) or \.cast\(float\)"), "with CAST(… AS BIGINT)"),
    (re.compile(r"with \.cast\(int\)"), "with CAST(… AS INT)"),
    (
        re.compile(r"write a time as datetime\(…\), or read the text with \.str\.to_datetime\(\)"),
        "use CAST(… AS TIMESTAMP)",
    ),
    (re.compile(r"\.is_null\(\) or \.is_not_null\(\)|\.is_null\(\)"), "IS NULL"),
    (re.compile(r"lit\(None\)\.cast\(…\)"), "CAST(NULL AS …)"),
    (re.compile(r"\.cast\(…\)"), "CAST"),
)


@dataclass(frozen=True, slots=True)
class Query:
    """A query as it was written.

    Attributes:
        text: The whole of it.
    """

    text: str

    def parse(self) -> exp.Expr:
        """Return the one statement's tree, read as DuckDB reads it.

        Raises:
            PlanError: It is not SQL, or not one statement.
        """
        dialect = DuckDB()
        try:
            tokens = dialect.tokenize(self.text)
            for token in tokens:
                if token.text.lower() == "session":
                    token.token_type = TokenType.VAR  # elsewhere it begins a parameter, here it is a function's name
            found = [tree for tree in dialect.parser().parse(tokens, self.text) if tree is not None]
        except TokenError:
            raise PlanError("sql: a quoted text or name does not end, or a character belongs to no SQL") from None
        except ParseError as error:
            raise self._not_sql(error) from None
        except RecursionError:
            raise PlanError("sql: the query is nested too deep; take parts of it out into WITH") from None
        if len(found) != 1:
            raise PlanError(f"sql: one SELECT is wanted; there are {len(found)} statements")
        (tree,) = found
        return tree

    def spot(self, node: exp.Expr) -> str:
        """Return where a part of the query begins, as ``line 2 column 5``."""
        at: exp.Expr | None = node
        while at is not None:
            starts = [part.meta["start"] for part in at.walk() if "start" in part.meta]
            if starts:
                start = self._before(at, min(starts))
                line = self.text.count("\n", 0, start) + 1
                return f"line {line} column {start - self.text.rfind(chr(10), 0, start)}"
            at = at.parent
        return "line 1 column 1"

    def _before(self, node: exp.Expr, start: int) -> int:
        """Return where the word is that a part begins with, before what stands first in it."""
        word = _WORDS.get(type(node))
        found = -1 if word is None else self.text.lower().rfind(word, 0, start)
        if word is None or found < 0 or self.text[found + len(word) : start].strip(" \t\n('"):
            return start
        return found

    def wrong(self, node: exp.Expr, message: str) -> PlanError:
        """Return the error of a mistake in a part of the query."""
        return PlanError(f"sql, {self.spot(node)}: {message}")

    def unsupported(self, node: exp.Expr, message: str) -> UnsupportedError:
        """Return the error of a construct that is SQL, and is not supported."""
        return UnsupportedError(f"sql, {self.spot(node)}: {message}")

    @contextmanager
    def at(self, node: exp.Expr) -> Iterator[None]:
        """Say of an error in the block in which part of the query it is."""
        try:
            yield
        except PlanError as error:
            if error.message.startswith(_SAID):
                raise
            message = error.message
            for pattern, by in _ADVICE:
                message = pattern.sub(by, message)
            raise type(error)(f"sql, {self.spot(node)}: {message}", place=error.place) from None

    def _not_sql(self, error: ParseError) -> PlanError:
        first = error.errors[0]
        word = str(first.get("highlight") or "")
        column = max(1, int(first.get("col") or 1) - max(0, len(word) - 1))
        near = f', at "{word}"' if word.strip() else ""
        return PlanError(f"sql, line {first.get('line', 1)} column {column}: this is not SQL{near}")


def shown(node: exp.Expr) -> str:
    """Return a part of the query as text, in one line."""
    text = " ".join(node.sql(dialect="duckdb").split())
    return text if len(text) <= 60 else text[:57] + "…"


def parts_of(node: exp.Expr) -> list[exp.Identifier]:
    """Return the parts of a dotted name; none where it has others, such as a call."""
    parts = list(node.parts) if isinstance(node, (exp.Column, exp.Dot)) else []
    found = [part for part in parts if isinstance(part, exp.Identifier)]
    return found if len(found) == len(parts) else []


def conjuncts(node: exp.Expr) -> list[exp.Expr]:
    """Return the conditions that AND joins, without brackets around them."""
    node = node.unnest()
    if isinstance(node, exp.And):
        return [part for side in (node.left, node.right) for part in conjuncts(side)]
    return [node]
