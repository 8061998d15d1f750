"""I3: whatever becomes of a topic, allowed changes go through, others change nothing, and rows stay readable."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from thalweg.core.errors import RowsRefused, SchemaChange
from thalweg.core.schema import Field, Schema
from thalweg.log import Log, Topic, TopicReader
from thalweg.log.drift import SortedOut, envelopes, sort_out

# The oracle's own words for types: what they are of, and the least and the greatest value, where that matters.
Kind: TypeAlias = Literal["i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "float", "double", "text", "truth"]
ARROW: dict[Kind, pa.DataType] = {
    "i8": pa.int8(), "i16": pa.int16(), "i32": pa.int32(), "i64": pa.int64(),
    "u8": pa.uint8(), "u16": pa.uint16(), "u32": pa.uint32(), "u64": pa.uint64(),
    "float": pa.float32(), "double": pa.float64(), "text": pa.string(), "truth": pa.bool_(),
}  # fmt: skip
KINDS: tuple[Kind, ...] = tuple(ARROW)
BITS = {"8": 8, "16": 16, "32": 32, "64": 64}
RANGE: dict[Kind, tuple[int, int]] = {
    kind: (0, 2**bits - 1) if kind[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    for kind in KINDS
    if (bits := BITS.get(kind[1:], 0))
}
EXACT: dict[Kind, int] = {"float": 2**24, "double": 2**53}
"""Up to this magnitude a float holds every integer."""
OF_PYTHON: dict[type, Kind] = {int: "i64", float: "double", str: "text", bool: "truth"}
EDGES = sorted(
    {0, 1, -1, 100, *(edge + by for low, high in RANGE.values() for edge in (low, high) for by in (-1, 0, 1))}
)
NAMES = "abcde"

Columns: TypeAlias = "dict[str, tuple[Kind, bool]]"
"""Each column's kind, and whether it may be null."""

Row: TypeAlias = dict[str, Any]


def holds(wide: Kind, narrow: Kind) -> bool:
    """Whether a column may go from one kind to another."""
    if wide in RANGE and narrow in RANGE:
        return RANGE[wide][0] <= RANGE[narrow][0] and RANGE[narrow][1] <= RANGE[wide][1]
    return wide == narrow or (wide, narrow) == ("double", "float")


def cover(one: Kind, other: Kind) -> Kind | None:
    both = [kind for kind in KINDS if holds(kind, one) and holds(kind, other)]
    return next((kind for kind in both if all(holds(more, kind) for more in both)), None)


def takes(target: Kind, value: Any, given_as: Kind) -> bool:
    """Whether a value of one kind is taken for one of another."""
    if value is None:
        return True
    if target in RANGE and given_as in RANGE:
        return RANGE[target][0] <= value <= RANGE[target][1]
    if target in EXACT and given_as in RANGE:
        return abs(value) <= EXACT[target]
    return target == given_as or {target, given_as} == {"float", "double"}


@dataclass
class Given:
    """Rows to append, as dicts or as an Arrow table with types of its own."""

    rows: list[Row]
    kinds: dict[str, Kind] | None

    @property
    def data(self) -> object:
        if self.kinds is None:
            return self.rows
        columns = {n: pa.array([row[n] for row in self.rows], ARROW[k]) for n, k in self.kinds.items()}
        return pa.table(columns)

    def kind_of(self, name: str, value: Any) -> Kind:
        return self.kinds[name] if self.kinds is not None else OF_PYTHON.get(type(value), "text")

    def faults(self, columns: Columns) -> dict[int, set[str]]:
        """The columns at fault, by row: what the topic lacks, values of no use, nulls where none may be."""
        found: dict[int, set[str]] = {}
        for index, row in enumerate(self.rows):
            bad = {name for name in row if name not in columns}
            for name, (kind, nullable) in columns.items():
                value = row.get(name)
                bad |= {name} if value is None and not nullable else set()
                if name in row and (value is not None or self.kinds is not None):
                    of = self.kind_of(name, value)
                    never = self.kinds is not None and not related(kind, of)
                    bad |= {name} if never or not takes(kind, value, of) else set()
            if bad:
                found[index] = bad
        return found

    def wider(self, columns: Columns) -> Columns | None:
        """What a topic must become; None where there is nothing that it may become."""
        after = dict(columns)
        for name in dict.fromkeys(name for row in self.rows for name in row):
            values = [row.get(name) for row in self.rows]
            kinds = {self.kind_of(name, value) for value in values if value is not None}
            if self.kinds is not None:
                kinds = {self.kinds[name]}
            if not kinds:
                continue
            if kinds == {"i64", "double"}:
                kinds = {"double"}  # numbers are numbers in Python
            if len(kinds) > 1:
                return None
            (kind,) = kinds
            if name not in after:
                after[name] = (kind, True)
            elif not related(after[name][0], kind) or not all(takes(after[name][0], v, kind) for v in values):
                covering = cover(after[name][0], kind)
                after[name] = (covering or after[name][0], after[name][1])
        fitting = Given([{n: v for n, v in row.items() if n in after} for row in self.rows], self.kinds)
        return None if fitting.faults(after) else after


