"""What SIGTERM and Ctrl-C do to a run: it stops, in a time that is known.

    first signal ──▶ the run saves its state and ends
                       └─ not within the time allowed ──▶ it is interrupted where it is, with an error
                                                            └─ not within two seconds ──▶ the process ends
    second signal ──▶ it is interrupted where it is
    third signal ──▶ the process ends

Whatever it is, the state is as at the last checkpoint, and the next run goes on from there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from thalweg.core.duration import duration_text
from thalweg.core.errors import StoppedError

INTERRUPTED_S: Final = 2.0
"""How long code that was interrupted may take to end; what calls no Python does not notice that it was."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopped_by_signals(stop: Callable[[], None], timeout_us: int) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM stop what the block does; in another thread than the main one they are left alone.

    Args:
        stop: Asks it to end; called within any line of the main thread.
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
    try:
        yield
    finally:
        stopping.ended.set()
        for number, handler in before.items():
            signal.signal(number, handler)


class _Stopping:
    def __init__(self, stop: Callable[[], None], timeout_us: int) -> None:
        self._stop = stop
        self._timeout_s = timeout_us / 1e6
        self._asked = self._late = False
        self.ended = threading.Event()
        self._message = (
            f"the run was told to stop and did not within {duration_text(timeout_us)}: a step or a sink takes "
            "longer. The state is as at the last checkpoint, and the next run goes on from there; a longer "
            "stop_timeout= (--stop-timeout) gives it more time"
        )

    def signalled(self, number: int, frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            threading.Thread(target=self._watch, name="thalweg-stop", daemon=True).start()
            self._stop()
            return
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        if self._late:
            raise StoppedError(self._message)
        raise KeyboardInterrupt

    def _watch(self) -> None:
        if self.ended.wait(self._timeout_s):
            return
        self._late = True
        # A signal, as only that ends a wait of the main thread.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        if not self.ended.wait(INTERRUPTED_S):
            os.write(2, f"thalweg: {self._message}\n".encode())
            os._exit(1)
