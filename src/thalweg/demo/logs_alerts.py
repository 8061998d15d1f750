"""Alerts in a file: each is appended once, however often it is raised and wherever the process dies."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

KEY: Final = ("service", "rule", "window_start")


class Alerts:
    r"""Takes the rows that stand above a threshold, and appends a line for each of which there is none.

    The file is read at the first row: an engine that starts again after a crash raises once more what it had raised
    since its last checkpoint. A last line without its end is what a crash has left of one, and is written anew.

    Args:
        path: The file, NDJSON: service, rule, start of the window.
        tell: Gets each new alert as a line of text.

    Example:
        >>> import tempfile
        >>> alerts = Alerts(Path(tempfile.mkdtemp(), "alerts.ndjson"), print)
        >>> start = pa.array([0], pa.timestamp("us", tz="UTC"))
        >>> rows = pa.table({"service": ["pay"], "rule": ["timeout"], "window_start": start, "_weight": [1]})
        >>> alerts(rows)
        ALERT 00:00:00 pay: many errors "timeout"
        >>> alerts(rows)
        >>> alerts.path.read_text()
        '{"service": "pay", "rule": "timeout", "window_start": "1970-01-01T00:00:00+00:00"}\n'
    """

    def __init__(self, path: Path, tell: Callable[[str], object] | None = None) -> None:
        self.path = path
        self._tell = tell
        self._raised: dict[tuple[Any, ...], dict[str, Any]] | None = None

    @property
    def raised(self) -> list[dict[str, Any]]:
        """The alerts so far, in the order in which they were raised; times as text."""
        return list((self._raised if self._raised is not None else self._read()).values())

    def __call__(self, rows: pa.Table) -> None:
        """Append the alerts that are new; durable when it returns.

        Shape: ``service, rule, window_start`` and what else there may be; ``_weight`` -1 is a row withdrawn.
        """
        if self._raised is None:
            self._raised = self._read()
        new = []
        for row in rows.sort_by([(name, "ascending") for name in reversed(KEY)]).to_pylist():
            alert = {name: row[name] for name in KEY} | {"window_start": row["window_start"].isoformat()}
            key = tuple(alert.values())
            if row["_weight"] > 0 and key not in self._raised:
                self._raised[key] = alert
                new.append((row, alert))
        if not new:
            return
        with open(self.path, "ab") as file:
            file.write("".join(json.dumps(alert) + "\n" for _, alert in new).encode())
            file.flush()
            os.fsync(file.fileno())
        for row, _ in new:
            if self._tell is not None:
                self._tell(f'ALERT {row["window_start"]:%H:%M:%S} {row["service"]}: many errors "{row["rule"]}"')

    def _read(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Return what the file has, and take a line away that is not whole."""
        if not self.path.exists():
            return {}
        text = self.path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            os.truncate(self.path, whole)
        alerts = [json.loads(line) for line in text[:whole].splitlines()]
        return {tuple(alert.values()): alert for alert in alerts}