def related(target: Kind, given_as: Kind) -> bool:
    """Whether any value of one kind is taken for one of another."""
    numbers = {*EXACT, *RANGE}
    if given_as in RANGE:
        return target in numbers
    return target == given_as or {target, given_as} == {"float", "double"}


@dataclass
class Model:
    """What must be there: the columns now, and the rows with the values that they were given."""

    columns: Columns
    rows: list[Row] = field(default_factory=list)
    rejected: int = 0
    versions: int = 1

    def row(self, index: int, names: list[str]) -> Row:
        return {name: self.rows[index].get(name) for name in names}


def schema_of(columns: Columns) -> Schema:
    return Schema(tuple(Field(name, ARROW[kind], nullable) for name, (kind, nullable) in columns.items()))


def may_follow(old: Columns, new: Columns) -> bool:
    kept = all(n in new and holds(new[n][0], k) and (new[n][1] or not nullable) for n, (k, nullable) in old.items())
    return kept and all(nullable for name, (_, nullable) in new.items() if name not in old)


Refusal = TypeVar("Refusal", bound=Exception)


def refused(error: type[Refusal], act: Callable[[], object]) -> Refusal:
    """Return the refusal that an act must end with."""
    try:
        done = act()
    except error as refusal:
        return refusal
    raise AssertionError(f"nothing was refused: {done!r}")


