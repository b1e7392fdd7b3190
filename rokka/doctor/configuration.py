"""Settings that are valid, but weak or incomplete. Invalid ones prevent every start (rokka.core.env)."""

from collections.abc import Iterator

from django.conf import settings

from rokka.core.env import MIN_SECRET_LENGTH
from rokka.doctor.findings import Finding, error, ok, warning

MIN_CHARACTERS = 10  # different ones in a secret


def check_settings() -> Iterator[Finding]:
    for name, values in {"SECRET_KEY": [settings.SECRET_KEY], "TOKEN_SECRETS": settings.TOKEN_SECRETS}.items():
        if any(len(value) < MIN_SECRET_LENGTH for value in values):
            yield error(f"{name} has less than {MIN_SECRET_LENGTH} characters.")
        elif any(len(set(value)) < MIN_CHARACTERS for value in values):
            yield error(f"{name} has less than {MIN_CHARACTERS} different characters. Use random ones.")
    if not settings.STANDALONE:
        yield from _production()
    hosts = ", ".join(settings.ALLOWED_HOSTS)
    yield ok(f"{settings.ROKKA_MODE}; hosts: {hosts}; HSTS: {settings.HSTS_SECONDS} seconds")


def _production() -> Iterator[Finding]:
    if settings.SECRET_KEY in settings.TOKEN_SECRETS:
        yield warning("TOKEN_SECRETS contains SECRET_KEY. Use different secrets, so that each can be replaced.")
    if "*" in settings.ALLOWED_HOSTS:
        yield warning("ALLOWED_HOSTS is *: links in responses have whatever host a client sends.")
    if not settings.HSTS_SECONDS:
        yield warning("HSTS_SECONDS is 0: browsers may send keys and passwords over plain HTTP.")
    if not settings.TRUSTED_PROXIES:
        yield warning("TRUSTED_PROXIES is empty: behind a proxy, all clients share one rate limit per address.")
    if not settings.RATE_LIMIT_ENABLED:
        yield warning("RATE_LIMIT_ENABLED is false: passwords and keys can be guessed without limit.")
    if settings.SANDBOX != "required":
        yield warning("SANDBOX is auto: rokka starts even if workers can't be sandboxed. Set it to required.")
