"""The view: a result that the engine itself keeps, to be looked up, served and shown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thalweg.core.errors import PlanError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class View:
    """Describes a view. It has nothing to open: its rows are a part of the engine's state.

    Attributes:
        name: What the view is called in reports, over HTTP and in SQL.
        key: The columns that name a row; None leaves them to the plan.
    """

    name: str
    key: tuple[str, ...] | None = None

    @property
    def changes(self) -> Literal["applied"]:
        """A view shows the table that a changing stream adds up to."""
        return "applied"

    @property
    def target(self) -> None:
        """A view writes to no path or address."""
        return None

    def describe(self) -> str:
        """Return one line for the plan."""
        return f"view({self.name})" if self.key is None else f"view({self.name}, key={', '.join(self.key)})"


def view(name: str, key: str | Sequence[str] | None = None) -> View:
    """Keep a stream's rows as a view: a table that can be looked up while the pipeline runs.

    Args:
        name: A name of letters, digits and underscores that does not start with a digit. It is used once per app.
        key: The column or columns that name a row. By default the group and window columns, and for ``top_k``
            ``per`` and ``rank``; a view of rows without any of them is a multiset.

    Raises:
        PlanError: The name or the key cannot be used.

    Example:
        >>> view("page_views", key="page").describe()
        'view(page_views, key=page)'
    """
    if not _is_name(name):
        raise PlanError(
            f"{name!r} cannot name a view; allowed: letters, digits and underscores, not starting with a digit"
        )
    if key is None:
        return View(name)
    columns = (key,) if isinstance(key, str) else tuple(key)
    if not columns or len(set(columns)) < len(columns) or not all(isinstance(c, str) for c in columns):
        raise PlanError(f"the key of the view {name} is {key!r}; allowed: a column's name, or several different ones")
    return View(name, columns)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None
