"""Which failures pass by themselves, how long they are waited for, and how often something is tried again."""

from __future__ import annotations

import errno
import socket
import threading

import pytest

from thalweg.core.errors import NoSpace, SinkError, SinkUnavailable, StoppedError
from thalweg.core.outage import LONGEST_PAUSE_S, Patience, Retrying, no_space, passes, pause_s
from thalweg.testing.clock import VirtualClock


def caused_by(cause: BaseException) -> SinkError:
    error = SinkError("the sink failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        SinkUnavailable("later"),
        ConnectionRefusedError(),
        BrokenPipeError(),
        TimeoutError(),
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EDQUOT, "quota"),
        OSError(errno.EHOSTUNREACH, "no route"),
        socket.gaierror(socket.EAI_AGAIN, "try again"),
        NoSpace("full"),
    ],
)
def test_what_is_away_or_full_passes_by_itself_also_as_a_cause(error: Exception) -> None:
    assert passes(error)
    assert passes(caused_by(error))


@pytest.mark.parametrize(
    "error",
    [
        SinkError("the rows do not fit"),
        PermissionError(errno.EACCES, "no"),
        OSError(errno.EIO, "the disk is broken"),
        socket.gaierror(socket.EAI_NONAME, "no such name"),
        ValueError("wrong"),
        KeyboardInterrupt(),
    ],
)
def test_what_somebody_must_mend_does_not(error: BaseException) -> None:
    assert not passes(error)
    assert not passes(caused_by(error))


def test_pauses_grow_to_a_bound_and_are_drawn() -> None:
    assert [pause_s(n, 0) for n in range(1, 9)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, LONGEST_PAUSE_S]
    assert all(0 < pause_s(n, drawn) <= LONGEST_PAUSE_S for n in (1, 10, 10**6) for drawn in (0.0, 0.5, 1.0))
    assert pause_s(3, 0.2) != pause_s(3, 0.7)


class Away:
    """Fails so many times."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.left = times
        self.calls = 0
        self._error = error or ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    def __call__(self) -> None:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self._error


def retried(away: Away, clock: VirtualClock, retrying: Retrying) -> tuple[threading.Thread, list[Exception]]:
    errors: list[Exception] = []

    def main() -> None:
        try:
            retrying.until_done(away)
        except Exception as error:  # looked at by the test
            errors.append(error)

    thread = threading.Thread(target=main)
    thread.start()
    return thread, errors


def test_it_is_tried_again_until_it_works_and_what_is_waited_for_is_shown() -> None:
    clock, away = VirtualClock(), Away(12)
    retrying = Retrying("the sink out", Patience(None, clock))
    thread, errors = retried(away, clock, retrying)
    seen = set()
    while thread.is_alive():
        outage = retrying.outage
        if outage is not None:
            seen.add((outage.what, outage.reason, outage.since_us))
            assert outage.next_us - outage.since_us > 0
        clock.advance("1s")
        thread.join(0.002)
    assert (away.calls, errors, retrying.outage) == (13, [], None)
    assert len(seen) == 1, "one outage, however often it is tried"
    ((what, reason, _),) = seen
    assert (what, reason) == ("the sink out", "[Errno 111] Connection refused")


def test_a_failure_that_does_not_pass_is_raised_at_once() -> None:
    away = Away(1, ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        Retrying("x", Patience()).until_done(away)
    assert away.calls == 1


def test_an_outage_of_a_run_that_ends_by_itself_is_waited_for_so_long() -> None:
    clock, away = VirtualClock(), Away(10**9)
    thread, errors = retried(away, clock, Retrying("x", Patience(600, clock)))
    for _ in range(599):
        clock.advance("1s")
    assert thread.is_alive()
    clock.advance("1s")
    thread.join(20)
    assert [type(error) for error in errors] == [ConnectionRefusedError]


def test_a_run_that_ends_waits_for_everything_together_so_long() -> None:
    clock = VirtualClock()
    patience = Patience(None, clock)
    assert not patience.over(0)
    patience.end_within(30)
    patience.end_within(60)
    patience.demand("a sink")
    clock.advance("29s")
    assert not patience.over()
    clock.advance("1s")
    assert patience.over()
    with pytest.raises(StoppedError, match="a sink did not end in time after the run was told to stop"):
        patience.demand("a sink")


def test_a_second_wish_to_end_may_only_be_shorter() -> None:
    patience = Patience(None, VirtualClock())
    patience.end_within(30)
    assert not patience.over()
    patience.end_within(0)
    assert patience.over()


def test_a_full_disk_is_known_by_its_number() -> None:
    assert no_space(OSError(errno.ENOSPC, ""))
    assert not no_space(OSError(errno.EIO, ""))
    assert not no_space(ConnectionRefusedError())
