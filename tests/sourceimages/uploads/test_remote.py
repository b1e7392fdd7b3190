"""Fetching by URL: what is fetched, and whom this server cannot be made to ask."""

import os
import resource
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from rokka.core.errors import DomainError, FeatureUnavailable, Unavailable
from sourceimages.errors import AddressNotAllowed, FetchFailed, InvalidURL
from sourceimages.uploads import remote
from sourceimages.uploads.remote import fetch
from tests.support.web_server import HERE, IMAGE, serving

pytestmark = pytest.mark.any_database

connections: list[Any] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        connections.append(arguments[1])


sys.addaudithook(watch)


@pytest.fixture
def server(settings) -> Iterator[Any]:
    settings.FETCH_ALLOWED_NETWORKS = [f"{HERE}/32"]
    with serving() as server:
        yield server


@pytest.fixture
def base(server) -> str:
    return f"http://{HERE}:{server.server_port}"


@pytest.fixture
def get(tmp_path):
    """Fetches; nothing but what was fetched may be in the spool."""

    def run(url: str, *, seconds: float = 10) -> tuple[str, bytes]:
        connections.clear()
        try:
            fetched = fetch(url, label="url[0]", folder=tmp_path, seconds=seconds)
        except DomainError:
            assert list(tmp_path.iterdir()) == []
            raise
        assert list(tmp_path.iterdir()) == [fetched.file.path]
        content = fetched.file.path.read_bytes()
        fetched.file.discard()
        return fetched.name, content

    return run


@pytest.fixture
def resolves(monkeypatch):
    """Resolves host names to addresses: one list per lookup."""
    real, asked = socket.getaddrinfo, []

    def patch(*answers: list[str]) -> list[str]:
        def getaddrinfo(host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:
            if not host.endswith(".example"):
                return real(host, port, *arguments, **options)
            asked.append(host)
            found = answers[min(len(asked), len(answers)) - 1]
            return [entry for address in found for entry in real(address, port, *arguments, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return patch


# --- What is fetched --------------------------------------------------------------------------------------------------


def test_the_bytes_come_as_they_are_under_the_last_part_of_the_path(get, base):
    assert get(f"{base}/a/b%20c/harbour%20%C3%BC.png?size=2#top") == ("harbour ü.png", IMAGE)


def test_without_a_path_the_server_gives_the_name(get, base):
    assert get(base) == (HERE, IMAGE)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("caf%C3%A9.png", "café.png"),
        ("caf%E9.png", "café.png"),  # in Latin-1, as old servers write it
        ("caf\u00e9.png", "café.png"),
        ("cafe%CC%81.png", "café.png"),
        ("100%.png", "100%.png"),
        ("photos%2Fharbour.png", "harbour.png"),
        ("a/..%5Charbour.png", "harbour.png"),
        ("a/%2E%2E%2F", HERE),
    ],
)
def test_the_last_part_of_the_path_is_the_name(get, base, path, name):
    assert get(f"{base}/{path}") == (name, IMAGE)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="harbour.png"', "harbour.png"),
        ("attachment; filename=harbour.png", "harbour.png"),
        ('inline; FileName="har;bour \\"1\\".png"', 'har;bour "1".png'),
        ("attachment; filename=\"x.png\"; filename*=UTF-8''caf%C3%A9.png", "café.png"),
        ("attachment; filename*=utf-8'de'caf%C3%A9.png; filename=\"x.png\"", "café.png"),
        ("attachment; filename*=ISO-8859-1''caf%E9.png", "café.png"),
        ('attachment; filename="caf\u00c3\u00a9 \u00c3\u0085.png"', "café Å.png"),  # raw UTF-8
        ('attachment; filename="caf\u00e9.png"', "café.png"),  # raw Latin-1
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\photos\\\\a.png"', "a.png"),
        ("attachment", "from-path.png"),
        ('attachment; filename=""', "from-path.png"),
        ('attachment; filename="photos/"', "from-path.png"),
        ("attachment; filename*=UTF-8''a%00b.png", "from-path.png"),
        ("attachment; filename*=nonsense''a.png", "from-path.png"),
        ('attachment; filename="' + "n" * 501 + '"', "from-path.png"),
    ],
)
def test_the_server_names_the_file_if_it_wants_to(get, base, header, name):
    assert get(f"{base}/named/from-path.png?{quote(header, encoding='latin-1')}") == (name, IMAGE)


