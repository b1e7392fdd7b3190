"""IP addresses of clients: as servers and proxies report them, and as rate limits count them."""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Entries of X-Forwarded-For with a port: some proxies append 192.0.2.1:4711 and [2001:db8::1]:4711.
WITH_PORT = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<ipv4>[0-9.]+))(?::[0-9]{1,5})?")
IPV6_PREFIX = 64  # bits of an IPv6 address that name a network; in it, a client can choose any address


@lru_cache(1024)  # several times per request
def parse_address(text: str) -> Address:
    """Parse an address without its zone; an IPv4-mapped one (RFC 4291, 2.5.5.2) becomes IPv4. Raises ValueError."""
    address = ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def parse_forwarded(entry: str) -> Address:
    """Parse an entry of X-Forwarded-For, which may have brackets and a port. Raises ValueError."""
    match = WITH_PORT.fullmatch(entry.strip())
    return parse_address(match["bracketed"] or match["ipv4"] or "" if match else entry.strip())


def client_key(address: str) -> str:
    """Return what rate limits count a client by: its IPv4 address, or the /64 network of its IPv6 address.

    Text that is not an address is returned as it is.
    """
    try:
        parsed = parse_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(ip_network((parsed, IPV6_PREFIX), strict=False))


def is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)


def is_from_proxy(environ: Mapping[str, Any], trusted: Iterable[Network]) -> bool:
    """Whether a trusted proxy has sent the WSGI request; False for a Unix socket, which has no address."""
    try:
        return is_in(parse_address(environ.get("REMOTE_ADDR", "")), trusted)
    except ValueError:
        return False


def forwarded_address(environ: Mapping[str, Any], trusted: Iterable[Network]) -> str:
    """The address of the client of a WSGI request: from X-Forwarded-For, if the connection is from a trusted proxy.

    X-Forwarded-For is read from its end, where trusted proxies append. The first address that is not a trusted proxy is
    the client's; the addresses before it were sent by the client and are ignored.

    Text that is not an address, such as that of a Unix socket, is returned as it is.
    """
    trusted = list(trusted)
    try:
        address = parse_address(environ.get("REMOTE_ADDR", ""))
    except ValueError:
        return str(environ.get("REMOTE_ADDR", ""))
    forwarded = environ.get("HTTP_X_FORWARDED_FOR", "").split(",") if trusted else []
    with suppress(ValueError):  # not an address: use the last known proxy
        while forwarded and is_in(address, trusted):
            address = parse_forwarded(forwarded.pop())
    return str(address)
