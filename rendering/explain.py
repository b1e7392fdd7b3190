"""Explain a render URL step by step, as far as the database knows its stack and image."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from organizations.errors import OrganizationNotFound
from rendering.errors import InvalidRenderURL
from rendering.grammar import DYNAMIC, RenderURL, locate, parse
from rendering.lookups import RowLookup, find_organization, find_referenced, requires_signature
from rendering.output import Preferences
from rendering.resolve import Recipe, resolve
from rokka.core.errors import DomainError
from rokka.core.http import status_of

PLACEHOLDER = "{organization}"


@dataclass(slots=True)
class Explanation:
    """What a URL means. `error` is set if it would be refused; `recipe` only if stack and image exist."""

    url: RenderURL | None = None
    recipe: Recipe | None = None
    needs_signature: bool | None = None
    error: DomainError | None = None
    notes: list[str] = field(default_factory=list)

    def meaning(self) -> dict[str, Any]:
        """The meaning as JSON; of a URL that does not follow the grammar, only the status."""
        if self.url is None:
            return {"status": int(status_of(self.error))} if self.error else {}
        return self.url.describe()

    def as_json(self) -> dict[str, Any]:
        """The meaning, and what the database adds."""
        found = self.meaning()
        if self.error:
            found |= {"status": int(status_of(self.error)), "reason": self.error.reason, "message": self.error.message}
        if self.needs_signature is not None:
            found["needs_signature"] = self.needs_signature
        if self.recipe:
            found["resolved"] = {"operations": self.recipe.body["operations"], "output": self.recipe.body["output"]}
            found["key"] = self.recipe.key
        return found

    def lines(self) -> Iterator[str]:
        """The explanation as text."""
        if self.url:
            for name, value in self.url.describe().items():
                if value not in (None, {}, []):
                    yield f"{name + ':':14} {_text(value)}"
        if self.recipe:
            for position, operation in enumerate(self.recipe.body["operations"], 1):
                dpr = f" (dpr {operation['dpr']:g})" if operation["dpr"] != 1 else ""
                yield f"step {position}:{'':7} {operation['name']}{dpr} {_text(operation['options'])}".rstrip()
            output = self.recipe.body["output"]
            yield f"{'output:':14} {output['format']} {_text(output['options'])}".rstrip()
            yield f"{'cache key:':14} {self.recipe.key}"
        if self.needs_signature is not None:
            yield f"{'signature:':14} {'required' if self.needs_signature else 'not required'}"
        yield from (f"{'note:':14} {note}" for note in self.notes)
        if self.error:
            yield f"{'refused:':14} {int(status_of(self.error))} {self.error.reason}: {self.error.message}"


def explain(text: str, *, host_template: str = "", preferences: Preferences | None = None) -> Explanation:
    """Explain the URL. `host_template` is how hosts are built, such as `https://example.org/{organization}`."""
    found = Explanation()
    try:
        organization, path, query = located(text, host_template)
        found.url = parse(path, query, organization)
        _look_up(found, found.url, preferences or Preferences())
    except DomainError as error:
        found.error = error
    return found


def located(text: str, host_template: str = "") -> tuple[str, str, str]:
    """The organization, the path without it, and the query of a URL. Raises InvalidRenderURL."""
    match = re.match(r"(?:https?:)?//([^/?#]*)([^?#]*)(?:\?([^#]*))?", text)
    if match is None:
        raise InvalidRenderURL(f"{text[:80]!r} is not a URL. It must start with https:// or http://.")
    host, path, query = match[1].rpartition("@")[2], match[2], match[3] or ""
    if host_template:
        template = urlsplit(host_template)
        pattern = re.escape(template.netloc + template.path.rstrip("/")).replace(
            re.escape(PLACEHOLDER), "(?P<organization>[a-z0-9-]+)"
        )
        if (fits := re.match(pattern, host + path)) is None or PLACEHOLDER not in host_template:
            raise InvalidRenderURL(f"{text[:80]!r} does not match the host {host_template!r}.")
        return fits["organization"], (host + path)[fits.end() :], query
    if own := locate(host, path, settings.RENDER_DOMAIN):
        return own[0], own[1], query
    label, _, domain = host.partition(".")
    if domain and not _is_address(host):
        return label, path, query
    organization, _, rest = path.lstrip("/").partition("/")
    return organization, f"/{rest}", query


def _look_up(found: Explanation, url: RenderURL, preferences: Preferences) -> None:
    """Add what the database knows. A missing organization only means that there is nothing to add."""
    try:
        lookup = RowLookup(find_organization(url.organization))
    except OrganizationNotFound:
        found.notes.append("The organization does not exist here, so nothing was looked up.")
        return
    stack = None if url.stack == DYNAMIC else lookup.stack_row(url.stack)
    if url.image.kind == "remote":
        found.notes.append("Remote images are not fetched for an explanation.")
        return
    image = find_referenced(lookup.organization, url.image, stack.options if stack else {})
    found.needs_signature = requires_signature(lookup.organization, stack, image)
    content = stack.content if stack else None
    epoch = stack.cache_epoch if stack else 0
    found.recipe = resolve(url, lookup.source(image), content, lookup, preferences, epoch=epoch)
    found.needs_signature |= lookup.protected_parts


def _is_address(host: str) -> bool:
    try:
        ip_address(host.rpartition(":")[0].strip("[]") or host)
    except ValueError:
        return False
    return True


def _text(value: Any) -> str:
    """Options as `name=value`, lists comma-separated."""
    if isinstance(value, dict):
        return ", ".join(f"{name}={_text(one)}" for name, one in value.items() if one is not None)
    if isinstance(value, list):
        return "; ".join(_text(one) for one in value)
    return str(value)