def test_hashes_are_made_on_the_way(server, base, tmp_path):
    from hashlib import sha1, sha256

    file = fetch(f"{base}/a.png", label="url[0]", folder=tmp_path, seconds=10).file
    assert (file.size, file.sha1, file.sha256) == (
        len(IMAGE),
        sha1(IMAGE).hexdigest(),
        sha256(IMAGE).hexdigest(),
    )


def test_redirects_are_followed_and_the_name_stays(get, base):
    assert get(f"{base}/redirect?/other/name.jpg") == ("redirect", IMAGE)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (b"/a b/c d.png", "/a%20b/c%20d.png"),
        (b"  /a.png ", "/a.png"),
        ("/café Å.png?n=ü".encode(), "/caf%C3%A9%20%C3%85.png?n=%C3%BC"),
        ("/café.png".encode("latin-1"), "/caf%C3%A9.png"),
        (b"/caf%c3%a9 \xc3\xbc.png", "/caf%C3%A9%20%C3%BC.png"),
        (b"a.png?b c#d e", "/a.png?b%20c"),
    ],
)
def test_redirects_may_be_written_as_browsers_take_them(get, base, server, location, path):
    assert get(f"{base}/redirect?{quote(location)}") == ("redirect", IMAGE)
    assert server.paths[-1] == path


def test_answers_before_the_final_one_are_passed_over(get, base):
    assert get(f"{base}/early.png") == ("early.png", IMAGE)


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("日本語。example", "xn--wgv71a119e.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ],
)
def test_hosts_may_have_names_beyond_ascii(get, server, resolves, host, asked):
    names = resolves([HERE])
    assert get(f"http://{host}:{server.server_port}/a.png") == ("a.png", IMAGE)
    assert names == [asked]
    assert server.seen[-1]["Host"] == f"{asked}:{server.server_port}"


def test_such_a_name_is_no_way_around_what_is_allowed(get, resolves):
    for host in ("１２７.0.0.1", "①27.0.0.1", "127。0。0。1"):
        with pytest.raises(AddressNotAllowed):
            get(f"http://{host}/a.png")
    resolves(["10.0.0.1"])
    with pytest.raises(AddressNotAllowed):
        get("http://bücher.example/a.png")
    assert connections == []


def test_what_was_packed_for_the_way_is_unpacked(get, base):
    assert get(f"{base}/gzip.png") == ("gzip.png", IMAGE)


