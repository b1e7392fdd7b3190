"""rokka that disconnects slow readers after two seconds instead of thirty."""

from rokka.core import slow_clients

slow_clients.WINDOW_SECONDS = 2.0

from rokka.wsgi import application  # noqa: E402

__all__ = ["application"]
