"""What is answered where a request is refused: a JSON object with a word for programs and a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

JSON = "application/json"


class RefusedError(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        error: A word for programs.
        message: What is wrong, what was allowed, what to do.
        headers: More headers of the answer.
        more: More members of the answer.
    """

    def __init__(
        self,
        status: int,
        error: str,
        message: str,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,  # any JSON
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.headers = dict(headers or {})
        self.more = dict(more or {})

    def response(self) -> Response:
        """Return the answer."""
        return answer(self.status, {"error": self.error, "message": str(self), **self.more}, self.headers)


def answer(status: int, body: object, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer."""
    return Response(msgspec.json.encode(body), status, dict(headers or {}), JSON)


def busy(message: str) -> RefusedError:
    """Return the refusal of a request that may be sent again soon."""
    return RefusedError(503, "busy", message, {"Retry-After": "1"})
