"""Fetch files from other servers by URL, protected against server-side request forgery.

Users with upload permission choose the URLs, so only public addresses are allowed. The connection uses exactly the
address that was checked, so that a DNS answer which changes in between has no effect (DNS rebinding). No models here.
"""

import errno
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from urllib.parse import unquote_to_bytes, urljoin

import idna
from django.conf import settings
from django.utils.http import parse_header_parameters
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import DecodeError, HTTPError, LocationParseError
from urllib3.response import HTTPResponse
from urllib3.util import Url, parse_url

from rokka.core.connections import release_connection
from rokka.core.errors import FeatureUnavailable, Unavailable
from sourceimages.errors import AddressNotAllowed, FetchFailed, FileTooLarge, InvalidName, InvalidURL
from sourceimages.storage.temp_file import TempUpload
from sourceimages.uploads.filename import clean_filename, without_directories

PORTS = {"http": 80, "https": 443}
MAX_REDIRECTS = 5
REDIRECT_STATUSES = {301, 302, 303, 307, 308}
MAX_ADDRESSES = 4  # tried per host name
MAX_INTERIM = 20  # before the final response
CONNECT_TIMEOUT = 5
HEADERS_TIMEOUT = 15  # until the response headers are complete
WINDOW_SECONDS = 10  # period in which MIN_RATE is measured
MIN_RATE = 10_000  # bytes per second
READ_TIMEOUT = 15  # between two reads of a response
BLOCK = 256 * 1024  # bytes
MAX_URL = 2000  # characters
VIDEO_FRAME_SUFFIX = re.compile(r"@\d{1,2}:\d\d:\d\d(\.\d+)?\Z")  # rokka.io: frame of a video at this position
HEADERS = {"User-Agent": "rokka", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}

HOST = re.compile(r"\A(\w+://)([^/?#:@]*)")
OUT_OF_TIME = "All URLs of a request must be fetched within FETCH_TIMEOUT_SECONDS."
OUT_OF_RESOURCES = "This server can't open more connections. Try again later."

Address = IPv4Address | IPv6Address

# Not private for Python, but never the origin of an image, or another route to a local address.
NOT_PUBLIC = [
    ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocols; metadata service of Oracle Cloud
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # metadata service of Azure
        "2001::/23",  # Teredo and other IETF protocols
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
]
UNICAST = ip_network("2000::/3")  # all allocated IPv6 addresses
NAT64 = ip_network("64:ff9b::/96")  # IPv4 addresses on IPv6-only networks (RFC 6052)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    name: str
    file: TempUpload


def fetch(text: str, *, label: str, folder: Path, seconds: float) -> RemoteFile:
    """The file behind the URL as a temporary file, and its name from the server or from the path.

    Raises InvalidURL, AddressNotAllowed, FetchFailed, InvalidName; the temporary file is removed then.
    """
    if VIDEO_FRAME_SUFFIX.search(text):
        raise FeatureUnavailable(f"{label}: extracting images from videos is not supported.")
    first = url = _parsed(text, label)
    if seconds <= 0:
        raise FetchFailed(f"{label}: there was no time left to fetch it. {OUT_OF_TIME}")
    release_connection()
    deadline = time.monotonic() + seconds
    source = label  # name of the URL in messages, with the server that redirected to it
    for _ in range(MAX_REDIRECTS + 1):
        with _open(url, source, deadline) as connection:
            response = connection.request(url)
            location = response.headers.get("Location")
            if response.status in REDIRECT_STATUSES and location:
                source = f"{label}, redirected by {url.host}"
                url = _redirected(url, _text(location), label)
                continue
            if response.status != 200:
                raise FetchFailed(f"{source}: {url.host} returned status {response.status} instead of 200.")
            return RemoteFile(_name(response, first, label), _save(connection, response, source, folder))
    raise FetchFailed(f"{label}: {first.host} has more than {MAX_REDIRECTS} redirects.")


def _redirected(url: Url, location: str, label: str) -> Url:
    """The redirect target. Spaces are escaped: browsers accept them, so servers send them."""
    try:
        return _parsed(urljoin(url.url, location.strip().replace(" ", "%20")), label)
    except (InvalidURL, ValueError) as error:
        raise FetchFailed(f"{label}: {url.host} redirects to {location[:80]!r}, which is not a valid URL.") from error


