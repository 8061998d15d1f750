"""What SIGTERM and Ctrl-C do to a run: it stops, in a time that is known.

    first signal ──▶ the run saves its state and ends
                       └─ not within the time allowed ──▶ it is interrupted where it is, with an error
                                                            └─ not within three seconds ──▶ the process ends
    second signal ──▶ it is interrupted where it is
    third signal ──▶ the process ends

Whatever it is, the state is as at the last checkpoint, and the next run goes on from there.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from thalweg.core.duration import duration_text
from thalweg.core.errors import StoppedError

INTERRUPTED_S: Final = 3.0
"""How long code that was interrupted may take to end; what calls no Python does not notice that it was."""

AT_ONCE: Final = "stopped at once: what came after the last checkpoint is not kept"
"""What a second signal did."""

_GRACE_S: Final = 1.0
"""A run that notices itself that it is late says what it waits for."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_END: Final = 0


@contextmanager
def stopped_by_signals(stop: Callable[[], None], timeout_us: int) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop what the block does; in another thread than the main one they are left alone.

    Args:
        stop: Asks it to end; called from any thread, and within any line of the main one.
        timeout_us: How long it may take then.

    Raises:
        StoppedError: It took longer.
        KeyboardInterrupt: There was a second signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    stopping = _Stopping(stop, timeout_us)
    before = {number: signal.signal(number, stopping.signalled) for number in _SIGNALS}
    wakeup = signal.set_wakeup_fd(stopping.heard, warn_on_full_buffer=False)
    try:
        yield
    except KeyboardInterrupt:
        if stopping.late:
            raise StoppedError(stopping.message) from None
        raise
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        stopping.end()


class _Stopping:
    """Hears signals in a thread too: the main one may be where it calls no Python for long."""

    def __init__(self, stop: Callable[[], None], timeout_us: int) -> None:
        self._stop = stop
        self._timeout_s = timeout_us / 1e6
        self._asked = self.late = False
        self.message = (
            f"the run was told to stop and did not within {duration_text(timeout_us)}: a step or a sink takes longer. "
            "The state is as at the last checkpoint, and the next run goes on from there; a longer stop_timeout= "
            "(--stop-timeout) gives it more time"
        )
        self._ear, self.heard = os.pipe()
        os.set_blocking(self.heard, False)
        self._thread = threading.Thread(target=self._watch, name="thalweg-stop", daemon=True)
        self._thread.start()

    def signalled(self, number: int, frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            self._stop()
            return
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        # Also where it was late: any other error would be taken for a row's fault by what calls functions of rows.
        raise KeyboardInterrupt

    def end(self) -> None:
        os.write(self.heard, bytes([_END]))
        self._thread.join()
        os.close(self._ear)
        os.close(self.heard)

    def _watch(self) -> None:
        if self._next(None) == _END:
            return
        self._stop()
        got = self._next(self._timeout_s + _GRACE_S)
        if got is None:
            self.late = True
            # A signal, as only that ends a wait of the main thread.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        while got != _END:
            got = self._next(INTERRUPTED_S)
            if got is None:
                os.write(2, f"thalweg: {self.message if self.late else AT_ONCE}\n".encode())
                os._exit(1)

    def _next(self, timeout_s: float | None) -> int | None:
        """Return the number of the next signal, or that of the end; None if neither comes in time."""
        ear = select.poll()  # select() takes no descriptors from 1,024 on
        ear.register(self._ear, select.POLLIN)
        return os.read(self._ear, 1)[0] if ear.poll(None if timeout_s is None else timeout_s * 1000) else None
