"""How a mistake is written down: a function that makes it, in a line that is marked ``# wrong``."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Annotated

from annotated_types import Ge, MinLen

import thalweg as tw
from thalweg import Stream, count

MARK = "# wrong"
Mistake = Callable[[tw.App, Stream], object]
MISTAKES: list[Mistake] = []


class Click:
    user: str
    page: Annotated[str, MinLen(1)]
    price: Annotated[float, Ge(0)] | None
    tags: list[str]
    n: int
    ts: dt.datetime


def mistake(function: Mistake) -> Mistake:
    """Take a function that makes one mistake."""
    MISTAKES.append(function)
    return function


def table(clicks: Stream) -> Stream:
    """A changing table: page and clicks."""
    return clicks.group_by("page").agg(clicks=count())
