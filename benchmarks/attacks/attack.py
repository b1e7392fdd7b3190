"""What all attacks share: a server of its own, a calm user before and during the attack, and connections to it."""

import argparse
import ipaddress
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.attacks import calm
from benchmarks.common import ORGANIZATION, Server, installation, jpeg, options

PATHS = {
    "list": f"/sourceimages/{ORGANIZATION}?limit=20",
    "operations": "/operations",
}
BEFORE_SECONDS = 5
LONGEST_SECONDS = 300
MOST = 5_000  # connections


class Attack:
    """A running attack: the server, when to stop, and the responses the attackers got, by status."""

    def __init__(self, server: Server, arguments: argparse.Namespace) -> None:
        self.server, self.count, self.arguments = server, arguments.count, arguments
        self.stop = threading.Event()
        self.statuses: Counter[str] = Counter()

    def connect(self) -> socket.socket:
        return connect("127.0.0.1", self.server.port)

    def head(self, method: str, path: str, *lines: str) -> bytes:
        headers = [f"{name}: {value}" for name, value in self.server.headers.items()]
        return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers, *lines, "", ""]).encode()

    def note(self, connection: socket.socket) -> None:
        """Count the status of a response, if there is one; 'disconnected' if the server has ended the connection."""
        connection.setblocking(False)
        try:
            got = connection.recv(12, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        self.statuses[got[9:12].decode() or "disconnected"] += 1


def connect(host: str, port: int) -> socket.socket:
    """A connection to an address of this machine; ends the program for any other one."""
    if not ipaddress.ip_address(host).is_loopback:
        raise SystemExit(f"{host} is not an address of this machine. Attacks are for your own server only.")
    connection = socket.socket()
    connection.settimeout(30)
    connection.connect((host, port))
    return connection


def run(
    start: Callable[[Attack, ExitStack], None], description: str, *, count: int, images: int = 10, **variables: str
) -> None:
    """Measure a calm user before and during the attack, which `start` starts and which runs until the end."""
    parser = options(description)
    parser.add_argument("--count", type=int, default=count, help=f"connections of the attackers (default {count})")
    parser.set_defaults(seconds=15)
    arguments = parser.parse_args()
    if not 0 < arguments.count <= MOST or not 0 < arguments.seconds <= LONGEST_SECONDS:
        raise SystemExit(f"At most {MOST} connections and {LONGEST_SECONDS} seconds.")
    with (
        installation(arguments) as installed,
        installed.server(RATE_LIMIT_ENABLED="false", **variables) as server,
        TemporaryDirectory() as folder,
    ):
        for _ in range(images):
            server.load(f"/sourceimages/{ORGANIZATION}", file=jpeg(Path(folder, "a.jpg"), 4_000_000), count=1)
        calm.measure(server, PATHS, seconds=1)
        before = calm.measure(server, PATHS, seconds=BEFORE_SECONDS)
        attack = Attack(server, arguments)
        with ExitStack() as stack:
            stack.callback(attack.stop.set)
            start(attack, stack)
            time.sleep(1)
            during = calm.measure(server, PATHS, seconds=arguments.seconds)
        calm.print_result(before, during)
        print(f"Responses to the attackers: {dict(attack.statuses) or 'none'}")


def repeat(attack: Attack, stack: ExitStack, action: Callable[[], None], *, pause: float, threads: int) -> None:
    """Call the action again and again until the attack ends, in some threads. Refused connections are tried again."""

    def loop() -> None:
        while not attack.stop.is_set():
            with suppress(OSError):
                action()
            attack.stop.wait(pause)

    for _ in range(threads):
        threading.Thread(target=loop, daemon=True).start()
    stack.callback(attack.stop.set)


@contextmanager
def opened(attack: Attack) -> Iterator[list[socket.socket]]:
    """As many connections as the attack has."""
    with ExitStack() as stack:
        yield [stack.enter_context(attack.connect()) for _ in range(attack.count)]
