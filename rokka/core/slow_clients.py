"""Ends connections of clients that read a response too slowly, by what the kernel knows about them (Linux only).

A thread that sends a response waits in the server until the client has read enough, and can't be interrupted there.
Ending the connection frees it. Buffers don't matter: the kernel counts what the client has received.
"""

import os
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import structlog

MIN_RATE = 10_000  # bytes per second
WINDOW_SECONDS = 30.0  # over which the rate is measured
SCANS = 6  # in this time; a client that has read everything at one of them is not slow

# In struct tcp_info of linux/tcp.h: bytes that the client has received, and bytes that wait for room at the client.
BYTES_ACKED, BYTES_NOT_SENT = struct.Struct("=120xQ"), struct.Struct("=144xI")
TCP_INFO_SIZE = 148

log = structlog.get_logger()

_started: set[int] = set()
_lock = threading.Lock()


@dataclass(slots=True)
class Waiting:
    """A connection with data that the client has no room for: since when, and how much it had received then."""

    since: float
    received: int


class SlowClients:
    """Watches the connections that this process has accepted at a port."""

    def __init__(self, port: int, *, min_rate: float, window: float) -> None:
        self.port, self.min_rate, self.window = port, min_rate, window
        self.waiting: dict[int, Waiting] = {}  # by the inode of the socket

    def scan(self, now: float) -> int:
        """Look at all connections once, and end those that are too slow. Returns the number of those ended."""
        ended, still = 0, dict[int, Waiting]()
        for inode, connection in self._connections():
            with connection, suppress(OSError):
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
                if len(info) < TCP_INFO_SIZE or not BYTES_NOT_SENT.unpack_from(info)[0]:
                    continue
                (received,) = BYTES_ACKED.unpack_from(info)
                seen = self.waiting.get(inode) or Waiting(now, received)
                if now - seen.since >= self.window:
                    if received - seen.received < self.min_rate * (now - seen.since):
                        end(connection)
                        ended += 1
                        continue
                    seen = Waiting(now, received)
                still[inode] = seen
        self.waiting = still
        return ended

    def _connections(self) -> Iterator[tuple[int, socket.socket]]:
        """Accepted connections with their inodes, as duplicates: the server can close its own at any time."""
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    continue
                connection = socket.socket(fileno=os.dup(int(name)))
                try:
                    if self._is_accepted(connection):
                        yield os.fstat(connection.fileno()).st_ino, connection
                finally:
                    connection.close()

    def _is_accepted(self, connection: socket.socket) -> bool:
        return (
            connection.family in (socket.AF_INET, socket.AF_INET6)
            and connection.type == socket.SOCK_STREAM
            and connection.getsockname()[1] == self.port
            and not connection.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )


def end(connection: socket.socket) -> None:
    """Reset the connection, also if the client does not read what is in the buffers."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RDWR)


def watch(port: int) -> None:
    """Watch the connections at this port from now on, in a thread; no effect if they are watched."""
    if sys.platform != "linux" or port in _started:
        return
    with _lock:
        if port in _started:
            return
        _started.add(port)
    clients = SlowClients(port, min_rate=MIN_RATE, window=WINDOW_SECONDS)
    threading.Thread(target=_run, args=[clients, time.sleep], name="slow-clients", daemon=True).start()


def _run(clients: SlowClients, sleep: Callable[[float], None]) -> None:
    while True:
        sleep(clients.window / SCANS)
        try:
            if ended := clients.scan(time.monotonic()):
                log.warning("slow_clients.ended", count=ended, min_bytes_per_second=clients.min_rate)
        except Exception:
            log.exception("slow_clients.failed")
