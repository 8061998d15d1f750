"""How much a client may send, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, fields

from thalweg.columnar.bodies import BodyBounds
from thalweg.core.errors import PlanError

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server holds of its clients at most.

    Attributes:
        body_bytes: A body as it is sent.
        inflated_bytes: A body when it is inflated.
        ratio: How many times larger than sent an inflated body may be, once it is past 1 MiB.
        rows: Rows in a body.
        rejected: Rows of a body that may be refused alone; with more, none is taken.
        depth: How deep JSON may be nested.
        header_bytes: A request's line and headers.
        header_s: Seconds for a request's headers to arrive, and for a connection to stay without a request.
        body_s: Seconds for a body to arrive.
        connections: Connections at once.
        in_flight_bytes: Bodies that are held at once, of all clients.
        read_rows: Rows that one read returns.
        shutdown_s: Seconds that requests have to end in when the server stops.
        workers: Threads that decode and append.

    Raises:
        PlanError: One of them is not above 0.
    """

    body_bytes: int = 16 * _MIB
    inflated_bytes: int = 64 * _MIB
    ratio: int = 200
    rows: int = 250_000
    rejected: int = 10_000
    depth: int = 64
    header_bytes: int = 64 << 10
    header_s: float = 10.0
    body_s: float = 30.0
    connections: int = 8_192
    in_flight_bytes: int = 256 * _MIB
    read_rows: int = 100_000
    shutdown_s: float = 10.0
    workers: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise PlanError(f"the limit {field.name}={getattr(self, field.name)!r}; allowed: above 0")

    @property
    def bounds(self) -> BodyBounds:
        """Those that decoding keeps."""
        return BodyBounds(self.rows, self.depth, self.inflated_bytes)
