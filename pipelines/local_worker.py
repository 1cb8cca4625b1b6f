"""A local worker process: Beam's worker, which ends with its driver and leaves Ctrl-C to it.

When a driver is killed, Beam's workers go on for as long as their bundle lasts: they hold memory
and cores and write what nobody waits for. So each waits for a lock that the driver holds for as
long as it wants them. Ctrl-C reaches the workers too, and their tracebacks would bury the driver's
line. What they log goes to the driver, and not to stderr as well.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import sys
import threading
from pathlib import Path

DRIVER_LOCK = "TILTH_DRIVER_LOCK"
"""Environment variable: the file that the driver keeps locked."""


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lock = Path(os.environ[DRIVER_LOCK])
    threading.Thread(target=end_with_driver, args=[lock], daemon=True).start()
    logging.basicConfig(handlers=[logging.NullHandler()])
    from apache_beam.runners.worker import sdk_worker_main

    sdk_worker_main.main(sys.argv)


def end_with_driver(lock: Path) -> None:
    """Ends this process as soon as the driver has let go of the lock, or has ended in any way."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        lock.unlink(missing_ok=True)
    finally:
        os._exit(0)  # the driver, if it is there, has asked for it


if __name__ == "__main__":
    main()
