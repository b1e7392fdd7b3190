"""Files from other servers, by URL.

Whoever may upload may make this server ask others, so it asks only addresses that everybody on the Internet can
reach, and connects to no other address than the one that was looked at: a name that means one thing while it is
checked and another one a moment later gains nothing. No models here.
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

from rokka.core.errors import FeatureUnavailable, Unavailable
from sourceimages.errors import AddressNotAllowed, FetchFailed, FileTooLarge, InvalidName, InvalidURL
from sourceimages.storage.temp_file import TempUpload
from sourceimages.uploads.filename import clean_filename, without_directories

PORTS = {"http": 80, "https": 443}
MAX_REDIRECTS = 5
REDIRECT_STATUSES = {301, 302, 303, 307, 308}
MAX_ADDRESSES = 4  # of a name, that are tried
MAX_INTERIM = 20  # answers before the final one
CONNECT_TIMEOUT = 5
HEADERS_TIMEOUT = 15  # until the headers of the answer are there
WINDOW_SECONDS = 10  # in which a file has to come at this rate at least
MIN_RATE = 10_000  # bytes a second
READ_TIMEOUT = 15  # between two pieces of an answer
BLOCK = 256 * 1024  # bytes
MAX_URL = 2000  # characters
VIDEO_FRAME_SUFFIX = re.compile(r"@\d{1,2}:\d\d:\d\d(\.\d+)?\Z")  # rokka.io: a video's picture at that time
HEADERS = {"User-Agent": "rokka", "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}

HOST = re.compile(r"\A(\w+://)([^/?#:@]*)")
OUT_OF_TIME = "All URLs of a request have to be there within FETCH_TIMEOUT_SECONDS."
OUT_OF_RESOURCES = "This server cannot open more connections at the moment. Try again."

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
class RemoteFile:
    name: str
    file: TempUpload


def fetch(text: str, *, label: str, folder: Path, seconds: float) -> RemoteFile:
    """The file behind the URL, in the spool, under the name that its server gives it, or the last part of the path.

    Raises InvalidURL, AddressNotAllowed, FetchFailed, InvalidName; nothing is left in the spool then.
    """
    if VIDEO_FRAME_SUFFIX.search(text):
        raise FeatureUnavailable(f"{label}: this server takes no pictures out of videos.")
    first = url = _parsed(text, label)
    if seconds <= 0:
        raise FetchFailed(f"{label}: no time was left to fetch it. {OUT_OF_TIME}")
    deadline = time.monotonic() + seconds
    where = label  # what messages call the URL, with the server that redirected to it
    for _ in range(MAX_REDIRECTS + 1):
        with _open(url, where, deadline) as watched:
            answer = watched.request(url)
            location = answer.headers.get("Location")
            if answer.status in REDIRECT_STATUSES and location:
                where = f"{label}, redirected by {url.host}"
                url = _redirected(url, _text(location), label)
                continue
            if answer.status != 200:
                raise FetchFailed(f"{where}: {url.host} answered {answer.status} instead of 200.")
            return RemoteFile(_name(answer, first, label), _save(watched, answer, where, folder))
    raise FetchFailed(f"{label}: {first.host} leads to more than {MAX_REDIRECTS} redirects.")


def _redirected(url: Url, location: str, label: str) -> Url:
    """Where a server redirects to. Browsers take spaces there, and so do servers that send them."""
    try:
        return _parsed(urljoin(url.url, location.strip().replace(" ", "%20")), label)
    except (InvalidURL, ValueError) as error:
        raise FetchFailed(f"{label}: {url.host} redirects to {location[:80]!r}, which cannot be fetched.") from error


def _text(header: str) -> str:
    """A header that may be in UTF-8; http.client takes every header for Latin-1."""
    with suppress(UnicodeDecodeError):
        return header.encode("latin-1").decode()
    return header


def _name(answer: HTTPResponse, url: Url, label: str) -> str:
    """The name in Content-Disposition (RFC 6266), or the last part of the path, or the server's. Raises InvalidName."""
    with suppress(ValueError, InvalidName):  # an unknown charset
        _, parameters = parse_header_parameters(_text(answer.headers.get("Content-Disposition", "")))
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
        url = parse_url(HOST.sub(_mapped, text))
    except (LocationParseError, idna.IDNAError) as error:
        raise InvalidURL(f"{label}: {text[:80]!r} is no URL.") from error
    if url.scheme not in PORTS or not url.host:
        raise InvalidURL(f"{label}: a URL begins with http:// or https:// and the name of a server.")
    if url.auth is not None:
        raise InvalidURL(f"{label}: a URL with a user name or password is not fetched.")
    return url


def _mapped(host: re.Match[str]) -> str:
    """A host name beyond ASCII as browsers bring it into one form (UTS 46), of which `parse_url` makes an ASCII one."""
    return host[1] + (host[2] if host[2].isascii() else idna.uts46_remap(host[2]))


