"""Events in their standard form: the columns of CloudEvents 1.0.

Source: CloudEvents specification 1.0.2, https://github.com/cloudevents/spec
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from thalweg.core.schema import TIMESTAMP, Field, Schema

EVENT_SCHEMA: Final = Schema(
    (
        Field("id", pa.string(), False),
        Field("source", pa.string(), False),
        Field("type", pa.string(), False),
        Field("subject", pa.string()),
        Field("time", TIMESTAMP),
        Field("datacontenttype", pa.string()),
        Field("dataschema", pa.string()),
        Field("data", pa.string()),
        Field("data_bytes", pa.binary()),
        Field("extensions", pa.string()),
    )
)
"""The columns of a topic that was created without a schema.

``id``, ``source``, ``type``, ``subject``, ``time``, ``datacontenttype`` and ``dataschema`` are the attributes of those
names. ``data`` is the payload as text (JSON text where it is JSON), ``data_bytes`` a payload that is not text, and
``extensions`` a JSON object of all other attributes, as text; each is null where the event has none.
"""
