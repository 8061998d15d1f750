"""HTTP/1.1 as uvicorn speaks it, with bounds on headers and connections that it does not have."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from thalweg.serve.limits import Limits


class HeadersTooLargeError(Exception):
    """A request whose line and headers are larger than is taken; the parser ends the connection with it."""


def bounded_protocol(limits: Limits) -> type[HttpToolsProtocol]:
    """Return the protocol that keeps limits."""
    return type("Bounded", (BoundedProtocol,), {"limits": limits})


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    A client that sends its headers too slowly, or none, is cut after ``header_s``; one whose headers are larger than
    ``header_bytes`` gets 431; one connection too many gets 503.
    """

    limits: Limits

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # uvicorn's own
        super().__init__(*args, **kwargs)
        self._in_headers = True
        self._header_bytes = 0
        self._too_large = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a request, or refuse the connection."""
        full = len(self.connections) >= self.limits.connections
        super().connection_made(transport)
        if full:
            self._end(503, "busy", "there are too many connections; come again in a second")
        else:
            self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the wait."""
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and count what the parser keeps of headers that are not whole."""
        if self.transport.is_closing():
            return
        if self._in_headers:
            self._arm()
        super().data_received(data)
        # What the parser has of a header that is not whole yet.
        if self._in_headers and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > self.limits.header_bytes:
                self._refuse_headers()

    def on_message_begin(self) -> None:
        """Note that headers come."""
        self._in_headers = True
        self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the path."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header, or a trailer of a chunked body."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that the headers are whole; from here on the body has its own time."""
        self._in_headers = False
        self._header_bytes = 0
        self._disarm()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer in JSON, as everywhere."""
        if self._too_large:
            self._refuse_headers()
        else:
            self._end(400, "bad_request", "this is not HTTP/1.1 as it must be written")

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that is not used."""
        super().timeout_keep_alive_handler()
        # A client that does not read its answer does not let the connection close.
        self.loop.call_later(self.limits.body_s, self.transport.abort)

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self.limits.header_bytes:
            self._too_large = True
            raise HeadersTooLargeError

    def _refuse_headers(self) -> None:
        self._end(431, "headers_too_large", f"the headers are larger than {self.limits.header_bytes} bytes")

    def _end(self, status: int, error: str, message: str) -> None:
        body = msgspec.json.encode({"error": error, "message": message})
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        retry = b"retry-after: 1\r\n" if status == 503 else b""
        self.transport.write(STATUS_LINE[status] + retry + head + body)
        self.transport.close()

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.header_s, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self._in_headers and not self.transport.is_closing():
            self.transport.close()
