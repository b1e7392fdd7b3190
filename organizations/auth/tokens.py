"""Temporary tokens for an API key (JWT, RFC 7519, HS256), and the rules for renewing them.

A token names its user and its key, and becomes invalid when the key is deleted. It can be bound to addresses. A
renewed token never has a longer lifetime or more addresses than the token it replaces.
"""

import ipaddress
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network
from typing import Any
from uuid import UUID

from django.conf import settings

from organizations.errors import TokenNotRenewable
from rokka.core.addresses import parse_address
from rokka.core.errors import InvalidInput, InvalidToken

Network = IPv4Network | IPv6Network

ALGORITHM = "HS256"
LIFETIME = 86_400  # seconds, by default
MAX_LIFETIME = 10 * 365 * 86_400
MAX_NETWORKS = 10
MAX_ADDRESSES = 10_000
MAX_LENGTH = 4_000  # characters of a token; issued tokens have a few hundred
OWN_ADDRESS = "request_ip"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """Requested properties of a token. None means not specified. Raises InvalidInput."""

    expires_in: int | None = None  # seconds
    renewable: bool | None = None
    no_ip_protection: bool = False
    ips: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.expires_in is not None and not 1 <= self.expires_in <= MAX_LIFETIME:
            raise InvalidInput(f"expires_in: must be from 1 to {MAX_LIFETIME} seconds.")
        if self.no_ip_protection and self.ips:
            raise InvalidInput("no_ip_protection and ips can't be combined. Send one of them.")


@dataclass(frozen=True, slots=True)
class Token:
    """The claims of a token."""

    user_id: UUID
    key_id: UUID
    expires: int  # seconds since 1970
    lifetime: int  # seconds
    networks: tuple[Network, ...]  # it is valid from; empty: any address
    renewable: bool
    mfa: bool = False  # issued with a code of the second factor
    fingerprint: str = field(default="", compare=False)  # of a received token: 16 hex digits

    @property
    def payload(self) -> dict[str, Any]:
        """The claims under the names of rokka.io's API, plus `key` and, if true, `mfa`."""
        claims = {
            "id": str(self.user_id),
            "exp": self.expires,
            "expt": self.lifetime,
            "ips": [format_network(network) for network in self.networks],
            "rn": self.renewable,
            "key": str(self.key_id),
        }
        return claims | {"mfa": True} if self.mfa else claims

    def signed(self) -> str:
        import jwt

        return jwt.encode(self.payload, settings.TOKEN_SECRETS[0], ALGORITHM)


def issue(
    user_id: UUID, key_id: UUID, options: TokenRequest, *, address: str, key_expires: datetime | None = None
) -> Token:
    """Create a token for a key, requested from `address`. It expires with the key. Raises InvalidInput."""
    bound = () if options.no_ip_protection else networks(options.ips or (OWN_ADDRESS,), address=address)
    lifetime = options.expires_in or LIFETIME
    renewable = bool(bound) if options.renewable is None else options.renewable
    return Token(user_id, key_id, _expiry(lifetime, key_expires), lifetime, bound, renewable)


def renew(token: Token, options: TokenRequest, *, address: str, key_expires: datetime | None = None) -> Token:
    """Renew a token; options that are not specified are inherited. Raises TokenNotRenewable, InvalidInput."""
    if not token.renewable:
        raise TokenNotRenewable("This token can't be renewed. Get a new one with your API key.")
    lifetime = options.expires_in or token.lifetime
    if lifetime > token.lifetime:
        raise TokenNotRenewable(f"expires_in: must be at most {token.lifetime} seconds, as for this token (expt).")
    bound = networks(options.ips, address=address) if options.ips else token.networks
    if token.networks and (options.no_ip_protection or not all(within(one, token.networks) for one in bound)):
        raise TokenNotRenewable("This token is bound to addresses. It can't be renewed for other addresses.")
    if options.no_ip_protection:
        bound = ()
    renewable = True if options.renewable is None else options.renewable
    expires = _expiry(lifetime, key_expires)
    return Token(token.user_id, token.key_id, expires, lifetime, bound, renewable, token.mfa)


