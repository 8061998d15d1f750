"""Late and rejected rows on their way to topics of the embedded log: ``<app>.late`` and ``<app>.errors``.

They go with their checkpoint through the outbox, like the rows of any other output, so each is there once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, TypeAlias

import pyarrow as pa

from thalweg.connect import topic
from thalweg.core.envelope import ERROR_SCHEMA, LATE_SCHEMA
from thalweg.engine.embedded.delivery import Delivery
from thalweg.engine.embedded.outputs import Beginning
from thalweg.log import Log

Kind: TypeAlias = Literal["late", "errors"]
ASIDES: Final[tuple[Kind, ...]] = ("late", "errors")
_SCHEMAS: Final = {"late": LATE_SCHEMA, "errors": ERROR_SCHEMA}


class Aside:
    """The way to one of the two topics, which is made when it first gets a row.

    Attributes:
        delivery: The way; None while nothing was given.
    """

    def __init__(self, kind: Kind, app: str, log: Path, beginning: Beginning) -> None:
        self._sink = topic(f"{app}.{kind}", log=log)
        self._kind = kind
        self._log = log
        self._schema = _SCHEMAS[kind]
        self._beginning = beginning
        self.delivery: Delivery | None = None

    def begin(self) -> None:
        """Go on with what an earlier run owes the topic; where the state is an older one, ask the topic what it has."""
        if self._kind in self._beginning.owed or (self._beginning.recovers and self._there()):
            self._open()

    def put(self, rows: pa.Table) -> None:
        """Give rows; none is none."""
        if rows.num_rows:
            self._open().put(rows)

    def _there(self) -> bool:
        return self._sink.topic in Log(self._log).topics()

    def _open(self) -> Delivery:
        if self.delivery is None:
            self.delivery = self._beginning.delivery(self._sink, self._kind, self._schema)
        return self.delivery
