"""Restrictions of API keys: the addresses they can be used from, and when they expire.

They hold for the key and for every token issued for it, at once, because each request checks the row of the key.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import IPv6Network, ip_network

from django.utils import timezone

from organizations.auth.tokens import (
    MAX_ADDRESSES,
    MAX_NETWORKS,
    Network,
    address_count,
    contains,
    format_network,
    within,
)
from organizations.errors import IpNotAllowed, KeyExpired, LessRestricted
from organizations.models import ApiKey
from rokka.core.addresses import parse_address
from rokka.core.clock import from_iso
from rokka.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Restrictions:
    """The restrictions of a key. `allowed_ips` are addresses and IPv4 networks; empty: any address."""

    allowed_ips: tuple[str, ...] = ()
    expires: datetime | None = None
    requires_mfa: bool = False

    def with_limit(self, limit: "Restrictions") -> "Restrictions":
        """Add the restrictions that are missing here. Raises LessRestricted if one of these is weaker."""
        restricted = Restrictions(
            self.allowed_ips or limit.allowed_ips,
            self.expires or limit.expires,
            self.requires_mfa or limit.requires_mfa,
        )
        restricted.check_at_least(limit)
        return restricted

    def check_at_least(self, *limits: "Restrictions") -> None:
        """Raise LessRestricted, with the problem with the first limit, unless one of them is met in all respects."""
        problems = [self._weaker_than(limit) for limit in limits]
        if all(problems):
            raise LessRestricted(problems[0])

    def _weaker_than(self, limit: "Restrictions") -> str:
        """Return which restriction is weaker than that of the limit, or ""."""
        if not covers(limit.allowed_ips, self.allowed_ips):
            return "allowed_ips: must be within the addresses of the API key of this request."
        if limit.expires and not (self.expires and self.expires <= limit.expires):
            return "expires: must not be later than the API key of this request expires."
        if limit.requires_mfa and not self.requires_mfa:
            return "requires_mfa: must be true, as for the API key of this request."
        return ""


@dataclass(frozen=True, slots=True)
class KeyLimit:
    """What keys are limited to that are made or changed with a token: as the key of the token is."""

    restrictions: Restrictions
    trusted: bool

    def check_trusted(self, trusted: bool) -> None:
        """Raise LessRestricted if a key of the same user would be trusted, unlike the key of the token."""
        if trusted and not self.trusted:
            raise LessRestricted(
                "trusted: tokens of keys that are not trusted, and keys made with them, can't make trusted keys."
            )


def restrictions_of(key: ApiKey) -> Restrictions:
    return Restrictions(tuple(key.allowed_ips or ()), key.expires, key.requires_mfa)


def check_usable(*, expired: bool, allowed_ips: str, address: str) -> None:
    """Raise KeyExpired or IpNotAllowed. `allowed_ips` is a JSON array, or empty: any address."""
    if expired:
        raise KeyExpired("This API key has expired. Use another key.")
    if allowed_ips and not is_allowed(json.loads(allowed_ips) or (), address):
        raise IpNotAllowed("This API key can't be used from your address.")


def is_allowed(allowed_ips: Iterable[str], address: str) -> bool:
    """Return whether a key with these `allowed_ips` can be used from the address."""
    networks = _networks(tuple(allowed_ips))
    return not networks or any(contains(network, address) for network in networks)


def parse_allowed_ips(entries: Sequence[str]) -> tuple[str, ...]:
    """Parse addresses and IPv4 networks, without duplicates, in order. Raises InvalidInput naming the entry."""
    found = tuple(dict.fromkeys(_parse(entry.strip()) for entry in entries))
    if len(found) > MAX_NETWORKS:
        raise InvalidInput(f"allowed_ips: must have at most {MAX_NETWORKS} entries, not {len(found)}.")
    if (count := address_count(found)) > MAX_ADDRESSES:
        raise InvalidInput(f"allowed_ips: must cover at most {MAX_ADDRESSES} addresses, not {count}.")
    return tuple(format_network(network) for network in found)


def parse_expires(text: str, *, past: bool = False) -> datetime:
    """Parse a time with time zone, in the future unless `past` times are allowed. Raises InvalidInput."""
    try:
        parsed = from_iso(text)
        if parsed.tzinfo is None:
            raise ValueError("no time zone")
        parsed = parsed.astimezone(UTC).replace(microsecond=0)  # as it is shown
    except (ValueError, OverflowError) as error:
        raise InvalidInput("expires: must be a time with time zone, such as 2027-01-31T09:30:00Z.") from error
    if not past and parsed <= timezone.now():
        raise InvalidInput("expires: must be in the future.")
    return parsed


def _parse(entry: str) -> Network:
    try:
        network = ip_network(entry if "/" in entry else parse_address(entry), strict=False)
        if isinstance(network, IPv6Network) and "/" in entry:
            raise ValueError("IPv6 network")
    except ValueError as error:
        raise InvalidInput(f"allowed_ips: {entry[:80]!r} must be an address or an IPv4 network.") from error
    return network


@lru_cache(maxsize=1000)
def _networks(allowed_ips: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in allowed_ips)


def covers(outer: tuple[str, ...], inner: tuple[str, ...]) -> bool:
    """Return whether all addresses of `inner` are in `outer`; empty means any address."""
    if not outer or not inner:
        return not outer
    return all(within(network, _networks(outer)) for network in _networks(inner))