def verify(text: str, *, address: str) -> Token:
    """Verify the signature, the expiry and the client's address. Raises InvalidToken."""
    token = _decoded(text, tuple(settings.TOKEN_SECRETS))
    if token.expires <= time.time():
        raise InvalidToken("This token has expired. Get a new one with your API key.")
    if token.networks and not any(contains(network, address) for network in token.networks):
        raise InvalidToken("This token is not valid from your address. Get a new one with your API key.")
    return token


def _expiry(lifetime: int, key_expires: datetime | None) -> int:
    expires = int(time.time()) + lifetime
    return expires if key_expires is None else min(expires, int(key_expires.timestamp()))


@lru_cache(maxsize=1000)  # clients reuse tokens, and decoding one takes as long as a database query
def _decoded(text: str, secrets: tuple[str, ...]) -> Token:
    """Decode a token that was signed with one of the secrets. Does not check whether it has expired."""
    if len(text) > MAX_LENGTH:
        raise InvalidToken("Invalid token. Get a new one with your API key.")
    import jwt

    for secret in secrets:
        try:
            token = _read(jwt.decode(text, secret, [ALGORITHM], options={"verify_exp": False}))
            return replace(token, fingerprint=sha256(text.encode()).hexdigest()[:16])
        except jwt.InvalidSignatureError:
            continue  # try the next secret
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError):
            break
    raise InvalidToken("Invalid token. Get a new one with your API key.")


def _read(claims: dict[str, Any]) -> Token:
    try:
        return Token(
            user_id=UUID(claims["id"]),
            key_id=UUID(claims["key"]),
            expires=int(claims["exp"]),
            lifetime=int(claims["expt"]),
            networks=tuple(ipaddress.ip_network(text) for text in claims["ips"]),
            renewable=claims["rn"] is True,
            mfa=claims.get("mfa") is True,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InvalidToken("Invalid token. Get a new one with your API key.") from error


# --- Addresses --------------------------------------------------------------------------------------------------------


def networks(texts: Sequence[str], *, address: str) -> tuple[Network, ...]:
    """Parse addresses and networks, without duplicates, in order. Raises InvalidInput naming the entry or the limit."""
    found = dict.fromkeys(_network(text, address) for text in texts)
    if len(found) > MAX_NETWORKS:
        raise InvalidInput(f"ips: must have at most {MAX_NETWORKS} entries, not {len(found)}.")
    if address_count(tuple(found)) > MAX_ADDRESSES:
        raise InvalidInput(f"ips: must cover at most {MAX_ADDRESSES} addresses, not {address_count(tuple(found))}.")
    return tuple(found)


def address_count(found: Sequence[Network]) -> int:
    """Count the distinct addresses in the networks."""
    fours = ipaddress.collapse_addresses(one for one in found if isinstance(one, IPv4Network))
    sixes = ipaddress.collapse_addresses(one for one in found if isinstance(one, IPv6Network))
    return sum(one.num_addresses for one in fours) + sum(one.num_addresses for one in sixes)


def _network(text: str, address: str) -> Network:
    if text == OWN_ADDRESS:
        try:
            return ipaddress.ip_network(parse_address(address))
        except ValueError as error:
            raise InvalidInput("ips: the server can't determine your address. Use no_ip_protection.") from error
    try:
        return ipaddress.ip_network(parse_address(text) if "/" not in text else text, strict=False)
    except ValueError as error:
        raise InvalidInput(f"ips: {text[:80]!r} must be an address, a network or {OWN_ADDRESS}.") from error


def format_network(network: Network) -> str:
    """Format a network; a single address has no prefix length."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def contains(network: Network, address: str) -> bool:
    """Return whether the address is in the network; False if it is unknown or malformed."""
    try:
        return parse_address(address) in network
    except ValueError:
        return False


def within(inner: Network, outer: Sequence[Network]) -> bool:
    """Return whether one of the `outer` networks contains the network."""
    return any(inner.version == one.version and inner.subnet_of(one) for one in outer)  # type: ignore[arg-type]