def _addresses(host: str, port: int, label: str) -> list[str]:
    """Where the host is. If any of it is not allowed, all of it is not."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise FetchFailed(f"{label}: the name {host[:80]!r} could not be resolved at the moment.") from error
        raise FetchFailed(f"{label}: there is no server called {host[:80]!r}.") from error
    except UnicodeError as error:
        raise FetchFailed(f"{label}: there is no server called {host[:80]!r}.") from error
    except OSError as error:
        raise Unavailable(OUT_OF_RESOURCES) from error
    addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
    allowed = [ip_network(network) for network in settings.FETCH_ALLOWED_NETWORKS]
    for address in map(ip_address, addresses):
        if not is_public(address) and not any(address in network for network in allowed):
            raise AddressNotAllowed(
                f"{label}: {host[:80]} is not a public address. Others have to be allowed (FETCH_ALLOWED_NETWORKS)."
            )
    return addresses[:MAX_ADDRESSES]


@contextmanager
def _open(url: Url, label: str, deadline: float) -> Iterator["DeadlineConnection"]:
    """A connection to ask for the URL. It ends with what is done within, or when the time is over.

    What goes wrong with it, within too, is raised as FetchFailed, or as Unavailable if it is our own fault.
    """
    port = url.port or PORTS[str(url.scheme)]
    addresses = _addresses(str(url.host), port, label)
    watched = None
    try:
        for address in addresses:
            with DeadlineConnection(_connection(url, address, port), deadline) as watched:
                try:
                    watched.connect()
                except (HTTPError, OSError):
                    if address == addresses[-1] or watched.ended:
                        raise
                    continue
                yield watched
                return
    except (HTTPError, HTTPException, OSError) as error:
        cause = error if isinstance(error, DecodeError) else error.__cause__ or error
        why = (watched and watched.ended) or _public_reason(cause)
        raise FetchFailed(f"{label}: {url.host} {why}.") from error


class FinalResponse(http.client.HTTPResponse):
    """An answer without the interim ones before it (RFC 9110, 15.2), such as 103 Early Hints."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MAX_INTERIM + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if not 100 <= status < 200 or status == HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise HTTPException("too many interim answers")


def _connection(url: Url, address: str, port: int) -> HTTPConnection:
    """To this very address, under the host's name. Not opened yet."""
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
    """A connection that ends at its deadline, or when too little comes: time-outs of sockets begin anew with each byte.

    `ended` says in words why it was ended, if it was.
    """

    def __init__(self, connection: HTTPConnection, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline
        self.over = threading.Event()
        self.socket: socket.socket | None = None  # the connection forgets it once the headers of an answer are there
        self.answer: HTTPResponse | None = None
        self.ended = ""
        self.received = 0  # bytes in this window
        self.window_end = time.monotonic() + HEADERS_TIMEOUT

    def __enter__(self) -> "DeadlineConnection":
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
        self.connection.timeout = READ_TIMEOUT

    def request(self, url: Url) -> HTTPResponse:
        headers = HEADERS | {"Host": str(url.netloc)}
        self.connection.request("GET", url.request_uri, headers=headers, preload_content=False)
        self.answer = self.connection.getresponse()
        self.window_end = time.monotonic() + WINDOW_SECONDS
        return self.answer

    def _watch(self) -> None:
        while not self.over.wait(max(0.1, min(self.deadline, self.window_end) - time.monotonic())):
            self.ended = self.ended or self._why_end()
            if self.ended and (open_one := self.socket or self.connection.sock) is not None:
                with suppress(OSError):
                    socket.socket.shutdown(open_one, socket.SHUT_RDWR)

    def _why_end(self) -> str:
        now = time.monotonic()
        if now >= self.deadline:
            return f"had not sent all of it when the time was over. {OUT_OF_TIME.rstrip('.')}"
        if now < self.window_end:
            return ""
        if self.answer is None:
            return f"had not answered after {HEADERS_TIMEOUT} seconds"
        if self.received < MIN_RATE * WINDOW_SECONDS:
            return f"sends too slowly, less than {MIN_RATE:,} bytes a second"
        self.received, self.window_end = 0, now + WINDOW_SECONDS
        return ""


def _save(watched: DeadlineConnection, answer: HTTPResponse, label: str, folder: Path) -> TempUpload:
    announced = answer.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) > settings.MAX_FILE_SIZE:
        raise FetchFailed(_too_large(label))
    file = TempUpload(folder, label=label, limit=settings.MAX_FILE_SIZE)
    try:
        while block := answer.read1(BLOCK):
            file.write(block)
            watched.received += len(block)
        if watched.ended:
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


def _public_reason(error: BaseException) -> str:
    """What the other server did. No addresses and no internals of ours: somebody could draw a map with them.

    Raises Unavailable if it did nothing, but this server cannot open connections.
    """
    match error:
        case TimeoutError():
            return "does not answer"
        case ssl.SSLCertVerificationError():
            return "has a certificate that is not valid for it"
        case ssl.SSLError():
            return "could not agree on TLS"
        case ConnectionRefusedError():
            return "refuses connections"
        case RemoteDisconnected():
            return "ended the connection without an answer"
        case IncompleteRead():
            return "ended the connection before all of it was sent"
        case DecodeError():
            return "sent something else than its Content-Encoding says"
        case OSError(errno=errno.EMFILE | errno.ENFILE | errno.ENOMEM | errno.ENOBUFS | errno.EADDRNOTAVAIL):
            raise Unavailable(OUT_OF_RESOURCES)
        case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH):
            return "cannot be reached from this server"
        case HTTPException():
            return "sent an answer that is not HTTP"
        case _:
            return "broke the connection"
