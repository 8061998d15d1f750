"""The board of the log analysis: lines per level and rule, and what was raised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from thalweg.observe.status import Status, block

if TYPE_CHECKING:
    from rich.console import RenderableType

_ALERTS: Final = 5
_STYLES: Final = {"ERROR": "bold red", "WARN": "yellow"}

Row = dict[str, Any]  # a row of a view
Counts = Mapping[tuple[str, str], int]
"""Lines by level and rule."""


def board(status: Status, totals: Sequence[Row], counts: Sequence[Row], alerts: Sequence[Row]) -> RenderableType:
    """Return the board: a line per level, a column per rule; below it the latest alerts and the run's status.

    Each cell has the lines so far and, after a plus sign, those of the latest window.
    """
    latest = max((row["window_start"] for row in counts), default=None)
    recent = by_level_and_rule([row for row in counts if row["window_start"] == latest])
    title = "Lines by level and rule" + (f"; + since {latest:%H:%M:%S}" if latest is not None else "")
    table = counted(by_level_and_rule(totals), recent)
    raised = [Text(alert_text(alert), style="red") for alert in alerts[-_ALERTS:]]
    head = Text(f"Alerts: {len(alerts)}", style="bold")
    return Group(title, table, head, *raised, Text(), block(status))


def counted(totals: Counts, recent: Counts | None = None) -> Table:
    """Return a table of lines, a row per level and a column per rule."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("level", no_wrap=True, min_width=5)
    rules = sorted({rule for _, rule in totals}, key=lambda rule: (rule == "other", rule))
    for rule in rules:
        table.add_column(rule, justify="right", min_width=10, no_wrap=True)
    levels = ("ERROR", "WARN", "INFO", "DEBUG")
    for level in levels:
        cells = [_cell(totals.get((level, rule), 0), (recent or {}).get((level, rule), 0)) for rule in rules]
        table.add_row(level, *cells, style=_STYLES.get(level))
    return table


def by_level_and_rule(rows: Sequence[Row]) -> dict[tuple[str, str], int]:
    """Return the lines of rows, added up by level and rule."""
    found: dict[tuple[str, str], int] = {}
    for row in rows:
        key = row["level"], row["rule"]
        found[key] = found.get(key, 0) + row["lines"]
    return found


def alert_text(alert: Row) -> str:
    """Return an alert as a line.

    Example:
        >>> alert_text({"service": "pay", "rule": "timeout", "window_start": "2026-03-01T10:00:20+00:00"})
        '10:00:20  pay: many errors "timeout"'
    """
    return f'{alert["window_start"][11:19]}  {alert["service"]}: many errors "{alert["rule"]}"'


def alerts_text(count: int) -> str:
    """Return how many alerts there are, in words.

    Example:
        >>> alerts_text(1), alerts_text(2)
        ('1 alert', '2 alerts')
    """
    return f"{count} alert{'' if count == 1 else 's'}"


def line_of(status: Status, totals: Sequence[Row], alerts: Sequence[Row]) -> str:
    """Return one line, for where there is no terminal: lines, errors, and what was raised last."""
    levels: dict[str, int] = {}
    for row in totals:
        levels[row["level"]] = levels.get(row["level"], 0) + row["lines"]
    text = f"{status.progress.seconds:4.0f} s  {sum(levels.values()):>7,} lines, {levels.get('ERROR', 0):,} errors, "
    text += alerts_text(len(alerts))
    return text + (f"; the last: {alert_text(alerts[-1])}" if alerts else "")


def _cell(total: int, recent: int) -> Text:
    cell = Text(f"{total:,}" if total else "")
    if recent:
        cell.append(f" +{recent}", style="dim")
    return cell