class Story:
    """One topic, two logs as two processes have them, and readers that stay open."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], folder: Path) -> None:
        self.draw = draw
        self.policy: Any = draw(st.sampled_from(["refuse", "reject", "widen"]))
        self.model = Model(draw(COLUMNS))
        # The segments are short, so that upkeep rewrites some of them meanwhile.
        self.logs = [Log(folder), Log(folder)]
        options: dict[str, Any] = {"drift": self.policy, "segment_bytes": draw(st.sampled_from([1024, 4096, 1 << 20]))}
        self.topics = [log.create("t", schema_of(self.model.columns), **options) for log in self.logs]
        self.readers: list[tuple[TopicReader, int]] = []

    def tell(self) -> None:
        steps = [self.append, self.append, self.evolve, self.look, self.open_reader, self.read_on]
        for _ in range(self.draw(st.integers(3, 12))):
            self.draw(st.sampled_from(steps))()
        self.read_on()
        self.account()

    def topic(self) -> Topic:
        return self.topics[self.draw(st.integers(0, 1))]

    def append(self) -> None:
        given_rows = self.draw(rows_near(self.model.columns))
        faults = given_rows.faults(self.model.columns)
        after: Columns | None = self.model.columns
        if self.policy == "widen" and faults:
            after = given_rows.wider(self.model.columns)
        if (faults and self.policy == "refuse") or after is None:
            refusal = refused(RowsRefused, lambda: self.topic().append(given_rows.data))
            if refusal.row is not None and self.policy == "refuse":
                assert refusal.column in faults[refusal.row]
            assert refusal.column in {*self.model.columns, *NAMES}
            return
        if after != self.model.columns:
            self.model.versions += 1
            self.model.columns = after
            faults = {}
        elif self.policy == "widen":
            faults = {}  # what had no value
        fitting = [row for index, row in enumerate(given_rows.rows) if index not in faults]
        result = self.topic().append_unique(given_rows.data)
        assert [bad.row for bad in result.rejected] == sorted(faults)
        assert all(bad.column in faults[bad.row] and bad.reason for bad in result.rejected)
        first = len(self.model.rows)
        assert result.offsets.drop_null().to_pylist() == list(range(first, first + len(fitting)))
        self.model.rows += fitting
        self.model.rejected += len(faults)

    def evolve(self) -> None:
        old = self.model.columns
        new = self.draw(changed(old))
        if may_follow(old, new):
            self.topic().evolve(schema_of(new))
            self.model.columns = new
            self.model.versions += list(old.items()) != list(new.items())
            return
        at_fault = [n for n in old if n not in new or not may_follow({n: old[n]}, {n: new[n]})]
        at_fault += [n for n in new if n not in old and not new[n][1]]
        refusal = refused(SchemaChange, lambda: self.topic().evolve(schema_of(new)))
        assert any(f'"{name}"' in str(refusal) for name in at_fault)

    def look(self) -> None:
        topic = self.topic()
        offset = self.draw(st.integers(0, len(self.model.rows)))
        table = topic.read(offset=offset)
        assert table.schema == topic.schema.arrow
        names = table.column_names
        expected = [self.model.row(index, names) for index in range(offset, len(self.model.rows))]
        assert table.to_pylist() == expected

    def open_reader(self) -> None:
        topic, offset = self.topic(), self.draw(st.integers(0, len(self.model.rows)))
        names = list(topic.schema.names)
        columns = self.draw(st.none() | st.lists(st.sampled_from(names), min_size=1, unique=True))
        self.readers.append((topic.reader(offset=offset, columns=columns), offset))

    def read_on(self) -> None:
        for place, (reader, offset) in enumerate(self.readers):
            while (batch := reader.read(self.draw(st.sampled_from([1, 3, 100])))) is not None:
                names = batch.schema.names
                expected = [self.model.row(offset + row, names) for row in range(batch.num_rows)]
                assert batch.to_pylist() == expected
                offset += batch.num_rows
            assert offset == reader.offset == len(self.model.rows)
            self.readers[place] = (reader, offset)

    def account(self) -> None:
        for topic in (*self.topics, self.logs[0].topic("t")):
            # Those that were open all the time may learn only now that the topic has evolved.
            table = topic.read(limit=10**6)
            assert table.to_pylist() == [
                self.model.row(index, table.column_names) for index in range(len(self.model.rows))
            ]
            assert topic.refresh() == schema_of(self.model.columns)
            assert len(topic.history) == self.model.versions
            assert topic.end() == len(self.model.rows)
            assert topic.verify() == []
        kept = self.logs[0].topic("t.rejected").end() if self.policy == "reject" else 0
        assert kept == self.model.rejected

    def close(self) -> None:
        for reader, _ in self.readers:
            reader.close()
        for log in self.logs:
            log.close()


COLUMNS: st.SearchStrategy[Columns] = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.sampled_from(KINDS), st.booleans()), min_size=1, max_size=3
)


def value_of(kind: Kind) -> st.SearchStrategy[Any]:
    if kind in RANGE:
        low, high = RANGE[kind]
        return st.sampled_from([edge for edge in EDGES if low <= edge <= high])
    if kind in ("float", "double"):
        return st.integers(-1000, 1000).map(lambda n: n / 2)
    return st.sampled_from(["", "x", "ä"]) if kind == "text" else st.booleans()


@st.composite
def rows_near(draw: Callable[[st.SearchStrategy[Any]], Any], columns: Columns) -> Given:
    """Draw rows that mostly fit: columns left out, others added, of other kinds now and then."""
    kinds = {name: kind for name, (kind, _) in columns.items()}
    if draw(st.booleans()):
        kinds[draw(st.sampled_from(NAMES))] = draw(st.sampled_from(KINDS))
    if draw(st.sampled_from([False, False, True])):
        kinds.pop(draw(st.sampled_from(NAMES)), None)
    kinds = kinds or {"a": "i8"}
    count = draw(st.integers(1, 5))
    nulls = draw(st.booleans())
    values = {n: (st.none() if nulls else st.nothing()) | value_of(kind) for n, kind in kinds.items()}
    rows = draw(st.lists(st.fixed_dictionaries(values), min_size=count, max_size=count))
    if draw(st.booleans()):
        return Given(rows, kinds)
    # Python's floats and integers have no widths, so dicts say nothing of them.
    if draw(st.booleans()):
        rows[-1] = {n: v for n, v in rows[-1].items() if draw(st.booleans())} or rows[-1]
    return Given(rows, None)


@st.composite
def changed(draw: Callable[[st.SearchStrategy[Any]], Any], columns: Columns) -> Columns:
    """Draw a schema that differs in one or two ways."""
    after = dict(columns)
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        name = draw(st.sampled_from(list(after)))
        kind, nullable = after[name]
        ways = ["add", "add", "widen", "widen", "loosen", "turn", "drop", "rename", "retype", "tighten"]
        match draw(st.sampled_from(ways)):
            case "add":
                added = (draw(st.sampled_from(KINDS)), draw(st.sampled_from([True, True, False])))
                after.setdefault(draw(st.sampled_from(NAMES)), added)
            case "drop" if len(after) > 1:
                del after[name]
            case "rename":
                free = [other for other in NAMES if other not in after]
                after = {(free[0] if old == name and free else old): what for old, what in after.items()}
            case "retype":
                after[name] = (draw(st.sampled_from(KINDS)), nullable)
            case "widen":
                after[name] = (draw(st.sampled_from([wide for wide in KINDS if holds(wide, kind)])), nullable)
            case "loosen":
                after[name] = (kind, True)
            case "tighten":
                after[name] = (kind, False)
            case _:
                after = dict(reversed(after.items()))
    return after


MEMORY = Path("/dev/shm")


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder in which a sync takes no time, where there is such a thing."""
    with tempfile.TemporaryDirectory(prefix="thalweg-drift-", dir=MEMORY if MEMORY.is_dir() else None) as path:
        yield Path(path, "log")


