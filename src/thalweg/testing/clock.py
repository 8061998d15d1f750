"""A clock that a test moves by hand."""

from __future__ import annotations

import threading

from thalweg.core.duration import duration_us


class VirtualClock:
    """Time that stands still until it is advanced.

    Args:
        now_us: The wall clock at the start, in microseconds since 1970.

    Example:
        >>> clock = VirtualClock()
        >>> before = clock.monotonic_s()
        >>> clock.advance("30s")
        >>> clock.monotonic_s() - before
        30.0
    """

    _REAL_WAIT_S = 0.001

    def __init__(self, now_us: int = 1_704_103_200_000_000) -> None:
        self._now_us = now_us
        self._passed_us = 0
        self._lock = threading.Lock()

    def now_us(self) -> int:
        """Return the wall clock in microseconds since 1970, UTC."""
        with self._lock:
            return self._now_us

    def monotonic_s(self) -> float:
        """Return seconds since the start; never falls."""
        with self._lock:
            return self._passed_us / 1e6

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Let other threads go on for a moment of real time; virtual time does not pass."""
        return event.wait(min(timeout_s, self._REAL_WAIT_S))

    def advance(self, duration: str) -> None:
        """Let time pass, such as ``"30s"``."""
        us = duration_us(duration, "advance")
        with self._lock:
            self._now_us += us
            self._passed_us += us

    def set_back(self, duration: str) -> None:
        """Set the wall clock back, as an operator or a time server might; monotonic time goes on."""
        with self._lock:
            self._now_us -= duration_us(duration, "set_back")
