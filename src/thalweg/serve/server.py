"""The server: an address, an event loop, and an end that finishes what was begun."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import uvicorn

from thalweg.core import places
from thalweg.core.errors import LogError, PlanError
from thalweg.log import Log
from thalweg.serve.access import LOOPBACK, Access
from thalweg.serve.application import Application
from thalweg.serve.limits import Limits
from thalweg.serve.protocol import bounded_protocol
from thalweg.serve.tokens import TokenFile

_STARTED_S = 10.0
_BACKLOG = 2_048
_UPKEEP_S = 60.0


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where and how to serve.

    Attributes:
        host: The address to listen on.
        port: The port; 0: any that is free.
        log: The embedded log's directory.
        tokens: The token file; None: no tokens are asked for, on loopback only.
        cert: The TLS certificate chain, PEM.
        key: Its private key, PEM.
        behind_proxy: Whether a proxy in front of it speaks TLS to the clients.
        allow_hosts: More hosts that requests may name.
        allow_origins: Origins whose pages may ask.
        limits: What clients may send.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    log: Path = places.LOG
    tokens: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can ask."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"

    def access(self) -> Access:
        """Return who may do what.

        Raises:
            PlanError: It would be open to strangers, or a file is missing.
        """
        if (self.cert is None) != (self.key is None):
            raise PlanError("TLS needs both files: --cert CHAIN.pem --key KEY.pem")
        for path in (self.cert, self.key):
            if path is not None and not path.is_file():
                raise PlanError(f"there is no file {path}; --cert and --key name PEM files")
        if not self.is_loopback:
            missing = ["--tokens FILE (thalweg token create makes one)"] if self.tokens is None else []
            if self.cert is None and not self.behind_proxy:
                missing.append("--cert and --key for TLS, or --behind-proxy where a proxy speaks TLS for it")
            if missing:
                raise PlanError(
                    f"{self.host} can be reached from other machines, so anyone could write to the log; listen on "
                    f"127.0.0.1, or give thalweg serve {' and '.join(missing)}"
                )
        tokens = None if self.tokens is None else TokenFile(self.tokens)
        allowed = frozenset(host.lower() for host in self.allow_hosts)
        # Beyond loopback every request needs a token, which no page of another origin has.
        hosts = LOOPBACK | {self.host.lower()} | allowed if self.is_loopback or allowed else None
        return Access(tokens, hosts, frozenset(origin.lower().rstrip("/") for origin in self.allow_origins))


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``:PORT`` or ``PORT``.

    Raises:
        PlanError: It is none of them.

    Example:
        >>> parse_address("127.0.0.1:9000"), parse_address("9000"), parse_address("[::1]:9000")
        (('127.0.0.1', 9000), ('127.0.0.1', 9000), ('::1', 9000))
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise PlanError(f"{text!r} is no address; allowed: HOST:PORT or PORT, such as 127.0.0.1:8080")
    return host, int(port)


class Server:
    """Serves a log over HTTP, in this thread (``run``) or beside it (``start`` and ``stop``).

    Args:
        options: Where and how.

    Raises:
        PlanError: It would be open to strangers, a file is missing, or the address cannot be had.

    Example:
        >>> import tempfile
        >>> with Server(ServeOptions(port=0, log=Path(tempfile.mkdtemp()))) as server:
        ...     server.address.startswith("http://127.0.0.1:")
        True
    """

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        access = options.access()
        self._socket = _listening(options.host, options.port)
        self.log = Log(options.log)
        self._application = Application(self.log, options.limits, access)
        try:
            self._uvicorn = _Uvicorn(self._config())
        except OSError as error:  # ssl.SSLError is one
            self._socket.close()
            raise PlanError(f"the TLS files {options.cert} and {options.key} cannot be used: {error}") from error
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._ended = threading.Event()

    @property
    def address(self) -> str:
        """The URL of the server."""
        scheme = "https" if self._options.cert is not None else "http"
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        return f"{scheme}://{host}:{self._port}"

    def run(self, ready: Callable[[], None] | None = None) -> None:
        """Serve until SIGTERM or Ctrl-C; requests under way are finished first.

        Args:
            ready: Called when requests are taken.
        """
        _raise_open_files(self._options.limits.connections)

        def stop(number: int, frame: FrameType | None) -> None:
            self._ask_to_stop()

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self._uvicorn.on_started = ready
            self._serve()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def start(self) -> None:
        """Serve in a thread until ``stop``.

        Raises:
            RuntimeError: It does not start.
        """
        started = threading.Event()
        self._uvicorn.on_started = started.set

        def serve() -> None:
            try:
                self._serve()
            except BaseException as error:
                self._failure = error
            finally:
                started.set()

        self._thread = threading.Thread(target=serve, name="thalweg-serve", daemon=True)
        self._thread.start()
        if not started.wait(_STARTED_S) or self._failure is not None:
            raise RuntimeError(f"the HTTP server does not start at {self.address}") from self._failure

    def stop(self) -> None:
        """Finish the requests under way and end the thread."""
        self._ask_to_stop()
        if self._thread is not None:
            self._thread.join(self._options.limits.shutdown_s + 5)
            self._thread = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _serve(self) -> None:
        keeper = threading.Thread(target=self._keep_up, name="thalweg-upkeep")
        keeper.start()
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._ended.set()
            keeper.join()
            self._socket.close()
            self._application.close()
            self.log.close()

    def _keep_up(self) -> None:
        """Have old rows go also from topics that get no new ones."""
        told = ""
        while not self._ended.wait(_UPKEEP_S):
            try:
                self.log.maintain()
                told = ""
            except LogError as error:
                if str(error) != told:
                    told = str(error)
                    sys.stderr.write(f"thalweg serve: upkeep of the log failed, and is tried again: {told}\n")

    def _ask_to_stop(self) -> None:
        self._application.stopping = True
        self._uvicorn.should_exit = True

    def _config(self) -> uvicorn.Config:
        options = self._options
        self._port = self._socket.getsockname()[1]
        config = uvicorn.Config(
            self._application.asgi,
            http=bounded_protocol(options.limits),
            loop="asyncio" if sys.platform == "win32" else "uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            workers=1,
            proxy_headers=options.behind_proxy,
            forwarded_allow_ips="127.0.0.1",
            timeout_keep_alive=max(1, int(options.limits.header_s)),
            timeout_graceful_shutdown=max(1, int(options.limits.shutdown_s)),
            ssl_certfile=None if options.cert is None else str(options.cert),
            ssl_keyfile=None if options.key is None else str(options.key),
        )
        config.load()
        return config


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, which leaves signals to others and says when it has started."""

    on_started: Callable[[], None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        if self.on_started is not None:
            self.on_started()
        await super().main_loop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        # Connections that did not end in time.
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if isinstance(transport, asyncio.Transport):
                transport.abort()


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise PlanError(f"{host!r} is no address of this machine: {error}") from error
    try:
        if sys.platform != "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)  # until then two may have one address
    except OSError as error:
        listener.close()
        raise PlanError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another port, or 0 for any that is free"
        ) from error
    return listener


def _raise_open_files(connections: int) -> None:
    """Let the process hold as many sockets as it may have connections, as far as the system allows."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + 1_024
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
