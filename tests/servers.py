"""Ports for servers that tests start."""

from __future__ import annotations

import os
import socket


def free_port() -> int:
    """One below those that the system hands out: a server takes seconds to listen on it."""
    for port in range(20_000 + os.getpid() % 10_000, 32_768):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no free port")
