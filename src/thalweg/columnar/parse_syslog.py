"""Syslog lines: RFC 5424, RFC 3164, and what rsyslog writes to files (RFC 3164 with either kind of time, no priority).

===================  =========  ===============================================================
column               type       what
===================  =========  ===============================================================
facility, severity   int64      of the priority; null where the line has none
time                 timestamp  in UTC; null where the line has none (RFC 5424 only)
host, app            string     RFC 5424 also writes ``-``: null
pid                  string     the process, in brackets after the app in RFC 3164
message_id, data     string     RFC 5424 only; the structured data as it stands
message              string
===================  =========  ===============================================================

RFC 3164's time has neither zone nor year. It is taken for UTC, and for the latest such time that is not more than a day
after the file was changed last: so a line of December that is read in January is of the year before.

Source: RFC 3164; RFC 5424.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from thalweg.columnar.parse_line import LineParser, ParsedLines, columns_of, groups_of, without_dash
from thalweg.columnar.text import parse
from thalweg.core.schema import TIMESTAMP

_PRIORITY = r"<(?P<priority>[0-9]|[1-9][0-9]|1[0-8][0-9]|19[01])>"
_NEW = (
    rf"^{_PRIORITY}[1-9][0-9]{{0,2}} (?P<time>[^ ]+) (?P<host>[^ ]+) (?P<app>[^ ]+) (?P<pid>[^ ]+) "
    r"(?P<message_id>[^ ]+) "
    r'(?P<data>-|(?:\[[^ =\]"]+(?: [^ =\]"]+="(?:[^"\\\]]|\\.)*")*\])+)(?: (?:\x{FEFF})?(?P<message>.*))?$'
)
_TEXT_TIME = r"(?P<text_time>[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2})"
_OLD = (
    rf"^(?:{_PRIORITY})?(?:{_TEXT_TIME}|(?P<time>[0-9]{{4}}-[^ ]+)) (?P<host>[^ ]+) "
    r"(?:(?P<app>[^ :\[]+)(?:\[(?P<pid>[^\]]*)\])?: ?)?(?P<message>.*)$"
)
_STARTS_NEW = rf"^{_PRIORITY}[1-9][0-9]{{0,2}} "
_DAY = dt.timedelta(days=1)
_LEAP = 2000  # any date has its place in a leap year
_LEAP_YEARS_APART = 8  # 1896 and 1904, at the most


def _parse(lines: pl.Series, wanted: Sequence[str], changed_us: int) -> ParsedLines:
    new = lines.str.contains(_STARTS_NEW)
    if new.all():
        groups = groups_of(lines, _NEW)
    elif not new.any():
        groups = groups_of(lines, _OLD)
    else:
        newer, older = groups_of(_only(lines, new), _NEW), groups_of(_only(lines, ~new), _OLD)
        groups = older | {
            name: pl.select(pl.when(new).then(texts).otherwise(older[name])).to_series() if name in older else texts
            for name, texts in newer.items()
        }
    times, fine = _times(groups, changed_us)
    priority = groups["priority"].cast(pl.Int64)
    nothing = pl.repeat(None, lines.len(), dtype=pl.String, eager=True)
    columns = {"time": times, "facility": priority // 8, "severity": priority % 8}
    columns["message"] = groups["message"]
    for name in ("host", "app", "pid", "message_id", "data"):
        if name in wanted:
            columns[name] = without_dash(groups[name]) if name in groups else nothing
    # The host stands in every line of either form.
    matched = groups["host"].is_not_null() & fine
    return ParsedLines(columns, None if matched.all() else matched)


def _only(lines: pl.Series, kept: pl.Series) -> pl.Series:
    return pl.select(pl.when(kept).then(lines)).to_series()


def _times(groups: dict[str, pl.Series], changed_us: int) -> tuple[pl.Series, pl.Series]:
    """Return the times, and whether what was written for each can be one."""
    written = without_dash(groups["time"])
    if written.null_count() == written.len():
        moments = pl.repeat(None, written.len(), dtype=pl.Datetime("us", "UTC"), eager=True)
    else:
        parsed, _ = parse(written.to_arrow().cast(pa.string()), TIMESTAMP)
        moments = pl.Series(pl.from_arrow(parsed))
    fine = written.is_null() | moments.is_not_null()
    texts = groups.get("text_time")
    if texts is None or texts.null_count() == texts.len():
        return moments, fine
    guessed = _in_year(texts, changed_us)
    fine = fine & (texts.is_null() | guessed.is_not_null())
    return pl.select(pl.coalesce(moments, guessed)).to_series(), fine


def _in_year(texts: pl.Series, changed_us: int) -> pl.Series:
    """Return the latest time of each text that is at most a day after a file's last change."""
    changed = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=changed_us)
    latest = changed + _DAY
    in_leap = pl.concat_str(pl.lit(f"{_LEAP} "), texts.str.replace("  ", " 0", literal=True))
    leap = pl.select(in_leap.str.to_datetime("%Y %b %d %H:%M:%S", time_unit="us", time_zone="UTC", strict=False))
    frame = leap.to_series().alias("t").to_frame()
    found: list[pl.Expr] = []
    years = [latest.year, latest.year - 1]
    is_29th = (pl.col("t").dt.month() == 2) & (pl.col("t").dt.day() == 29)
    if frame.select(is_29th.any()).item():
        years += range(latest.year - 2, latest.year - 2 - _LEAP_YEARS_APART, -1)
    day = pl.col("t").dt.ordinal_day() - 1
    for year in years:
        is_leap = dt.date(year, 12, 31).timetuple().tm_yday == 366
        # A year's days after 28 February are one fewer than those of the leap year, but in a leap year itself.
        shift = pl.lit(0) if is_leap else (day >= 60).cast(pl.Int32)
        start = pl.lit(dt.datetime(year, 1, 1, tzinfo=dt.UTC))
        of_day = pl.col("t") - pl.col("t").dt.truncate("1d")
        moment = start + pl.duration(days=day - shift) + of_day
        fits = (moment <= latest) if is_leap else (moment <= latest) & ~is_29th
        found.append(pl.when(fits).then(moment))
    return frame.select(pl.coalesce(found).cast(pl.Datetime("us", "UTC"))).to_series()


SYSLOG = LineParser(
    "syslog",
    columns_of(
        {
            **dict.fromkeys(("facility", "severity"), pa.int64()),
            "time": TIMESTAMP,
            **dict.fromkeys(("host", "app", "pid", "message_id", "data", "message"), pa.string()),
        }
    ),
    "syslog: <34>1 2003-10-11T22:14:15.003Z host app pid id - message (RFC 5424), or "
    "Oct 11 22:14:15 host app[pid]: message (RFC 3164, the priority and the time of RFC 5424 are allowed)",
    _parse,
)
"""Syslog, the old and the new, also mixed."""
