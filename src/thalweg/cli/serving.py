"""``thalweg serve`` and ``thalweg token create``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter, validators

from thalweg.core import places

if TYPE_CHECKING:
    from thalweg.serve import Server

_MIB = 1 << 20

Positive = validators.Number(gt=0)


def serve(
    *,
    host: Annotated[str, Parameter(help="The address to listen on; beyond loopback tokens and TLS are needed.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, Parameter(help="The port; 0: any that is free.", validator=validators.Number(gte=0))] = 8080,
    log: Annotated[Path, Parameter(help="The embedded log.")] = places.LOG,
    tokens: Annotated[Path | None, Parameter(help="The token file; thalweg token create makes it.")] = None,
    cert: Annotated[Path | None, Parameter(help="The TLS certificate chain, PEM.")] = None,
    key: Annotated[Path | None, Parameter(help="Its private key, PEM.")] = None,
    behind_proxy: Annotated[
        bool, Parameter(help="A proxy in front of it speaks TLS with the clients.", show_default=False)
    ] = False,
    allow_host: Annotated[tuple[str, ...], Parameter(help="A further host name that requests may name.")] = (),
    allow_origin: Annotated[
        tuple[str, ...], Parameter(help="An origin whose pages may ask, such as https://shop.example.")
    ] = (),
    max_body_mib: Annotated[int, Parameter(help="A body as it is sent.", validator=Positive)] = 16,
    max_inflated_mib: Annotated[int, Parameter(help="A body when it is inflated.", validator=Positive)] = 64,
    max_ratio: Annotated[int, Parameter(help="How many times a body may grow.", validator=Positive)] = 200,
    max_rows: Annotated[int, Parameter(help="Rows in a body.", validator=Positive)] = 250_000,
    max_depth: Annotated[int, Parameter(help="How deep JSON may be nested.", validator=Positive)] = 64,
    max_connections: Annotated[int, Parameter(help="Connections at once.", validator=Positive)] = 8_192,
    max_in_flight_mib: Annotated[int, Parameter(help="Bodies held at once.", validator=Positive)] = 256,
    body_seconds: Annotated[float, Parameter(help="For a body to arrive.", validator=Positive)] = 30.0,
    header_seconds: Annotated[float, Parameter(help="For headers to arrive.", validator=Positive)] = 10.0,
    quiet: Annotated[bool, Parameter(help="Print nothing at the start.", show_default=False)] = False,
) -> None:
    """Take events over HTTP into the embedded log, and show its topics, until Ctrl-C or SIGTERM.

    POST /topics/TOPIC/events takes CloudEvents, NDJSON, JSON arrays and Arrow streams, gzip or zstd; what is answered
    as appended is durable. /openapi.json describes every route. Requests under way are finished before it ends.
    """
    from thalweg.serve import Limits, ServeOptions, Server

    limits = Limits(
        body_bytes=max_body_mib * _MIB,
        inflated_bytes=max_inflated_mib * _MIB,
        ratio=max_ratio,
        rows=max_rows,
        depth=max_depth,
        connections=max_connections,
        in_flight_bytes=max_in_flight_mib * _MIB,
        body_s=body_seconds,
        header_s=header_seconds,
    )
    options = ServeOptions(
        host=host,
        port=port,
        log=log,
        tokens=tokens,
        cert=cert,
        key=key,
        behind_proxy=behind_proxy,
        allow_hosts=allow_host,
        allow_origins=allow_origin,
        limits=limits,
    )
    server = Server(options)
    server.run(ready=None if quiet else lambda: _greet(server, log, with_tokens=tokens is not None))


def create_token(
    name: Annotated[str, Parameter(help="Who it is for.")],
    /,
    *,
    scope: Annotated[
        tuple[Literal["ingest", "read", "admin"], ...], Parameter(help="What it allows; may be given several times.")
    ],
    topics: Annotated[
        tuple[str, ...],
        Parameter(help="The topics that it is for, with * and ?; all otherwise.", consume_multiple=True),
    ] = (),
    file: Annotated[Path, Parameter(help="The token file, to which its hash is appended.")] = places.TOKENS,
) -> None:
    """Make a token, print it once, and append its hash to the token file."""
    from thalweg.serve import create_token as create

    print(create(file, name, scope, topics))
    print(f"{name}: kept as a hash in {file}; the token itself is not shown again", file=sys.stderr)


def _greet(server: Server, log: Path, *, with_tokens: bool) -> None:
    topics = server.log.topics()
    shown = ", ".join(topics[:20]) + (f" and {len(topics) - 20} more" if len(topics) > 20 else "")
    print(f"thalweg serves {log} at {server.address}")
    print(f"  topics: {shown or 'none yet; make one with thalweg topic create'}")
    if not with_tokens:
        print("  no tokens: any program of this machine may read and append")
    print("  Ctrl-C stops it", flush=True)
