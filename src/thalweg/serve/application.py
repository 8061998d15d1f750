"""The HTTP application: routes, who may use them, and what becomes of a request that is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from thalweg.core.errors import LogError
from thalweg.log import Log, Topic
from thalweg.serve.access import Access, Gate
from thalweg.serve.answers import RefusedError, answer, busy
from thalweg.serve.doors import Doors, Form, Sent
from thalweg.serve.inflate import codec_of
from thalweg.serve.limits import Limits
from thalweg.serve.openapi import description
from thalweg.serve.reads import chosen, described, rows_of, whole_number
from thalweg.serve.receive import Budget, receive_body
from thalweg.serve.together import Together

_T = TypeVar("_T")
_FORMS = {form.value: form for form in Form if form is not Form.BINARY} | {
    "application/ndjson": Form.LINES,
    "application/jsonl": Form.LINES,
}
_READERS = 2
_HELD_PER_WORKER = 64  # requests that wait for a worker, before others are asked to come again


class Application:
    """The routes over one log.

    Args:
        log: Where topics are.
        limits: What clients may send.
        access: Who may do what.

    Attributes:
        asgi: What a server calls.
    """

    def __init__(self, log: Log, limits: Limits, access: Access) -> None:
        self._log = log
        self._limits = limits
        self._access = access
        self._doors = Doors(log, limits)
        self._budget = Budget(limits.in_flight_bytes)
        self._writers = ThreadPoolExecutor(limits.workers, "thalweg-ingest")
        self._readers = ThreadPoolExecutor(_READERS, "thalweg-read")
        self._together = Together(self._doors, self._in_writer)
        self._waiting = 0
        self.stopping = False
        routes = [
            Route("/topics", self._topics, methods=["GET"]),
            Route("/topics/{topic}", self._topic, methods=["GET"]),
            Route("/topics/{topic}/events", self._read, methods=["GET"]),
            Route("/topics/{topic}/events", self._ingest, methods=["POST"]),
            Route("/healthz", self._healthy, methods=["GET"]),
            Route("/readyz", self._ready, methods=["GET"]),
            Route("/openapi.json", self._describe, methods=["GET"]),
        ]
        handlers: Any = {RefusedError: _refused, HTTPException: _no_route, ClientDisconnect: _gone, Exception: _failed}
        self._app = Starlette(routes=routes, exception_handlers=handlers)
        self._app.router.redirect_slashes = False
        self.asgi = Gate(self._app, access)

    def close(self) -> None:
        """Wait for the appends that are under way, and end the workers."""
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)

    async def _ingest(self, request: Request) -> Response:
        name = request.path_params["topic"]
        self._access.check(request, "ingest", name)
        if self.stopping:
            raise RefusedError(503, "stopping", "the server is stopping", {"Retry-After": "5", "Connection": "close"})
        form = form_of(request)
        codec = codec_of(request.headers.get("content-encoding"))
        if self._waiting >= self._limits.workers * _HELD_PER_WORKER:
            raise busy(f"{self._waiting} requests wait to be appended; send this one again in a second")
        with self._budget.share() as share:
            body = await receive_body(request, self._limits, share)
            attributes = _attributes(request) if form is Form.BINARY else None
            sent = Sent(form, body, codec, request.headers.get("content-type"), attributes)
            if codec is not None:
                share.take(min(self._limits.inflated_bytes, self._limits.ratio * len(body)) // 4)
            self._waiting += 1
            try:
                taken = await self._together.take(name, sent)
            finally:
                self._waiting -= 1
        return answer(taken.status, taken.answer)

    async def _in_writer(self, work: Callable[[], _T]) -> _T:
        return await _in(self._writers, work)

    async def _read(self, request: Request) -> Response:
        name = request.path_params["topic"]
        self._access.check(request, "read", name)
        form = chosen(request.headers.get("accept"))
        query = request.query_params
        partition = whole_number(query.get("partition"), "partition", 0, 2**31 - 1) or 0
        offset = whole_number(query.get("offset"), "offset", None)
        limit = whole_number(query.get("limit"), "limit", 1_000, self._limits.read_rows)

        def look(topic: Topic) -> tuple[bytes, dict[str, str]]:
            return rows_of(topic, partition, offset, limit or 0, form, self._limits)

        body, headers = await _in(self._readers, lambda: self._doors.see(name, look))
        return Response(body, 200, headers, form)

    async def _topics(self, request: Request) -> Response:
        token = self._access.check(request, "read")
        names = await _in(self._readers, self._log.topics)
        shown = [name for name in names if token is None or token.allows("read", name)]
        return answer(200, {"topics": [{"name": name} for name in shown]})

    async def _topic(self, request: Request) -> Response:
        name = request.path_params["topic"]
        self._access.check(request, "read", name)
        return answer(200, await _in(self._readers, lambda: self._doors.see(name, described)))

    async def _healthy(self, request: Request) -> Response:
        return answer(200, {"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        if self.stopping:
            raise RefusedError(503, "stopping", "the server is stopping", {"Retry-After": "5"})
        try:
            await _in(self._readers, self._log.topics)
        except (OSError, LogError) as error:
            raise RefusedError(503, "log_failed", "the log cannot be read", {"Retry-After": "5"}) from error
        return answer(200, {"status": "ready"})

    async def _describe(self, request: Request) -> Response:
        return answer(200, description(self._limits))


def form_of(request: Request) -> Form:
    """Return what a request's body is.

    Raises:
        RefusedError: Its type is not taken.
    """
    media = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if media in _FORMS and (media.startswith("application/cloudevents") or "ce-specversion" not in request.headers):
        return _FORMS[media]
    if "ce-specversion" in request.headers:
        return Form.BINARY
    allowed = ", ".join(form.value for form in Form)
    raise RefusedError(
        415,
        "unsupported_type",
        f"Content-Type {media[:80]!r} is not taken; allowed: {allowed}",
        {"Accept-Post": ", ".join(form.value for form in Form if form is not Form.BINARY)},
    )


def _attributes(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        if name.startswith("ce-"):
            if name[3:] in found:
                raise RefusedError(400, "unreadable", f"the header {name[:80]} stands twice")
            found[name[3:]] = value
    return found


async def _in(pool: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
    """Await a call by a worker; when the client goes away it is still seen through."""
    return await asyncio.shield(asyncio.get_running_loop().run_in_executor(pool, work))


async def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusedError):
        raise error
    return error.response()


async def _no_route(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 404:
        return answer(404, {"error": "unknown_route", "message": "there is no such route; see /openapi.json"})
    word = "bad_method" if error.status_code == 405 else "refused"
    return answer(error.status_code, {"error": word, "message": error.detail}, error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return answer(400, {"error": "disconnected", "message": "the client went away before its request was whole"})


async def _failed(request: Request, error: Exception) -> Response:
    return answer(500, {"error": "failed", "message": "the request met a fault of the server, which has logged it"})
