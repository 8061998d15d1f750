"""Children of a campaign: forked in a millisecond, listened to through a pipe, killed at any instant."""

from __future__ import annotations

import gc
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.attacks.tale import Line, Teller, read_lines


@dataclass(slots=True)
class Child:
    """A child process.

    Attributes:
        pid: Its process id.
        pipe: Where its tale can be read.
        tale: What was read of it.
        ended: Its wait status, once it has been waited for.
    """

    pid: int
    pipe: int
    tale: bytearray = field(default_factory=bytearray)
    ended: int | None = None

    def listen(self, timeout_s: float) -> bool:
        """Read what it has told, waiting for its first word; return whether the pipe is still open."""
        if not select.select([self.pipe], [], [], timeout_s)[0]:
            return True
        part = os.read(self.pipe, 1 << 20)
        self.tale += part
        return bool(part)

    def kill(self) -> None:
        """End it at once, and wait for it."""
        os.kill(self.pid, signal.SIGKILL)
        self.finish()

    def finish(self, timeout_s: float = 60) -> list[Line]:
        """Wait until it has ended; return its tale.

        Raises:
            TimeoutError: It did not end in time; it is killed.
        """
        deadline = time.monotonic() + timeout_s
        while self.pipe >= 0:
            left = deadline - time.monotonic()
            if left <= 0:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"a child did not end within {timeout_s} s; it said {self.lines()[-3:]}")
            if not self.listen(left):
                os.close(self.pipe)
                self.pipe = -1
        if self.ended is None:
            self.ended = os.waitpid(self.pid, 0)[1]
        return self.lines()

    def lines(self) -> list[Line]:
        """Return the whole lines of its tale."""
        whole = self.tale.rfind(b"\n") + 1
        return read_lines(bytes(self.tale[:whole]))

    @property
    def signal(self) -> int:
        """Return the signal that ended it; 0 for none."""
        return os.WTERMSIG(self.ended) if self.ended is not None and os.WIFSIGNALED(self.ended) else 0


def fork(work: Callable[[Teller], None]) -> Child:
    """Start a child that does the work, tells its tale and ends. What it raises, it tells as ``broken``."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    # A collection in the child would copy every page of what the parent has loaded.
    gc.disable()
    os.close(reading)
    teller = Teller(writing)
    status = 0
    try:
        work(teller)
    except BaseException:
        status = 1
        os.write(writing, Line("broken", note=traceback.format_exc()[-1800:]).packed()[:4000])
    os._exit(status)
