"""Who may ask: the Host and Origin of a request, and its token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from thalweg.core.errors import PlanError
from thalweg.serve.answers import RefusedError
from thalweg.serve.tokens import Token, TokenFile

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""The names of this machine that no other machine's DNS answers for."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what.

    Attributes:
        tokens: Where those that are known are; None: anyone may do anything.
        hosts: The hosts that requests may name, without ports; None: any. A page from elsewhere that made its own
            name lead here (DNS rebinding) still names itself.
        origins: The origins whose pages may ask, besides the server's own.
    """

    tokens: TokenFile | None = None
    hosts: frozenset[str] | None = LOOPBACK
    origins: frozenset[str] = frozenset()

    def check(self, request: Request, scope: str, topic: str | None = None) -> Token | None:
        """Return the token of a request; None where none is needed.

        Raises:
            RefusedError: It has none that is known (401), one that does not allow this (403), or which are known cannot
                be told now (503).
        """
        if self.tokens is None:
            return None
        kind, _, given = (request.headers.get("authorization") or "").partition(" ")
        try:
            token = self.tokens.find(given.strip()) if kind.lower() == "bearer" and given.strip() else None
        except PlanError as error:
            raise RefusedError(
                503,
                "tokens_unreadable",
                "the server's token file was changed and cannot be read, so no token is known; thalweg serve says why "
                "when it is started anew",
                {"Retry-After": "5"},
            ) from error
        if token is None:
            raise RefusedError(
                401,
                "no_token",
                "a token is needed: Authorization: Bearer …; thalweg token create makes one",
                {"WWW-Authenticate": 'Bearer realm="thalweg"'},
            )
        if not token.allows(scope, topic):
            raise RefusedError(403, "not_allowed", f'this token does not allow "{scope}" here')
        return token

    def check_place(self, host: str | None, origin: str | None) -> None:
        """Check the Host and the Origin of a request.

        Raises:
            RefusedError: One of them is not allowed.
        """
        name = host_name(host or "")
        if self.hosts is not None and name not in self.hosts:
            raise RefusedError(
                403, "bad_host", f"the host {name[:80]!r} is not served here; start with --allow-host to allow it"
            )
        if origin is not None and origin.lower() not in self.origins:
            _, scheme, rest = origin.partition("://")
            if not scheme or rest.lower() != (host or "").lower():
                raise RefusedError(
                    403, "bad_origin", f"pages of {origin[:80]!r} may not ask; start with --allow-origin to allow them"
                )


class Gate:
    """Lets requests through whose Host and Origin are allowed."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            origins = [value for name, value in scope["headers"] if name == b"origin"]
            try:
                if len(hosts) > 1 or len(origins) > 1:
                    raise RefusedError(400, "bad_header", "Host or Origin stands twice")
                self._access.check_place(*(v[0].decode("latin-1") if v else None for v in (hosts, origins)))
            except RefusedError as error:
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def host_name(host: str) -> str:
    """Return a host without its port, in lower case.

    Example:
        >>> host_name("LocalHost:8080"), host_name("[::1]:8080")
        ('localhost', '::1')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if host.count(":") == 1 else host
