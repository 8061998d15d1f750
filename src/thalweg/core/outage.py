"""Outages: which failures of what is outside pass by themselves, and how long they are waited for."""

from __future__ import annotations

import errno
import random
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from thalweg.core.clock import Clock, SystemClock
from thalweg.core.errors import NoSpace, SinkUnavailable, StoppedError

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 10.0
"""What has come back is noticed after so long at the most."""
PATIENCE_S: Final = 600.0
"""How long a run that ends by itself waits for something that is away; one that lives waits without end."""

_NAP_S: Final = 0.1
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_AWAY: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})


def no_space(error: BaseException) -> bool:
    """Tell whether a failure says that a disk, or what one may take of it, is full."""
    return isinstance(error, NoSpace) or (isinstance(error, OSError) and error.errno in _NO_SPACE)


def passes(error: BaseException) -> bool:
    """Tell whether a failure passes by itself, so that the same is worth another try.

    It does if it, or what caused it, is a ``SinkUnavailable``, a broken or refused connection, a time-out, an address
    that cannot be reached or found at the moment, or a full disk. Everything else stays as it is until somebody acts.

    Example:
        >>> passes(ConnectionRefusedError()), passes(PermissionError())
        (True, False)
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (SinkUnavailable, ConnectionError, TimeoutError)) or no_space(cause):
            return True
        if isinstance(cause, socket.gaierror):
            return cause.errno == socket.EAI_AGAIN
        if isinstance(cause, OSError) and cause.errno in _AWAY:
            return True
        cause = cause.__cause__
    return False


def pause_s(tries: int, drawn: float) -> float:
    """Return how long to wait after so many tries: twice as long each time up to a bound, less a random part.

    Args:
        tries: How many have failed.
        drawn: A number from 0 to 1 that was drawn at random, so that many who wait for one do not come at once.

    Example:
        >>> [pause_s(tries, 0.0) for tries in (1, 2, 3, 50)]
        [0.1, 0.2, 0.4, 10.0]
        >>> pause_s(50, 1.0)
        5.0
    """
    return float(min(FIRST_PAUSE_S * 2.0 ** min(tries - 1, 30), LONGEST_PAUSE_S)) * (1 - drawn / 2)


@dataclass(frozen=True, slots=True)
class Outage:
    """Something outside that cannot be reached or takes nothing.

    Attributes:
        what: What it is.
        reason: What it said last.
        since_us: When it began, in microseconds since 1970.
        next_us: When it is tried again.
    """

    what: str
    reason: str
    since_us: int
    next_us: int


class Patience:
    """How long a run waits for what is outside.

    Args:
        outage_s: How long an outage may last; None: as long as it takes.
        clock: Where time comes from.

    Attributes:
        waited_s: How long it was waited in all.
    """

    def __init__(self, outage_s: float | None = None, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.waited_s = 0.0
        self._outage_s = outage_s
        self._within_s: float | None = None
        self._deadline_s: float | None = None

    def end_within(self, seconds: float) -> None:
        """Say that the run ends: from now on everything together is waited for so long at the most.

        A signal handler may call it: it takes no lock. What is said first, or is shorter, holds.
        """
        if self._within_s is None or seconds < self._within_s:
            self._deadline_s = None
            self._within_s = seconds

    def over(self, since_s: float | None = None) -> bool:
        """Tell whether nothing is waited for any more, be it of an outage that began then (monotonic)."""
        now = self.clock.monotonic_s()
        if self._within_s is not None:
            if self._deadline_s is None:
                self._deadline_s = now + self._within_s
            if now >= self._deadline_s:
                return True
        return since_s is not None and self._outage_s is not None and now - since_s >= self._outage_s

    def demand(self, what: str) -> None:
        """Raise if the run should have ended by now.

        Raises:
            StoppedError: It should.
        """
        if self.over():
            raise StoppedError(
                f"{what} did not end in time after the run was told to stop; the state is as at the last checkpoint, "
                "and the next run goes on from there"
            )


class Retrying:
    """Tries the same again until it works, for as long as that is waited for.

    Args:
        what: What is tried, for people.
        patience: How long it is waited for.

    Attributes:
        outage: The present one; None while all is well.
    """

    def __init__(self, what: str, patience: Patience) -> None:
        self._what = what
        self._patience = patience
        self.outage: Outage | None = None

    def until_done(self, act: Callable[[], None], worth_it: Callable[[BaseException], bool] = passes) -> None:
        """Call until it does not raise.

        Raises:
            Exception: What it raised last, where another try is not worth it or nothing is waited for any more.
        """
        since_s: float | None = None
        tries = 0
        try:
            while True:
                try:
                    act()
                    return
                except Exception as error:
                    if not worth_it(error):
                        raise
                    clock = self._patience.clock
                    now_s = clock.monotonic_s()
                    since_s = now_s if since_s is None else since_s
                    tries += 1
                    until_s = now_s + pause_s(tries, random.random())
                    self._note(str(error), until_s - now_s)
                    slept = self._slept(until_s, since_s)
                    self._patience.waited_s += clock.monotonic_s() - now_s
                    if not slept:
                        raise
        finally:
            self.outage = None

    def _note(self, reason: str, pause: float) -> None:
        now_us = self._patience.clock.now_us()
        since_us = now_us if self.outage is None else self.outage.since_us
        self.outage = Outage(self._what, reason, since_us, now_us + int(pause * 1e6))

    def _slept(self, until_s: float, since_s: float) -> bool:
        clock, never = self._patience.clock, threading.Event()
        while not self._patience.over(since_s):
            left = until_s - clock.monotonic_s()
            if left <= 0:
                return True
            clock.wait(never, min(left, _NAP_S))
        return False
