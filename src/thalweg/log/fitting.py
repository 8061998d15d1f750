"""What a topic does with rows as they come: it takes, refuses or rejects them, or widens itself, as its policy says."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from thalweg.core.clock import Clock
from thalweg.core.errors import LogError, RowsRefused
from thalweg.core.schema import Schema
from thalweg.log.drift import SortedOut, sort_out, wider_schema, without_empty
from thalweg.log.known import KnownMetadata
from thalweg.log.metadata import Metadata
from thalweg.log.options import check_options
from thalweg.log.rows import Given, given_rows, table_of


class Fitting:
    """Brings the rows of one handle's appends to the topic's columns.

    Args:
        known: The topic's metadata.
        clock: Gives the time of rejections.
        change: Gives the topic the schema that follows the present one, while nobody appends.
        keep: Keeps rejected rows, durably.
    """

    def __init__(
        self,
        known: KnownMetadata,
        clock: Clock,
        change: Callable[[Callable[[Schema], Schema]], None],
        keep: Callable[[SortedOut, int], None],
    ) -> None:
        self._known = known
        self._clock = clock
        self._change = change
        self._keep = keep

    def fit(self, rows: object) -> tuple[SortedOut, Metadata]:
        """Return rows with the topic's columns, and the metadata that these are of.

        Raises:
            RowsRefused: They cannot have them; nothing was changed.
            LogError: Rejected rows cannot be kept, or the topic cannot be changed.
        """
        given = given_rows(rows)
        metadata = self._known.current
        try:
            return SortedOut(table_of(given, metadata.schema)), metadata
        except RowsRefused:
            if self._is_newer(metadata):
                return self.fit(given)
            if metadata.options.drift == "refuse":
                raise
        if metadata.options.drift == "widen":
            return self._widened(given)
        found = sort_out(given, metadata.schema)
        if found.rejected:
            self._keep(found, self._clock.now_us())
        return found, metadata

    def fit_whole(self, rows: object) -> tuple[pa.Table, Metadata]:
        """Return rows with the topic's columns, whatever its policy is.

        Raises:
            RowsRefused: They cannot have them.
        """
        given = given_rows(rows)
        metadata = self._known.current
        try:
            return table_of(given, metadata.schema), metadata
        except RowsRefused:
            if self._is_newer(metadata):
                return self.fit_whole(given)
            raise

    def _is_newer(self, metadata: Metadata) -> bool:
        """Whether the topic has evolved: another process need not have said so before this one refuses rows."""
        return self._known.refresh().version > metadata.version

    def _widened(self, rows: Given) -> tuple[SortedOut, Metadata]:
        options = self._known.current.options

        def follow(schema: Schema) -> Schema:
            wider = wider_schema(rows, schema)
            try:
                check_options(options, wider)
            except LogError as error:
                raise RowsRefused(str(error)) from error
            table_of(without_empty(rows, schema), wider)  # all of them fit then, or nothing is changed
            return wider

        self._change(follow)
        metadata = self._known.current
        return SortedOut(table_of(without_empty(rows, metadata.schema), metadata.schema)), metadata
