"""Files from other servers, by URL.

Whoever may upload may make this server ask others, so it asks only addresses that everybody on the Internet can
reach, and connects to no other address than the one that was looked at: a name that means one thing while it is
checked and another one a moment later gains nothing. No models here.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import unquote, urljoin

from django.conf import settings
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.response import HTTPResponse
from urllib3.util import Url, parse_url

from rokka.errors import FeatureUnavailable
from sourceimages import names
from sourceimages.errors import AddressNotAllowed, FetchFailed, FileTooLarge, InvalidURL
from sourceimages.spool import SpooledFile

PORTS = {"http": 80, "https": 443}
REDIRECTS = 5
REDIRECTING = {301, 302, 303, 307, 308}
CONNECT_SECONDS = 5
SILENCE_SECONDS = 15  # between two pieces of an answer
BLOCK = 256 * 1024  # bytes
MAX_URL = 2000  # characters
FRAME = re.compile(r"@\d{1,2}:\d\d:\d\d(\.\d+)?\Z")  # rokka.io: a video's picture at that time
HEADERS = {"User-Agent": "rokka", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}

Address = IPv4Address | IPv6Address

# Beyond what Python calls private: what no origin of pictures is, and what reaches a neighbour by another road.
NOT_PUBLIC = [
    ip_network(network)
    for network in (
        "192.0.0.0/24",  # protocols of the IETF; Oracle's machines ask there what they are
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # what Azure tells its machines about themselves
        "2001::/23",  # Teredo and other protocols of the IETF
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]
UNICAST = ip_network("2000::/3")  # all that is given out of IPv6
NAT64 = ip_network("64:ff9b::/96")  # IPv4 as seen by machines that have IPv6 only (RFC 6052)


@dataclass(frozen=True, slots=True)
class Fetched:
    name: str
    file: SpooledFile


def fetch(text: str, *, label: str, folder: Path, seconds: float) -> Fetched:
    """The file behind the URL, in the spool, under the last part of its path.

    Raises InvalidURL, AddressNotAllowed, FetchFailed, InvalidName; nothing is left in the spool then.
    """
    if FRAME.search(text):
        raise FeatureUnavailable(f"{label}: this server takes no pictures out of videos.")
    url = _parsed(text, label)
    name = names.clean(unquote((url.path or "").rpartition("/")[2]) or url.host or "")
    deadline = time.monotonic() + seconds
    for _ in range(REDIRECTS + 1):
        try:
            with _answer(url, label, deadline) as answer:
                location = answer.headers.get("Location")
                if answer.status in REDIRECTING and location:
                    url = _parsed(urljoin(url.url, location), label)
                    continue
                if answer.status != 200:
                    raise FetchFailed(f"{label}: {url.host} answered {answer.status} instead of 200.")
                return Fetched(name, _spooled(answer, label, folder, deadline))
        except (HTTPError, HTTPException, OSError) as error:
            why = "time is over" if time.monotonic() >= deadline else _in_words(error.__cause__ or error)
            raise FetchFailed(f"{label}: {url.host} could not be asked: {why}.") from error
    raise FetchFailed(f"{label}: more than {REDIRECTS} redirects.")


def is_public(address: Address) -> bool:
    """Whether it is an address that everybody can reach, and that is no other address in disguise."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in NAT64:
            return is_public(IPv4Address(address.packed[-4:]))
        if address not in UNICAST:
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in NOT_PUBLIC)


def _parsed(text: str, label: str) -> Url:
    if len(text) > MAX_URL:
        raise InvalidURL(f"{label}: the URL has {len(text)} characters; the limit is {MAX_URL}.")
    if any(character <= " " or character in "\\\x7f" for character in text):
        raise InvalidURL(f"{label}: a URL has no spaces, control characters or backslashes.")
    try:
        url = parse_url(text)
    except LocationParseError as error:
        raise InvalidURL(f"{label}: {text[:80]!r} is no URL.") from error
    if url.scheme not in PORTS or not url.host:
        raise InvalidURL(f"{label}: a URL begins with http:// or https:// and the name of a server.")
    if url.auth is not None:
        raise InvalidURL(f"{label}: a URL with a user name or password is not fetched.")
    return url