def _text(header: str) -> str:
    """A header decoded as UTF-8 if possible; http.client decodes all headers as Latin-1."""
    with suppress(UnicodeDecodeError):
        return header.encode("latin-1").decode()
    return header


def _name(response: HTTPResponse, url: Url, label: str) -> str:
    """The name from Content-Disposition (RFC 6266), the last path segment or the host. Raises InvalidName."""
    with suppress(ValueError, InvalidName):  # unknown charset
        _, parameters = parse_header_parameters(_text(response.headers.get("Content-Disposition", "")))
        return clean_filename(without_directories(parameters.get("filename", "")))
    segment = unquote_to_bytes((url.path or "").rpartition("/")[2])
    try:
        name = segment.decode()
    except UnicodeDecodeError:
        name = segment.decode("latin-1")
    try:
        return clean_filename(without_directories(name) or str(url.host))
    except InvalidName as error:
        raise InvalidName(f"{label}: {error.message}") from error


def is_public(address: Address) -> bool:
    """Return whether the address is public and does not embed a non-public one."""
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
        raise InvalidURL(f"{label}: the URL must not contain spaces, control characters or backslashes.")
    try:
        url = parse_url(HOST.sub(_mapped, text))
    except (LocationParseError, idna.IDNAError) as error:
        raise InvalidURL(f"{label}: invalid URL {text[:80]!r}.") from error
    if url.scheme not in PORTS or not url.host:
        raise InvalidURL(f"{label}: the URL must start with http:// or https:// and a host name.")
    if url.auth is not None:
        raise InvalidURL(f"{label}: the URL must not contain a user name or password.")
    return url


def _mapped(host: re.Match[str]) -> str:
    """A non-ASCII host name normalized as in browsers (UTS 46); `parse_url` then encodes it as ASCII."""
    return host[1] + (host[2] if host[2].isascii() else idna.uts46_remap(host[2]))


def _addresses(host: str, port: int, label: str) -> list[str]:
    """The allowed addresses of the host. If one address is not allowed, the host is refused."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise FetchFailed(f"{label}: the host {host[:80]!r} could not be resolved. Try again later.") from error
        raise FetchFailed(f"{label}: the host {host[:80]!r} does not exist.") from error
    except UnicodeError as error:
        raise FetchFailed(f"{label}: the host {host[:80]!r} does not exist.") from error
    except OSError as error:
        raise Unavailable(OUT_OF_RESOURCES) from error
    addresses = list(dict.fromkeys(str(source[0]) for *_, source in found))
    allowed = [ip_network(network) for network in settings.FETCH_ALLOWED_NETWORKS]
    for address in map(ip_address, addresses):
        if not is_public(address) and not any(address in network for network in allowed):
            raise AddressNotAllowed(
                f"{label}: {host[:80]} is not a public address. The server can allow it with FETCH_ALLOWED_NETWORKS."
            )
    return addresses[:MAX_ADDRESSES]


@contextmanager
def _open(url: Url, label: str, deadline: float) -> Iterator["DeadlineConnection"]:
    """Context with a connection for the URL, closed at the end or at the deadline.

    Errors, also within the context, are raised as FetchFailed, or as Unavailable if this server is the cause.
    """
    port = url.port or PORTS[str(url.scheme)]
    addresses = _addresses(str(url.host), port, label)
    connection = None
    try:
        for address in addresses:
            with DeadlineConnection(_connection(url, address, port), deadline) as connection:
                try:
                    connection.connect()
                except (HTTPError, OSError):
                    if address == addresses[-1] or connection.end_reason:
                        raise
                    continue
                yield connection
                return
    except (HTTPError, HTTPException, OSError) as error:
        cause = error if isinstance(error, DecodeError) else error.__cause__ or error
        why = (connection and connection.end_reason) or _public_reason(cause)
        raise FetchFailed(f"{label}: {url.host} {why}.") from error


class FinalResponse(http.client.HTTPResponse):
    """A response without preceding interim responses (RFC 9110, 15.2), such as 103 Early Hints."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise HTTPException("too many interim responses")


def _connection(url: Url, address: str, port: int) -> HTTPConnection:
    """A connection to exactly this address, with the host name for TLS. Not opened yet."""
    connection: HTTPConnection
    if url.scheme == "http":
        connection = HTTPConnection(address, port, timeout=CONNECT_TIMEOUT)
    else:
        host = str(url.host).strip("[]")
        context = ssl.create_default_context()
        connection = HTTPSConnection(address, port, timeout=CONNECT_TIMEOUT, ssl_context=context, server_hostname=host)
    connection.response_class = FinalResponse
    return connection


