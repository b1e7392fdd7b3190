"""Tokens: what an API key hands out for a while (RFC 7519, HS256), and the rules for getting another one.

A token names its user and the key it comes from, and dies with that key. It may be bound to addresses. Its successor
is never worth more than itself: not longer, not from elsewhere.
"""

import ipaddress
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any
from uuid import UUID

import jwt
from django.conf import settings

from organizations.errors import TokenNotRenewable
from rokka.core.errors import InvalidInput, InvalidToken

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

ALGORITHM = "HS256"
LIFETIME = 86_400  # seconds, unless asked otherwise
MAX_LIFETIME = 10 * 365 * 86_400
MAX_NETWORKS = 10
MAX_ADDRESSES = 10_000
MAX_LENGTH = 4_000  # characters of a token; ours have a few hundred
OWN_ADDRESS = "request_ip"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What somebody asks a token to be; None is what was not said."""

    expires_in: int | None = None  # seconds
    renewable: bool | None = None
    no_ip_protection: bool = False
    ips: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.expires_in is not None and not 1 <= self.expires_in <= MAX_LIFETIME:
            raise InvalidInput(f"expires_in: it must be from 1 to {MAX_LIFETIME} seconds.")
        if self.no_ip_protection and self.ips:
            raise InvalidInput("no_ip_protection and ips contradict each other: send one of them.")


@dataclass(frozen=True, slots=True)
class Token:
    """A token, as its claims say."""

    user_id: UUID
    key_id: UUID
    expires: int  # seconds since 1970
    lifetime: int  # seconds
    networks: tuple[Network, ...]  # from which it is valid; none: from everywhere
    renewable: bool

    @property
    def payload(self) -> dict[str, Any]:
        """The claims, under the names that clients know; `key` is ours."""
        return {
            "id": str(self.user_id),
            "exp": self.expires,
            "expt": self.lifetime,
            "ips": [format_network(network) for network in self.networks],
            "rn": self.renewable,
            "key": str(self.key_id),
        }

    def signed(self) -> str:
        return jwt.encode(self.payload, settings.TOKEN_SECRETS[0], ALGORITHM)


def issue(user_id: UUID, key_id: UUID, wish: TokenRequest, *, address: str) -> Token:
    """A token for the owner of a key who calls from `address`."""
    bound = () if wish.no_ip_protection else networks(wish.ips or (OWN_ADDRESS,), address=address)
    lifetime = wish.expires_in or LIFETIME
    renewable = bool(bound) if wish.renewable is None else wish.renewable
    return Token(user_id, key_id, int(time.time()) + lifetime, lifetime, bound, renewable)


def renew(token: Token, wish: TokenRequest, *, address: str) -> Token:
    """The successor of a token; what is not wished stays as it is. Raises TokenNotRenewable."""
    if not token.renewable:
        raise TokenNotRenewable("This token is not renewable. Get a new one with your Api-Key.")
    lifetime = wish.expires_in or token.lifetime
    if lifetime > token.lifetime:
        raise TokenNotRenewable(f"This token can be renewed for at most {token.lifetime} seconds, its own expt.")
    bound = networks(wish.ips, address=address) if wish.ips else token.networks
    if token.networks and (wish.no_ip_protection or not all(_within(one, token.networks) for one in bound)):
        raise TokenNotRenewable("This token is bound to addresses; its successor cannot be valid from others.")
    if wish.no_ip_protection:
        bound = ()
    renewable = True if wish.renewable is None else wish.renewable
    return Token(token.user_id, token.key_id, int(time.time()) + lifetime, lifetime, bound, renewable)


def verify(text: str, *, address: str) -> Token:
    """The token, if it is one of ours and valid now and from this address. Raises InvalidToken."""
    token = _decoded(text, tuple(settings.TOKEN_SECRETS))
    if token.expires <= time.time():
        raise InvalidToken("This token has expired. Get a new one with your Api-Key.")
    if token.networks and not any(_contains(network, address) for network in token.networks):
        raise InvalidToken("This token is not valid from your address. Get a new one with your Api-Key.")
    return token


@lru_cache(maxsize=1000)  # the same few tokens come again and again, and reading one takes as long as a query
def _decoded(text: str, secrets: tuple[str, ...]) -> Token:
    """What the token says, if one of the secrets signed it; whether it is still valid is another question."""
    if len(text) > MAX_LENGTH:
        raise InvalidToken("This token is not valid.")
    for secret in secrets:
        try:
            return _read(jwt.decode(text, secret, [ALGORITHM], options={"verify_exp": False}))
        except jwt.InvalidSignatureError:
            continue  # signed with another of the secrets, or with none
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError):
            break
    raise InvalidToken("This token is not valid.")


def _read(claims: dict[str, Any]) -> Token:
    try:
        return Token(
            user_id=UUID(claims["id"]),
            key_id=UUID(claims["key"]),
            expires=int(claims["exp"]),
            lifetime=int(claims["expt"]),
            networks=tuple(ipaddress.ip_network(text) for text in claims["ips"]),
            renewable=claims["rn"] is True,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidToken("This token is not valid.") from error


# --- Addresses --------------------------------------------------------------------------------------------------------


def networks(texts: Sequence[str], *, address: str) -> tuple[Network, ...]:
    """The networks that are meant, without repetition, in their order. Raises Invalid naming the entry or the limit."""
    found = dict.fromkeys(_network(text, address) for text in texts)
    if len(found) > MAX_NETWORKS:
        raise InvalidInput(f"ips: {len(found)} entries; the limit is {MAX_NETWORKS}.")
    if address_count(tuple(found)) > MAX_ADDRESSES:
        raise InvalidInput(f"ips: they cover {address_count(tuple(found))} addresses; the limit is {MAX_ADDRESSES}.")
    return tuple(found)


def address_count(found: Sequence[Network]) -> int:
    """How many different addresses the networks hold together."""
    fours = ipaddress.collapse_addresses(one for one in found if isinstance(one, IPv4Network))
    sixes = ipaddress.collapse_addresses(one for one in found if isinstance(one, IPv6Network))
    return sum(one.num_addresses for one in fours) + sum(one.num_addresses for one in sixes)


def _network(text: str, address: str) -> Network:
    if text == OWN_ADDRESS:
        try:
            return ipaddress.ip_network(normalize_address(address))
        except ValueError as error:
            raise InvalidInput("ips: this server does not see your address; use no_ip_protection.") from error
    try:
        return ipaddress.ip_network(normalize_address(text) if "/" not in text else text, strict=False)
    except ValueError as error:
        raise InvalidInput(f"ips: {text[:80]!r} is no address, no network and not {OWN_ADDRESS}.") from error


def normalize_address(address: str) -> Address:
    """The address; one of IPv4 that is written as one of IPv6 (RFC 4291, 2.5.5.2) is the same address."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return getattr(parsed, "ipv4_mapped", None) or parsed


def format_network(network: Network) -> str:
    """As people write it: a single address without its length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def _contains(network: Network, address: str) -> bool:
    try:
        return normalize_address(address) in network
    except ValueError:
        return False


def _within(inner: Network, outer: Sequence[Network]) -> bool:
    return any(inner.version == one.version and inner.subnet_of(one) for one in outer)  # type: ignore[arg-type]
