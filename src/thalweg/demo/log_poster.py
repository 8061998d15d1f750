"""Posts log lines over HTTP beside the thread that makes them, again until the answer says that they are durable."""

from __future__ import annotations

import http.client
import json
import threading
from collections import deque
from typing import Any, Final
from urllib.parse import urlsplit

from thalweg.core.clock import Clock

Event = dict[str, Any]  # a JSON object

_BATCH: Final = 500
_PAUSE_S: Final = 0.1
_PATIENCE_S: Final = 90.0
"""For how long a server may be away."""


class Poster:
    """Sends events as NDJSON.

    Order and delivery: in the order in which they were added. What was sent without an answer is sent again with the
    same ids, so that a topic with ``id=`` has each event once.

    Args:
        url: Where to.
        clock: Where time comes from.

    Attributes:
        repeated: How many events had been taken by a request that was not answered.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        parts = urlsplit(url)
        self._host, self._path = parts.netloc, parts.path
        self._clock = clock
        self._waiting: deque[Event] = deque()
        self._finished = threading.Event()
        self._failure: OSError | None = None
        self.repeated = 0
        self._thread = threading.Thread(target=self._send_all, name="log-poster", daemon=True)
        self._thread.start()

    def add(self, event: Event) -> None:
        """Note an event that is to be sent."""
        self._waiting.append(event)

    def finish(self) -> None:
        """Wait until all was taken.

        Raises:
            OSError: The server did not come back, or refused events.
        """
        self._finished.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _send_all(self) -> None:
        try:
            # Asked before the look at what waits: nothing is added once it is set.
            while not (self._finished.is_set() and not self._waiting):
                events = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
                if events:
                    self._send("".join(json.dumps(event) + "\n" for event in events).encode(), len(events))
                else:
                    self._clock.wait(self._finished, _PAUSE_S)
        except OSError as error:
            self._failure = error

    def _send(self, body: bytes, count: int) -> None:
        until_s = self._clock.monotonic_s() + _PATIENCE_S
        pause = threading.Event()
        while True:
            try:
                status, answer = self._asked(body)
            except (OSError, http.client.HTTPException) as error:
                status, answer = 503, {"error": repr(error)}
            if status == 200:
                taken = answer["appended"] + answer["duplicates"]
                if taken != count:
                    raise OSError(f"of {count} events {taken} were taken: {answer}")
                self.repeated += answer["duplicates"]
                return
            if status < 500 or self._clock.monotonic_s() > until_s:
                raise OSError(f"events were not taken ({status}): {answer}")
            self._clock.wait(pause, _PAUSE_S)

    def _asked(self, body: bytes) -> tuple[int, Event]:
        connection = http.client.HTTPConnection(self._host, timeout=30)
        try:
            connection.request("POST", self._path, body, {"Content-Type": "application/x-ndjson"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()
