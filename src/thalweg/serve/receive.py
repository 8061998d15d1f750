"""A body received: counted while it comes, so that what is too large or too slow is cut before it is held."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request

from thalweg.serve.answers import RefusedError, busy
from thalweg.serve.limits import Limits


class Budget:
    """The bytes of all bodies that are held; used by the event loop's thread alone.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0

    def take(self, size: int) -> None:
        """Count more bytes.

        Raises:
            RefusedError: There would be too many; the client is asked to come again.
        """
        if self.held + size > self._most:
            raise busy(f"the server holds {self.held} bytes of other requests; send this one again in a second")
        self.held += size

    @contextmanager
    def share(self) -> Iterator[Share]:
        """Give what one request counts; all of it is given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.held -= share.size


class Share:
    """What one request holds of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self.size = 0

    def take(self, size: int) -> None:
        """Count more bytes; as for ``Budget.take``."""
        self._budget.take(size)
        self.size += size


async def receive_body(request: Request, limits: Limits, share: Share) -> bytes:
    """Return a request's body.

    Raises:
        RefusedError: It is too large (413), took too long (408), or there is no room for it now (503).
        starlette.requests.ClientDisconnect: The client went away.
    """
    declared = request.headers.get("content-length")
    if declared is not None and declared.isdigit() and int(declared) > limits.body_bytes:
        raise _too_large(limits)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.body_s):
            async for part in request.stream():
                size += len(part)
                if size > limits.body_bytes:
                    raise _too_large(limits)
                share.take(len(part))
                parts.append(part)
    except TimeoutError as error:
        raise RefusedError(
            408,
            "too_slow",
            f"the body was not here after {limits.body_s:g} s; send it in smaller parts",
            {"Connection": "close"},
        ) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(limits: Limits) -> RefusedError:
    return RefusedError(
        413,
        "too_large",
        f"the body is larger than {limits.body_bytes} bytes; send it in parts",
        {"Connection": "close"},
        {"limit": limits.body_bytes},
    )
