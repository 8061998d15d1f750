"""SQL in: a query becomes the same plan that the methods of ``Stream`` make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from thalweg.core.errors import PlanError, short
from thalweg.plan.expr import col
from thalweg.sql.query import Query
from thalweg.sql.scope import projected
from thalweg.sql.select import Tables
from thalweg.stream import Stream

__all__ = ["stream_of"]


def stream_of(
    text: str, given: Mapping[str, Stream], find: Callable[[str], Stream | None], readable: Sequence[str]
) -> Stream:
    """Return the stream that a query stands for.

    Args:
        text: The query.
        given: The streams that it can name.
        find: Returns the stream that is read from a source of a name, or None.
        readable: The names of those sources, for messages.

    Raises:
        PlanError: The query has a mistake; the message says in which line and column.
        UnsupportedError: It has something that is not supported.
    """
    if not isinstance(text, str):
        raise PlanError(f'app.sql({short(text)}): a query is a text, such as "SELECT page FROM clicks"')
    query = Query(text)
    tables = Tables(query, given, find, readable, {})
    try:
        relation = tables.relation(query.parse())
    except RecursionError:
        raise PlanError("sql: the query is nested too deep; take parts of it out into WITH") from None
    return projected(relation, [(name.name, col(name.column)) for name in relation.names if name.bare]).stream
