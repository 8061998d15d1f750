"""What the functions of text mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from tests.engines.meaning import (
    BOOL,
    DATE,
    DAY,
    I64,
    LEAP,
    MAX64,
    MIN64,
    MINUTE,
    SECOND,
    TEXT,
    TEXTS,
    TS,
    YEAR_1,
    YEAR_10000,
    Case,
    Rejected,
    strict,
)
from thalweg.plan.expr import Expr

SPACES = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2028\u2029\u202f\u205f\u3000"


def texts() -> Iterator[Case]:
    def case(name: str, build: Callable[..., Expr], meaning: Callable[..., Any], result: pa.DataType = TEXT) -> Case:
        return Case(f"str.{name}", build, (TEXT,), strict(meaning), result)

    def two(name: str, build: Callable[..., Expr], meaning: Callable[..., Any], result: pa.DataType = TEXT) -> Case:
        return Case(f"str.{name}", build, (TEXT, TEXT), strict(meaning), result)

    yield two("starts_with", lambda x, y: x.str.starts_with(y), str.startswith, BOOL)
    yield two("ends_with", lambda x, y: x.str.ends_with(y), str.endswith, BOOL)
    yield two("strip_prefix", lambda x, y: x.str.strip_prefix(y), str.removeprefix)
    yield two("strip_suffix", lambda x, y: x.str.strip_suffix(y), str.removesuffix)
    yield case("starts_with", lambda x: x.str.starts_with("/p"), lambda x: x.startswith("/p"), BOOL)
    for pattern in ("a.c", "^a", "[ßΣ]", "", r"(?i)STRASSE|A", r"\d+$"):
        search = lambda x, p=pattern: re.search(p.replace("$", r"\Z"), x) is not None  # noqa: E731
        yield case("contains", lambda x, p=pattern: x.str.contains(p), search, BOOL)
    yield case("contains", lambda x: x.str.contains("?", literal=True), lambda x: "?" in x, BOOL)
    yield case("to_lowercase", lambda x: x.str.to_lowercase(), str.lower)
    yield case("to_uppercase", lambda x: x.str.to_uppercase(), str.upper)
    yield case("strip_chars", lambda x: x.str.strip_chars(), lambda x: x.strip(SPACES))
    yield case("strip_chars", lambda x: x.str.strip_chars("ac"), lambda x: x.strip("ac"))
    yield case("strip_chars_start", lambda x: x.str.strip_chars_start(), lambda x: x.lstrip(SPACES))
    yield case("strip_chars_start", lambda x: x.str.strip_chars_start("aS"), lambda x: x.lstrip("aS"))
    yield case("strip_chars_end", lambda x: x.str.strip_chars_end(), lambda x: x.rstrip(SPACES))
    yield case("strip_chars_end", lambda x: x.str.strip_chars_end("cß"), lambda x: x.rstrip("cß"))
    yield case(
        "replace",
        lambda x: x.str.replace("([ab])(c?)", "<$2$1>"),
        lambda x: re.sub("([ab])(c?)", r"<\2\1>", x, count=1),
    )
    yield case("replace", lambda x: x.str.replace("b", "$0", literal=True), lambda x: x.replace("b", "$0", 1))
    yield case(
        "replace_all", lambda x: x.str.replace_all(r"(?P<d>\d)", "${d}${d}"), lambda x: re.sub(r"(\d)", r"\1\1", x)
    )
    yield case("replace_all", lambda x: x.str.replace_all("b", "..", literal=True), lambda x: x.replace("b", ".."))
    for offset in (0, 1, -2, -9, 9):
        for length in (None, 0, 2, 8):
            meaning = lambda x, o=offset, n=length: part(x, o, n)  # noqa: E731
            yield case("slice", lambda x, o=offset, n=length: x.str.slice(o, n), meaning)
    for n in (0, 2, -2, 99, -99):
        yield case("head", lambda x, n=n: x.str.head(n), lambda x, n=n: x[:n])
        yield case("tail", lambda x, n=n: x.str.tail(n), lambda x, n=n: x[max(len(x) - n, 0) :] if n >= 0 else x[-n:])
        yield case("zfill", lambda x, n=n: x.str.zfill(abs(n)), lambda x, n=n: zfill(x, abs(n)))
    yield case("len_chars", lambda x: x.str.len_chars(), len, I64)
    yield case("len_bytes", lambda x: x.str.len_bytes(), lambda x: len(x.encode()), I64)
    yield case("split", lambda x: x.str.split("a"), lambda x: x.split("a"), TEXTS)
    yield case("split", lambda x: x.str.split("bc"), lambda x: x.split("bc"), TEXTS)
    for group in (0, 1, 2):
        meaning = lambda x, g=group: (lambda m: m and m.group(g))(re.search("(a)(b)?", x))  # noqa: E731
        yield case("extract", lambda x, g=group: x.str.extract("(a)(b)?", g), meaning)
    yield from reading()


def zfill(text: str, length: int) -> str:
    sign, digits = (text[:1], text[1:]) if text[:1] in ("+", "-") and text else ("", text)
    return sign + digits.rjust(length - len(sign), "0")


def part(text: str, offset: int, length: int | None) -> str:
    start = offset if offset >= 0 else len(text) + offset
    end = len(text) if length is None else start + length
    return text[max(start, 0) : max(end, 0)]


def reading() -> Iterator[Case]:
    """Texts that say something: an answer per text, and none for those that cannot be read."""
    iso = {
        "2024-02-29T12:34:56.789012Z": LEAP,
        "2024-02-29 12:34:56.789012": LEAP,
        "2024-02-29T14:34:56.789012+02:00": LEAP,
        "1970-01-01": 0,
        "1970-01-01T00:00:00.0000019": 1,
        "0001-01-01T00:00:00Z": YEAR_1 * DAY,
        "9999-12-31T23:59:59.999999Z": YEAR_10000 * DAY - 1,
    }
    wrong = ["2023-02-29T00:00:00Z", "2024-02-29T25:00:00Z", "yesterday", "", " 1970-01-01", "10000-01-01"]
    minute = LEAP // MINUTE * MINUTE
    formats: list[tuple[str, dict[str, int], list[str]]] = [
        (
            "%d.%m.%Y %I:%M %p",
            {"29.02.2024 12:34 PM": minute, "29.02.2024 12:34 pm": minute},
            ["29.02.2024 12:34", "x"],
        ),
        ("%Y-%m-%d %H:%M:%S%.f", {"2024-02-29 12:34:56.789012": LEAP, "1969-12-31 23:59:59": -SECOND}, ["1969-12-31"]),
        ("%F %T %z", {"2024-02-29 14:34:56 +0200": LEAP // SECOND * SECOND}, ["2024-02-29 14:34:56"]),
        ("%y%m%d", {"240229": 19_782 * DAY, "690101": 36_160 * DAY, "700101": 0}, ["230229", "2402290"]),
        ("%A %d %B %Y", {"Thursday 29 February 2024": 19_782 * DAY}, ["Friday 29 February 2024"]),
        ("%a %d %b %Y", {"Thu 29 Feb 2024": 19_782 * DAY}, ["Thu 29 Fev 2024"]),
        ("%s", {"0": 0, "1709210096": LEAP // SECOND * SECOND}, ["1.5", "now"]),
        ("%G-%V-%u", {"1970-01-4": 0}, ["1970-54-4"]),
        ("%Y%%%j", {"1970%001": 0}, ["1970%000", "1970001"]),
    ]
    for strictly in (True, False):
        build = lambda x, s=strictly: x.str.to_datetime(strict=s)  # noqa: E731  # a column of cases
        yield read("to_datetime", build, iso, wrong, strictly, TS)
        for format, right, bad in formats:
            build = lambda x, f=format, s=strictly: x.str.to_datetime(f, strict=s)  # noqa: E731
            yield read("to_datetime", build, right, bad, strictly, TS)
        dates = {"1970-01-01": 0, "2024-02-29": 19_782, "9999-12-31": YEAR_10000 - 1}
        bad = ["2023-02-29", "x", "", "1970-01-01T00:00:00"]
        yield read("to_date", lambda x, s=strictly: x.str.to_date(strict=s), dates, bad, strictly, DATE)
        build = lambda x, s=strictly: x.str.to_date("%d/%m/%y", strict=s)  # noqa: E731
        yield read("to_date", build, {"29/02/24": 19_782}, ["30/02/24"], strictly, DATE)
        integers = {"0": 0, "-7": -7, "+7": 7, "007": 7, str(MAX64): MAX64, str(MIN64): MIN64}
        bad = [str(MAX64 + 1), " 1", "1.0", "", "1e3", "ff", "0x1", "1_0"]
        yield read("to_integer", lambda x, s=strictly: x.str.to_integer(strict=s), integers, bad, strictly, I64)
        build = lambda x, s=strictly: x.str.to_integer(base=16, strict=s)  # noqa: E731
        yield read("to_integer", build, {"ff": 255, "-FF": -255}, ["0xff", "g"], strictly, I64)
    found = {'{"a":{"b":1}}': "1", '{"a":{"b":"x"}}': "x", '{"a":{"b":[1, true]}}': "[1,true]"}
    none = ['{"a":1}', "{", "", '{"a":{"b":null}}', "[]"]
    yield read("json_path_match", lambda x: x.str.json_path_match("$.a.b"), found, none, False, TEXT)


def read(
    function: str,
    build: Callable[..., Expr],
    right: dict[str, Any],
    wrong: list[str],
    strictly: bool,
    result: pa.DataType,
) -> Case:
    def meaning(text: str) -> Any:
        if text not in right and strictly:
            raise Rejected
        return right.get(text)

    return Case(f"str.{function}", build, (TEXT,), strict(meaning), result, ([None, *right, *wrong],))