def _addresses(host: str, port: int, label: str) -> list[str]:
    """Where the host is. If any of it is not allowed, all of it is not."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchFailed(f"{label}: there is no server called {host[:80]!r}.") from error
    addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
    allowed = [ip_network(network) for network in settings.FETCH_ALLOWED_NETWORKS]
    for address in map(ip_address, addresses):
        if not is_public(address) and not any(address in network for network in allowed):
            raise AddressNotAllowed(
                f"{label}: {host[:80]} is not a public address. Others have to be allowed (FETCH_ALLOWED_NETWORKS)."
            )
    return addresses


@contextmanager
def _answer(url: Url, label: str, deadline: float) -> Iterator[HTTPResponse]:
    """What the server answers, from its headers on. The connection ends with it, or when the time is over."""
    port = url.port or PORTS[str(url.scheme)]
    addresses = _addresses(str(url.host), port, label)
    for address in addresses:
        with Watched(_connection(url, address, port), deadline) as watched:
            try:
                watched.connect()
            except (HTTPError, OSError):
                if address == addresses[-1]:
                    raise
                continue
            yield watched.ask(url)
            return


def _connection(url: Url, address: str, port: int) -> HTTPConnection:
    """To this very address, under the host's name. Not opened yet."""
    if url.scheme == "http":
        return HTTPConnection(address, port, timeout=CONNECT_SECONDS)
    host = str(url.host).strip("[]")
    return HTTPSConnection(
        address,
        port,
        timeout=CONNECT_SECONDS,
        ssl_context=ssl.create_default_context(),
        server_hostname=host,
    )


class Watched:
    """A connection that ends at its deadline, whatever it waits for: time-outs of sockets begin anew with each byte."""

    def __init__(self, connection: HTTPConnection, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self.over = threading.Event()
        self.socket: socket.socket | None = None  # the connection forgets it once the headers of an answer are there
        self.answer: HTTPResponse | None = None

    def __enter__(self) -> "Watched":
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        if self.answer is not None:
            self.answer.close()
        self.connection.close()

    def connect(self) -> None:
        self.connection.connect()
        self.socket = self.connection.sock
        self.connection.timeout = SILENCE_SECONDS

    def ask(self, url: Url) -> HTTPResponse:
        headers = HEADERS | {"Host": str(url.netloc)}
        self.connection.request("GET", url.request_uri, headers=headers, preload_content=False)
        self.answer = self.connection.getresponse()
        return self.answer

    def _watch(self) -> None:
        while not self.over.wait(max(0.1, self.deadline - time.monotonic())):
            if (open_one := self.socket or self.connection.sock) is not None:
                with suppress(OSError):
                    socket.socket.shutdown(open_one, socket.SHUT_RDWR)


def _spooled(answer: HTTPResponse, label: str, folder: Path, deadline: float) -> SpooledFile:
    announced = answer.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) > settings.MAX_FILE_SIZE:
        raise FetchFailed(_too_large(label))
    file = SpooledFile(folder, label=label, limit=settings.MAX_FILE_SIZE)
    try:
        while block := answer.read1(BLOCK):
            file.write(block)
        if time.monotonic() >= deadline:
            raise TimeoutError  # a connection that we ended looks like one that had come to its end
        file.close()
    except FileTooLarge as error:
        file.discard()
        raise FetchFailed(_too_large(label)) from error
    except BaseException:
        file.discard()
        raise
    return file


def _too_large(label: str) -> str:
    return (
        f"{label}: the file has more than {settings.MAX_FILE_SIZE:,} bytes, the limit of this server (MAX_FILE_SIZE)."
    )


def _in_words(error: BaseException) -> str:
    """No addresses and no internals of ours: somebody could draw a map with them."""
    match error:
        case TimeoutError():
            return "it does not answer"
        case ssl.SSLError():
            return "its certificate is not valid, or it speaks no TLS"
        case ConnectionRefusedError():
            return "it refuses connections"
        case _:
            return "the connection failed, or what came is not HTTP"