def test_no_credentials_of_ours_and_no_proxy_are_used(get, server, base, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NETRC", "/dev/null")
    get(f"{base}/a.png")
    assert server.seen == [
        {
            "User-Agent": "rokka",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "Host": f"{HERE}:{server.server_port}",
        }
    ]


def test_the_next_address_is_tried_where_one_does_not_answer(get, server, resolves, settings):
    settings.FETCH_ALLOWED_NETWORKS = ["127.0.0.0/29"]
    resolves(["127.0.0.2", HERE])
    assert get(f"http://two.example:{server.server_port}/a.png") == ("a.png", IMAGE)
    assert [address[0] for address in connections] == ["127.0.0.2", HERE]


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[str, ssl.SSLContext]:
    """For pictures.example, self-signed."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=DNS:pictures.example", "-keyout", "key.pem", "-out", "certificate.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return str(folder / "certificate.pem"), context


@pytest.fixture
def tls_port(certificate, settings, resolves) -> Iterator[int]:
    settings.FETCH_ALLOWED_NETWORKS = [f"{HERE}/32"]
    resolves([HERE])
    with serving(certificate[1]) as server:
        yield server.server_port


def test_a_certificate_is_checked_for_the_name_in_the_url(get, tls_port, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificate[0])
    assert get(f"https://pictures.example:{tls_port}/a.png") == ("a.png", IMAGE)
    with pytest.raises(FetchFailed, match="certificate"):
        get(f"https://others.example:{tls_port}/a.png")


def test_an_untrusted_certificate_is_refused(get, tls_port):
    with pytest.raises(FetchFailed, match="certificate"):
        get(f"https://pictures.example:{tls_port}/a.png")


# --- What is not fetched ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("missing.png", f"{HERE} returned status 404"),
        ("upgrade.png", f"{HERE} returned status 101"),
        ("always-early.png", "invalid HTTP response"),
        ("hang-up.png", "closed the connection without a response"),
        ("cut-gzip.png", "Content-Encoding"),
        ("large.png", "exceeds 1,000,000 bytes"),
        ("endless.png", "exceeds 1,000,000 bytes"),
        ("bomb.png", "exceeds 1,000,000 bytes"),
        ("cut.png", f"{HERE} closed the connection before the response was complete"),
        ("nonsense.png", "invalid HTTP response"),
        ("redirect?/redirect?/a", f"{HERE} has more than 5 redirects"),
        ("slow.png", "FETCH_TIMEOUT_SECONDS"),
        ("slow-headers.png", "FETCH_TIMEOUT_SECONDS"),
    ],
)
def test_what_cannot_be_had_is_refused_and_leaves_nothing(get, base, settings, path, reason):
    settings.MAX_FILE_SIZE = 1_000_000
    if path.startswith("redirect"):
        path = "redirect?" * 7
    began = time.monotonic()
    with pytest.raises(FetchFailed, match=reason):
        get(f"{base}/{path}", seconds=1.5)
    assert time.monotonic() - began < 8


def test_a_server_that_sends_too_slowly_is_left_before_the_time_is_over(get, base, monkeypatch):
    monkeypatch.setattr(remote, "WINDOW_SECONDS", 1)
    monkeypatch.setattr(remote, "HEADERS_TIMEOUT", 2)
    for path, reason in (("slow.png", "too slowly"), ("slow-headers.png", "not respond within 2 seconds")):
        began = time.monotonic()
        with pytest.raises(FetchFailed, match=f"{HERE} .*{reason}"):
            get(f"{base}/{path}", seconds=60)
        assert time.monotonic() - began < 6


def test_a_server_that_is_fast_enough_is_heard_to_the_end(get, base, monkeypatch, settings):
    monkeypatch.setattr(remote, "WINDOW_SECONDS", 1)
    settings.MAX_FILE_SIZE = 150_000
    with pytest.raises(FetchFailed, match="exceeds 150,000 bytes"):
        get(f"{base}/slow-start.png", seconds=60)  # 50,000 bytes a second, for three seconds


def test_no_time_left_is_not_the_fault_of_the_server(get, base):
    with pytest.raises(FetchFailed, match="no time left"):
        get(f"{base}/a.png", seconds=0)
    assert connections == []


def test_no_connections_left_is_the_fault_of_this_server(base, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as next_one:
        limit = next_one.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        with pytest.raises(Unavailable, match="can't open more connections"):
            fetch(f"{base}/a.png", label="url[0]", folder=tmp_path, seconds=10)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_refused_connection_is_reported(get, settings):
    settings.FETCH_ALLOWED_NETWORKS = [f"{HERE}/32"]
    with socket.socket() as free:
        free.bind((HERE, 0))
        with pytest.raises(FetchFailed, match="refused the connection"):
            get(f"http://{HERE}:{free.getsockname()[1]}/a.png")


def test_an_unknown_host_is_reported(get):
    with pytest.raises(FetchFailed, match="does not exist"):
        get("http://nobody.invalid/a.png")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/a.png",
        "file:///etc/passwd",
        "gopher://example.org/",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "//example.org/a.png",
        "example.org/a.png",
        "http://",
        "http:///a.png",
        "http://alice@example.org/",
        "http://alice:secret@example.org/",
        "http://:@example.org/",
        "http://example.org\\@127.0.0.1/",
        "http://exa mple.org/",
        "http://example.org/\r\nX: y",
        "http://example.org/\x00",
        "http://example.org:99999/",
        "http://example.org:port/",
        "http://[::1/",
        "http://example.org/" + "a" * 2000,
        "",
    ],
)
def test_what_is_no_url_of_the_web_is_refused_before_anybody_is_asked(get, url):
    with pytest.raises((InvalidURL, FetchFailed)):
        get(url)
    assert connections == []


def test_images_out_of_videos_are_refused(get):
    with pytest.raises(FeatureUnavailable):
        get("https://example.org/film.mp4@00:01:02")


PRIVATE = {
    "loopback": "127.0.0.1",
    "all of loopback": "127.255.0.3",
    "decimal": "2130706433",
    "octal": "0177.0.0.1",
    "hexadecimal": "0x7f.0x0.0x0.0x1",
    "one hexadecimal number": "0x7f000001",
    "short": "127.1",
    "nothing": "0",
    "this network": "0.0.0.0",
    "private 10": "10.1.2.3",
    "private 172": "172.16.0.1",
    "private 192": "192.168.0.1",
    "carrier": "100.64.0.1",
    "link-local": "169.254.1.1",
    "metadata": "169.254.169.254",
    "metadata, Alibaba": "100.100.100.200",
    "metadata, Oracle": "192.0.0.192",
    "metadata, Azure": "168.63.129.16",
    "benchmarks": "198.18.0.1",
    "documentation": "192.0.2.1",
    "6to4 relay": "192.88.99.1",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 loopback": "[::1]",
    "IPv6 nothing": "[::]",
    "IPv4-mapped": "[::ffff:127.0.0.1]",
    "IPv4-mapped, hexadecimal": "[::ffff:7f00:1]",
    "IPv4-compatible": "[::127.0.0.1]",
    "IPv4-translated": "[::ffff:0:127.0.0.1]",
    "6to4": "[2002:7f00:1::1]",
    "6to4 of a public address": "[2002:808:808::1]",
    "NAT64": "[64:ff9b::127.0.0.1]",
    "NAT64, local": "[64:ff9b:1::127.0.0.1]",
    "Teredo": "[2001:0:7f00:1::]",
    "link-local 6": "[fe80::1]",
    "site-local 6": "[fec0::1]",
    "unique local": "[fd12:3456::1]",
    "metadata, AWS 6": "[fd00:ec2::254]",
    "documentation 6": "[2001:db8::1]",
    "multicast 6": "[ff02::1]",
    "discard": "[100::1]",
}


@pytest.mark.parametrize("host", PRIVATE.values(), ids=PRIVATE.keys())
def test_an_address_that_is_not_public_is_never_connected_to(get, host):
    with pytest.raises(AddressNotAllowed):
        get(f"http://{host}/a.png")
    assert connections == []


@pytest.mark.parametrize("host", PRIVATE.values(), ids=PRIVATE.keys())
def test_a_redirect_to_it_is_not_followed(get, base, server, host):
    with pytest.raises(AddressNotAllowed):
        get(f"{base}/redirect?http://{host}/a.png")
    assert connections == [(HERE, server.server_port)]


@pytest.mark.parametrize("host", PRIVATE.values(), ids=PRIVATE.keys())
def test_a_name_that_means_it_is_not_connected_to(get, resolves, host):
    resolves([host.strip("[]")])
    with pytest.raises(AddressNotAllowed):
        get("http://pictures.example/a.png")
    assert connections == []


def test_a_name_that_means_a_public_and_a_private_address_is_not_connected_to(get, resolves):
    for answer in (["93.184.216.34", "10.0.0.1"], ["10.0.0.1", "93.184.216.34"], ["2606:4700::1111", "fe80::1"]):
        resolves(answer)
        with pytest.raises(AddressNotAllowed):
            get("http://pictures.example/a.png")
        assert connections == []


def test_localhost_is_a_name_like_others(get):
    with pytest.raises(AddressNotAllowed):
        get("http://localhost/a.png")
    assert connections == []


def test_a_name_that_changes_its_meaning_is_asked_once(get, resolves, server):
    asked = resolves([HERE], ["127.0.0.1"])
    assert get(f"http://pictures.example:{server.server_port}/a.png") == ("a.png", IMAGE)
    assert asked == ["pictures.example"]
    assert connections == [(HERE, server.server_port)]


def test_a_name_that_changes_its_meaning_before_a_redirect_is_refused(get, resolves, server):
    resolves([HERE], ["127.0.0.1"])
    with pytest.raises(AddressNotAllowed):
        get(f"http://pictures.example:{server.server_port}/redirect?/a.png")
    assert connections == [(HERE, server.server_port)]


@pytest.mark.parametrize("scheme", ["ftp", "file", "gopher"])
def test_a_redirect_to_another_scheme_is_not_followed(get, base, scheme):
    with pytest.raises(FetchFailed, match=f"{HERE} redirects to '{scheme}"):
        get(f"{base}/redirect?{scheme}://{HERE}/a.png")
    assert len(connections) == 1


@pytest.mark.parametrize("location", ["http://[::1", "http://a\\b/", "http://a%09b/", "//:80/"])
def test_a_redirect_to_what_is_no_url_is_the_fault_of_the_server(get, base, location):
    with pytest.raises(FetchFailed):
        get(f"{base}/redirect?{quote(location)}")
    assert len(connections) == 1


def test_what_goes_wrong_after_a_redirect_names_who_redirected(get, base):
    with pytest.raises(AddressNotAllowed, match=f"redirected by {HERE}: 10.0.0.1 is not a public address"):
        get(f"{base}/redirect?http://10.0.0.1/")


def test_a_redirect_with_credentials_is_not_followed(get, base, server):
    with pytest.raises(FetchFailed):
        get(f"{base}/redirect?http://alice:secret@{HERE}:{server.server_port}/a.png")
    assert len(connections) == 1


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_what_is_public_is_allowed(address):
    from ipaddress import ip_address

    from sourceimages.uploads.remote import is_public

    assert is_public(ip_address(address))