def tell(data: st.DataObject) -> None:
    with folder() as path:
        story = Story(data.draw, path)
        try:
            story.tell()
        finally:
            story.close()


@settings(max_examples=min(round(2.5 * settings().max_examples), 10_000))
@given(st.data())
def test_allowed_changes_go_through_and_others_change_nothing(data: st.DataObject) -> None:
    tell(data)


def _uncast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [
            batch.column(f.name).view(f.type)
            if f.name in batch.schema.names and f.type.bit_width == batch.schema.field(f.name).type.bit_width
            else pa.nulls(batch.num_rows, f.type)
            for f in schema
        ],
        schema=schema,
    )


def _one_is_lost(topic: str, found: SortedOut, now_us: int) -> pa.Table:
    return envelopes(topic, found, now_us).slice(1)


def _first_alone(rows: Any, schema: Schema) -> SortedOut:
    found = sort_out(rows, schema)
    return SortedOut(found.table, found.origins, found.rejected[:1], found.raw[:1], found.total)


@pytest.mark.parametrize(
    ("where", "planted"),
    [
        ("thalweg.log.reading.widened", _uncast),
        ("thalweg.log.topic.widened", lambda batch, _: batch),
        ("thalweg.log.topic.check_change", lambda topic, old, new: None),
        ("thalweg.log.topic.envelopes", _one_is_lost),
        ("thalweg.log.fitting.sort_out", _first_alone),
        ("thalweg.log.fitting.wider_schema", lambda rows, schema: schema),
        ("thalweg.log.rows.unknown_names", lambda rows, schema: iter(())),
        ("thalweg.log.evolution.is_widened", lambda old, new: True),
        ("thalweg.log.fitting.Fitting._is_newer", lambda self, metadata: False),
    ],
    ids=lambda value: value.removeprefix("thalweg.log.") if isinstance(value, str) else "",
)
def test_a_planted_bug_is_noticed(monkeypatch: pytest.MonkeyPatch, where: str, planted: Any) -> None:
    monkeypatch.setattr(where, planted)

    @settings(max_examples=1000, phases=[Phase.generate], report_multiple_bugs=False, derandomize=True)
    @given(st.data())
    def story(data: st.DataObject) -> None:
        tell(data)

    with pytest.raises(Exception):  # noqa: B017  # an AssertionError, or what the bug has led to
        story()
