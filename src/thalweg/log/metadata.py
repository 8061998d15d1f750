"""``topic.json``: a topic's name, options and every schema that it has had, with a checksum."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from thalweg.core.errors import LogDamaged, LogError
from thalweg.core.schema import Field, Rule, Schema
from thalweg.log import disk
from thalweg.log.layout import FORMAT, crc
from thalweg.log.options import TopicOptions

FILE: Final = "topic.json"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What ``topic.json`` says.

    Attributes:
        name: The topic's name.
        number: Drawn at random when it was created; stands in each of its segments and frames.
        options: Its options.
        schemas: All the schemas that it has had, oldest first; their versions count from 1.
    """

    name: str
    number: int
    options: TopicOptions
    schemas: tuple[Schema, ...]

    @property
    def schema(self) -> Schema:
        """The current schema."""
        return self.schemas[-1]

    @property
    def version(self) -> int:
        """The current schema's version."""
        return len(self.schemas)

    def evolved(self, schema: Schema) -> Metadata:
        """Return the same with one more schema."""
        return replace(self, schemas=(*self.schemas, schema))


def write_metadata(directory: Path, metadata: Metadata) -> None:
    """Make it the topic's, durably.

    Raises:
        OSError: The disk refused.
        LogError: A rule of the schema cannot be stored.
    """
    body = {
        "format": FORMAT,
        "name": metadata.name,
        "number": f"{metadata.number:016x}",
        "options": asdict(metadata.options),
        "schemas": [_schema_json(schema) for schema in metadata.schemas],
    }
    text = json.dumps(body, sort_keys=True, indent=1).encode()
    disk.write_whole(directory / FILE, [b'{"crc32c": "%08x", "topic":\n' % crc(text), text, b"\n}\n"])


def read_metadata(directory: Path) -> Metadata:
    """Return a topic's metadata.

    Raises:
        FileNotFoundError: There is none.
        LogDamaged: It is not what was written.
        LogError: It is of a later version of the format.
    """
    path = directory / FILE
    data = path.read_bytes()
    head, _, rest = data.partition(b"\n")
    text = rest.removesuffix(b"\n}\n")
    matched = re.fullmatch(rb'\{"crc32c": "([0-9a-f]{8})", "topic":', head)
    if matched is None or text == rest or int(matched[1], 16) != crc(text):
        raise LogDamaged(path, 0, None, "the checksum of the topic's metadata is wrong")
    body = json.loads(text)
    if body["format"] != FORMAT:
        raise LogError(
            f"{path} has format {body['format']}, this version of Thalweg reads {FORMAT}; use the version that wrote it"
        )
    schemas = tuple(_schema_of_json(schema) for schema in body["schemas"])
    return Metadata(body["name"], int(body["number"], 16), TopicOptions(**body["options"]), schemas)


def _schema_json(schema: Schema) -> dict[str, Any]:
    return {
        "shown": str(schema),  # for people; the bytes below count
        "arrow": base64.b64encode(memoryview(schema.arrow.serialize())).decode(),
        "rules": {
            field.name: [[rule.kind, _bound_json(field, rule)] for rule in field.rules]
            for field in schema
            if field.rules
        },
    }


def _schema_of_json(body: dict[str, Any]) -> Schema:
    arrow = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(body["arrow"])))
    rules = {
        name: tuple(Rule(kind, _bound_of_json(value)) for kind, value in given) for name, given in body["rules"].items()
    }
    return Schema(tuple(Field(f.name, f.type, f.nullable, rules.get(f.name, ())) for f in arrow))


# Bounds that JSON has no form for: a name, how they are written, how they are read.
_BOUNDS: Final[tuple[tuple[type, str, Callable[[Any], Any], Callable[[Any], Any]], ...]] = (
    (dt.datetime, "datetime", dt.datetime.isoformat, dt.datetime.fromisoformat),
    (dt.date, "date", dt.date.isoformat, dt.date.fromisoformat),
    (dt.time, "time", dt.time.isoformat, dt.time.fromisoformat),
    (dt.timedelta, "us", lambda value: value // dt.timedelta(microseconds=1), lambda us: dt.timedelta(microseconds=us)),
    (decimal.Decimal, "decimal", str, decimal.Decimal),
    (bytes, "bytes", lambda value: base64.b64encode(value).decode(), base64.b64decode),
    (float, "float", float.hex, float.fromhex),
    (re.Pattern, "pattern", lambda value: [value.pattern, value.flags], lambda given: re.compile(*given)),
)


def _bound_json(field: Field, rule: Rule) -> Any:
    value = rule.value
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_bound_json(field, Rule(rule.kind, part)) for part in value]
    for kind, name, write, _ in _BOUNDS:
        if isinstance(value, kind):
            return {name: write(value)}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise LogError(f'the rule "{rule}" of column "{field.name}" cannot be stored; allowed: plain values and times')


def _bound_of_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_bound_of_json(part) for part in value)
    if isinstance(value, dict):
        ((name, given),) = value.items()
        return next(read for _, known, _, read in _BOUNDS if known == name)(given)
    return value
