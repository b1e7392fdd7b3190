"""Downloads of a ZIP of 40 MB that read 2,000 bytes per second."""

import socket
import time
from contextlib import ExitStack
from threading import Lock

from benchmarks.attacks.attack import Attack, repeat, run
from benchmarks.common import ORGANIZATION


def start(attack: Attack, stack: ExitStack) -> None:
    connections, lock = list[socket.socket](), Lock()

    def connect() -> None:
        with lock:
            missing = attack.count - len(connections)
        for _ in range(max(0, missing)):
            connection = attack.connect()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            connection.sendall(attack.head("GET", f"/sourceimages/{ORGANIZATION}/download"))
            attack.note(connection) if not attack.stop.wait(0.05) else None
            with lock:
                connections.append(connection)

    def read() -> None:
        time.sleep(1)
        with lock:
            for connection in list(connections):
                connection.setblocking(False)
                try:
                    ended = not connection.recv(2000)
                except BlockingIOError:
                    continue
                except OSError:
                    ended = True
                if ended:
                    attack.statuses["disconnected"] += 1
                    connections.remove(connection)

    connect()
    repeat(attack, stack, connect, pause=1, threads=1)
    repeat(attack, stack, read, pause=0, threads=1)


if __name__ == "__main__":
    wide = {f"MAX_ARCHIVES_PER_{owner}": "1000" for owner in ("KEY", "ORGANIZATION")}
    run(start, __doc__, count=20, **wide)
