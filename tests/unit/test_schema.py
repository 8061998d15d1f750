"""Schemas as programs write them: names, types, nulls and rules."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NotRequired, TypedDict

import msgspec
import pyarrow as pa
import pydantic
import pytest
from annotated_types import Ge, Gt, Interval, Len, Lt, MaxLen, MinLen, MultipleOf

from thalweg.core.errors import PlanError
from thalweg.core.schema import TIMESTAMP, Field, Rule, Schema, normal_type, schema_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Part(TypedDict):
    name: str
    size: int


@dataclass
class AsDataclass:
    user: str
    price: Annotated[float, Ge(0)] | None
    tags: list[str]


class AsTypedDict(TypedDict):
    user: str
    price: Annotated[float, Ge(0)] | None
    tags: list[str]


class AsPlain:
    user: str
    price: Annotated[float | None, Ge(0)]
    tags: list[str]


class AsPydantic(pydantic.BaseModel):
    user: str
    price: float | None = pydantic.Field(ge=0)
    tags: list[str]


class AsStruct(msgspec.Struct):
    user: str
    price: Annotated[float, msgspec.Meta(ge=0)] | None
    tags: list[str]


EXPECTED = Schema(
    (
        Field("user", pa.string(), False),
        Field("price", pa.float64(), True, (Rule("ge", 0),)),
        Field("tags", pa.list_(pa.field("item", pa.string())), False),
    )
)


@pytest.mark.parametrize("written", [AsDataclass, AsTypedDict, AsPlain, AsPydantic, AsStruct], ids=lambda c: c.__name__)
def test_every_way_to_write_a_schema_says_the_same(written: type) -> None:
    assert schema_of(written) == EXPECTED


def test_an_arrow_schema_keeps_what_may_be_null() -> None:
    given = pa.schema([pa.field("a", pa.int32(), nullable=False), pa.field("b", pa.large_string())])
    assert schema_of(given) == Schema((Field("a", pa.int32(), False), Field("b", pa.string())))


def test_a_schema_is_a_schema() -> None:
    assert schema_of(EXPECTED) is EXPECTED
    assert schema_of(EXPECTED.arrow).names == EXPECTED.names


@pytest.mark.parametrize(
    ("hint", "kind"),
    [
        (str, pa.string()),
        (int, pa.int64()),
        (float, pa.float64()),
        (bool, pa.bool_()),
        (bytes, pa.binary()),
        (dt.datetime, TIMESTAMP),
        (dt.date, pa.date32()),
        (dt.time, pa.time64("us")),
        (dt.timedelta, pa.duration("us")),
        (decimal.Decimal, pa.decimal128(38, 9)),
        (uuid.UUID, pa.string()),
        (pa.int8(), pa.int8()),
        (Colour, pa.string()),
        (Literal[1, 2], pa.int64()),
        (tuple[int, ...], pa.list_(pa.field("item", pa.int64()))),
        (Part, pa.struct([pa.field("name", pa.string()), pa.field("size", pa.int64())])),
    ],
    ids=str,
)
def test_each_annotation_has_its_type(hint: Any, kind: pa.DataType) -> None:
    (field,) = schema_of(type("Row", (), {"__annotations__": {"x": hint}}))
    assert field.type == kind
    assert not field.nullable


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (pa.timestamp("ns"), TIMESTAMP),
        (pa.timestamp("s", tz="Europe/Berlin"), TIMESTAMP),
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.null(), pa.string()),
        (pa.binary(4), pa.binary()),
        (pa.dictionary(pa.int32(), pa.string()), pa.string()),
        (pa.float16(), pa.float32()),
        (pa.date64(), pa.date32()),
        (pa.time32("s"), pa.time64("us")),
        (pa.duration("ns"), pa.duration("us")),
        (pa.large_list(pa.large_string()), pa.list_(pa.field("item", pa.string()))),
        (pa.list_(pa.int8(), 3), pa.list_(pa.field("item", pa.int8()))),
    ],
    ids=str,
)
def test_each_type_has_one_form(given: pa.DataType, kind: pa.DataType) -> None:
    assert normal_type(given) == kind
    assert normal_type(kind) == kind


@pytest.mark.parametrize(
    ("marks", "rules"),
    [
        ((Ge(0), Lt(10)), (Rule("ge", 0), Rule("lt", 10))),
        ((Interval(gt=1, le=2),), (Rule("gt", 1), Rule("le", 2))),
        ((MultipleOf(5),), (Rule("multiple_of", 5),)),
        ((MinLen(1), MaxLen(3)), (Rule("min_length", 1), Rule("max_length", 3))),
        ((Len(1, 3),), (Rule("min_length", 1), Rule("max_length", 3))),
        ((Gt(0),), (Rule("gt", 0),)),
        (("only a remark",), ()),
    ],
    ids=str,
)
def test_constraints_are_rules(marks: tuple[object, ...], rules: tuple[Rule, ...]) -> None:
    hint = Annotated.__class_getitem__((int, *marks))  # type: ignore[attr-defined]  # Annotated[int, *marks]
    (field,) = schema_of(type("Row", (), {"__annotations__": {"x": hint}}))
    assert field.rules == rules


def test_choices_are_a_rule() -> None:
    class Row:
        colour: Colour
        size: Literal["s", "m"] | None

    assert schema_of(Row) == Schema(
        (
            Field("colour", pa.string(), False, (Rule("one_of", ("red", "blue")),)),
            Field("size", pa.string(), True, (Rule("one_of", ("s", "m")),)),
        )
    )


def test_a_rule_says_what_it_wants() -> None:
    assert str(Rule("ge", 0)) == "≥ 0"
    assert str(Rule("one_of", ("a", "b"))) == "one of ('a', 'b')"


def test_what_belongs_to_the_class_is_no_column() -> None:
    class Row:
        a: int
        _private: int
        shared: ClassVar[int] = 3

    assert schema_of(Row).names == ("a",)


def test_a_key_that_need_not_be_there_may_be_null() -> None:
    class Row(TypedDict):
        a: int
        b: NotRequired[int]

    assert [field.nullable for field in schema_of(Row)] == [False, True]


def test_annotations_within_a_function_are_found() -> None:
    Money = Annotated[float, Ge(0)]

    class Row:
        price: Money

    assert schema_of(Row)["price"].rules == (Rule("ge", 0),)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (42, "42 is not a schema; allowed: a dataclass"),
        ("Click", "is not a schema"),
        (dict, "is not a schema"),
        (type("Empty", (), {}), "is not a schema"),
        (type("Row", (), {"__annotations__": {"x": complex}}), r"Row\.x has the type.*allowed: str, int"),
        (type("Row", (), {"__annotations__": {"x": int | str}}), "a column has one type, or one type and None"),
        (type("Row", (), {"__annotations__": {"x": dict[str, int]}}), r"Row\.x has the type"),
        (type("Row", (), {"__annotations__": {"x": "Nowhere"}}), "name something unknown.*Nowhere"),
        (pa.schema([("m", pa.map_(pa.string(), pa.int32()))]), 'column "m" has the type map'),
        (pa.schema([("a", pa.int8()), ("a", pa.int8())]), 'two columns have the name "a"; rename one'),
        (pa.schema([("s", pa.struct([("m", pa.map_(pa.string(), pa.int32()))]))]), r'column "s\.m"'),
        (list[int], "is not a schema"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_schema_is_a_mistake_in_the_program(source: object, words: str) -> None:
    with pytest.raises(PlanError, match=words) as caught:
        schema_of(source)
    assert caught.value.place is not None
    assert caught.value.place.file == __file__


@pytest.mark.parametrize("bare", [list, tuple, set, list[complex]], ids=str)
def test_a_list_says_what_it_is_of(bare: object) -> None:
    with pytest.raises(PlanError, match=r"Row\.x has the type"):
        schema_of(type("Row", (), {"__annotations__": {"x": bare}}))


def test_a_column_that_is_not_there_names_those_that_are_near() -> None:
    with pytest.raises(PlanError, match='there is no column "prise"; did you mean "price"'):
        EXPECTED["prise"]
    assert "user" in EXPECTED
    assert "prise" not in EXPECTED


def test_a_schema_is_shown_in_one_line() -> None:
    assert str(EXPECTED) == "user: string not null, price: double, tags: list<item: string> not null"