class DeadlineConnection:
    """Closes a connection at its deadline or below a minimum rate: socket timeouts restart with every byte.

    `end_reason` is the reason, as a phrase, if it was closed.
    """

    def __init__(self, connection: HTTPConnection, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self.closed = threading.Event()
        # The connection drops its reference once the response headers are read
        self.socket: socket.socket | None = None
        self.response: HTTPResponse | None = None
        self.end_reason = ""
        self.received = 0  # bytes in the current window
        self.window_end = time.monotonic() + HEADERS_TIMEOUT

    def __enter__(self) -> "DeadlineConnection":
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.closed.set()
        for part in (self.response, self.connection):
            with suppress(HTTPError, OSError):
                if part is not None:
                    part.close()

    def connect(self) -> None:
        self.connection.connect()
        self.socket = self.connection.sock
        self.connection.timeout = READ_TIMEOUT

    def request(self, url: Url) -> HTTPResponse:
        headers = HEADERS | {"Host": str(url.netloc)}
        self.connection.request("GET", url.request_uri, headers=headers, preload_content=False)
        self.response = self.connection.getresponse()
        self.window_end = time.monotonic() + WINDOW_SECONDS
        return self.response

    def _watch(self) -> None:
        while not self.closed.wait(max(0.1, min(self.deadline, self.window_end) - time.monotonic())):
            self.end_reason = self.end_reason or self._reason_to_end()
            if self.end_reason and (open_socket := self.socket or self.connection.sock) is not None:
                with suppress(OSError):
                    socket.socket.shutdown(open_socket, socket.SHUT_RDWR)

    def _reason_to_end(self) -> str:
        now = time.monotonic()
        if now >= self.deadline:
            return f"did not send the whole file in time. {OUT_OF_TIME.rstrip('.')}"
        if now < self.window_end:
            return ""
        if self.response is None:
            return f"did not respond within {HEADERS_TIMEOUT} seconds"
        if self.received < MIN_RATE * WINDOW_SECONDS:
            return f"sends too slowly: the minimum is {MIN_RATE:,} bytes per second"
        self.received, self.window_end = 0, now + WINDOW_SECONDS
        return ""


def _save(connection: DeadlineConnection, response: HTTPResponse, label: str, folder: Path) -> TempUpload:
    content_length = response.headers.get("Content-Length", "")
    if content_length.isdecimal() and int(content_length) > settings.MAX_FILE_SIZE:
        raise FetchFailed(_too_large(label))
    file = TempUpload(folder, label=label, limit=settings.MAX_FILE_SIZE)
    try:
        while block := response.read1(BLOCK):
            file.write(block)
            connection.received += len(block)
        if connection.end_reason:
            raise TimeoutError  # a connection that we closed looks like a complete response
        file.close()
    except FileTooLarge as error:
        file.discard()
        raise FetchFailed(_too_large(label)) from error
    except BaseException:
        file.discard()
        raise
    return file


def _too_large(label: str) -> str:
    return f"{label}: the file exceeds {settings.MAX_FILE_SIZE:,} bytes, the limit of this server (MAX_FILE_SIZE)."


def _public_reason(error: BaseException) -> str:
    """The error of the other server, as a phrase without addresses or internals, which could reveal the network.

    Raises Unavailable if this server can't open connections.
    """
    match error:
        case TimeoutError():
            return "did not respond"
        case ssl.SSLCertVerificationError():
            return "has an invalid certificate"
        case ssl.SSLError():
            return "failed to negotiate TLS"
        case ConnectionRefusedError():
            return "refused the connection"
        case RemoteDisconnected():
            return "closed the connection without a response"
        case IncompleteRead():
            return "closed the connection before the response was complete"
        case DecodeError():
            return "sent content that does not match its Content-Encoding"
        case OSError(errno=errno.EMFILE | errno.ENFILE | errno.ENOMEM | errno.ENOBUFS | errno.EADDRNOTAVAIL):
            raise Unavailable(OUT_OF_RESOURCES)
        case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH):
            return "is not reachable from this server"
        case HTTPException():
            return "sent an invalid HTTP response"
        case _:
            return "closed the connection"
