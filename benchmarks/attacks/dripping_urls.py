"""Uploads by URL from a server that sends one byte per second."""

import http.client
import json
import socket
import threading
import time
from contextlib import ExitStack, closing, suppress

from benchmarks.attacks.attack import Attack, repeat, run
from benchmarks.common import ORGANIZATION

DRIPPING = "127.0.0.5"  # the only private address from which the attacked server fetches


def start(attack: Attack, stack: ExitStack) -> None:
    listening = stack.enter_context(socket.create_server((DRIPPING, 0), backlog=1000))
    threading.Thread(target=serve, args=[listening, attack.stop], daemon=True).start()
    url = f"http://{DRIPPING}:{listening.getsockname()[1]}/a.png"
    body = f'--attack\r\nContent-Disposition: form-data; name="url[0]"\r\n\r\n{url}\r\n--attack--\r\n'

    def upload() -> None:
        headers = attack.server.headers | {"Content-Type": "multipart/form-data; boundary=attack"}
        with closing(http.client.HTTPConnection("127.0.0.1", attack.server.port, timeout=30)) as connection:
            connection.request("POST", f"/sourceimages/{ORGANIZATION}", body, headers)
            answer = connection.getresponse()
            json.load(answer)
            attack.statuses[str(answer.status)] += 1

    repeat(attack, stack, upload, pause=1, threads=attack.count)


def serve(listening: socket.socket, stop: threading.Event) -> None:
    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not stop.is_set():
                connection.sendall(b"x")
                time.sleep(1)

    with suppress(OSError):  # it is closed
        while not stop.is_set():
            threading.Thread(target=drip, args=[listening.accept()[0]], daemon=True).start()


if __name__ == "__main__":
    run(start, __doc__, count=40, images=0, FETCH_ALLOWED_NETWORKS=f"{DRIPPING}/32")
