"""Ending a run between two steps: SIGTERM comes from a scheduler, Ctrl-C from a user."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Whether a signal has asked to stop. A second one ends the process at once."""

    def __init__(self) -> None:
        self.is_set = False
        self._earlier = {}

    def install(self) -> None:
        self._earlier = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def restore(self) -> None:
        for number, handler in self._earlier.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: object) -> None:
        self.is_set = True
        self.restore()


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Collects signals while the block runs; outside of the main thread it cannot, and does not."""
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    stop.install()
    try:
        yield stop
    finally:
        stop.restore()
