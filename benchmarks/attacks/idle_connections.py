"""Many connections that stay open after one request each, and are never used again."""

from contextlib import ExitStack, suppress

from benchmarks.attacks.attack import Attack, opened, run


def start(attack: Attack, stack: ExitStack) -> None:
    connections = stack.enter_context(opened(attack))
    for connection in connections:
        connection.sendall(attack.head("GET", "/health/live"))
    for connection in connections:
        with suppress(OSError):
            connection.recv(4096)
    stack.callback(lambda: [attack.note(connection) for connection in connections])


if __name__ == "__main__":
    run(start, __doc__, count=2000, images=0)
