"""Access logs of web servers: Apache's *common* and *combined* formats, which nginx writes too.

=============  =========  =====================================================================
column         type       what
=============  =========  =====================================================================
host           string     the client's address or name
ident, user    string     null where the log has ``-``
time           timestamp  in UTC, whatever the zone in the log
request        string     the request's first line as it stands in the log, escapes and all
method, path,  string     its three parts; null where it has not three
protocol
status, size   int64      the size is null where the log has ``-``
referer,       string     *combined* only; null where the log has ``-``
user_agent
=============  =========  =====================================================================

Most lines have no escaped quote, and are cut at their quotes, which is some times as fast as to match them group by
group; what is cut is what the pattern's groups would be.

Source: Apache HTTP Server 2.4, *Log Files*; nginx, ``ngx_http_log_module``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import polars as pl
import pyarrow as pa

from thalweg.columnar.parse_line import LineParser, ParsedLines, columns_of, groups_of, without_dash
from thalweg.core.schema import TIMESTAMP

_QUOTED = r'(?:[^"\\]|\\.)*'
_CLIENT = r"(?P<host>[^ ]+) (?P<ident>[^ ]+) (?P<user>[^\[\x22]+?) \[(?P<time>[^\]\x22]+)\]"
_ANSWER = r"(?P<status>[0-9]{3}) (?P<size>[0-9]{1,18}|-)"
_COMMON = rf'^{_CLIENT} "(?P<request>{_QUOTED})" {_ANSWER}$'
_COMBINED = rf'{_COMMON[:-1]} "(?P<referer>{_QUOTED})" "(?P<user_agent>{_QUOTED})"$'
_TIME = "%d/%b/%Y:%H:%M:%S %z"

_COLUMNS = {
    **dict.fromkeys(("host", "ident", "user"), pa.string()),
    "time": TIMESTAMP,
    **dict.fromkeys(("request", "method", "path", "protocol"), pa.string()),
    **dict.fromkeys(("status", "size"), pa.int64()),
}
_MORE_COLUMNS = dict.fromkeys(("referer", "user_agent"), pa.string())
_MAY_BE_DASH = ("ident", "user", "referer", "user_agent")


def _parse(pattern: str, lines: pl.Series, wanted: Sequence[str], _changed_us: int) -> ParsedLines:
    groups = _cut(lines, pattern) if not lines.str.contains("\\", literal=True).any() else groups_of(lines, pattern)
    times = groups["time"].str.to_datetime(_TIME, time_unit="us", time_zone="UTC", strict=False)
    columns = {"time": times, "request": groups["request"]}
    for name in ("host", *_MAY_BE_DASH):
        if name in groups and name in wanted:
            columns[name] = without_dash(groups[name]) if name in _MAY_BE_DASH else groups[name]
    if {"method", "path", "protocol"} & set(wanted):
        columns |= _parts(groups["request"])
    for name in ("status", "size"):
        if name in wanted:
            columns[name] = groups[name].cast(pl.Int64, strict=False)
    matched = times.is_not_null()
    return ParsedLines(columns, None if matched.all() else matched)


def _cut(lines: pl.Series, pattern: str) -> dict[str, pl.Series]:
    """Return the groups of lines in which no character is escaped."""
    # Where a line does not match it is null, and so are its groups.
    whole = pl.select(pl.when(lines.str.contains(pattern)).then(lines)).to_series()
    quotes = 6 if "referer" in pattern else 2
    parts = whole.str.split_exact('"', quotes)
    client, request, answer = (parts.struct.field(f"field_{number}") for number in range(3))
    answer = answer.str.strip_chars(" ")
    groups = {"request": request, "status": answer.str.slice(0, 3), "size": answer.str.slice(4)}
    if quotes > 2:
        groups |= {"referer": parts.struct.field("field_3"), "user_agent": parts.struct.field("field_5")}
    opening = client.str.splitn("[", 2)
    groups["time"] = opening.struct.field("field_1").str.strip_chars_end(" ").str.strip_suffix("]")
    names = opening.struct.field("field_0").str.splitn(" ", 3)
    groups |= {"host": names.struct.field("field_0"), "ident": names.struct.field("field_1")}
    groups["user"] = names.struct.field("field_2").str.strip_suffix(" ")
    return groups


def _parts(requests: pl.Series) -> dict[str, pl.Series]:
    """Return the method, path and protocol of requests that have the three."""
    cut = requests.str.splitn(" ", 3)
    method, path, protocol = (cut.struct.field(f"field_{number}") for number in range(3))
    odd = method.eq("") | path.eq("") | protocol.is_null() | protocol.eq("") | protocol.str.contains(" ", literal=True)
    parts = {"method": method, "path": path, "protocol": protocol}
    if not odd.any():
        return parts
    return {name: pl.select(pl.when(~odd).then(part)).to_series() for name, part in parts.items()}


COMMON = LineParser(
    "common",
    columns_of(_COLUMNS),
    'the common log format: host ident user [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326',
    partial(_parse, _COMMON),
)
"""The common log format."""

COMBINED = LineParser(
    "combined",
    columns_of(_COLUMNS | _MORE_COLUMNS),
    'the combined log format: host ident user [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 2326 "referer" "agent"',
    partial(_parse, _COMBINED),
)
"""The combined log format."""
