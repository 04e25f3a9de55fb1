"""`http_get` against real servers that redirect, dawdle, swell and lie, and names that lead astray."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from agents.errors import ToolFailed, ToolRefused
from agents.tools.hosts import AllowedHosts, HostPattern, canonical
from agents.tools.web import WebReader, look_up
from tests.agents.web_server import WebServer, moved, said


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer({"/": said("hello")}) as server:
        yield server


def reader(
    *hosts: str, largest: int = 1000, seconds: float = 5, **names: str | Sequence[str]
) -> WebReader:
    """A reader for whom some names (`_` is a dot) have these addresses."""
    known = {name.replace("_", "."): one for name, one in names.items()}

    def resolve(host: str, port: int) -> Sequence[str]:
        found = known.get(host)
        return (
            look_up(host, port) if found is None else [found] if isinstance(found, str) else found
        )

    return WebReader(AllowedHosts(hosts), largest, seconds, resolve)


def test_an_allowed_page_is_read(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    for host in ("127.0.0.1", "localhost"):
        assert reader(host).http_get(f"http://{host}:{web.port}/?a=1#part") == "hello"
    assert reader("127.0.0.1").http_get(f"http://127.0.0.1:{web.port}", start=1) == "ello"
    assert web.asked[0] == ("/?a=1", f"127.0.0.1:{web.port}")
    assert web.asked[1][1] == f"localhost:{web.port}"
    assert not {"cookie", "authorization"} & {name.lower() for name in web.headers[0]}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://other.org/", "'other.org' .port 80. is not among tools.hosts"),
        ("https://docs.test.evil.org/", "not among tools.hosts"),
        ("http://evildocs.test/", "not among tools.hosts"),
        ("http://docs.test:81/", "not among tools.hosts"),
        ("http://docs.test@other.org/", "may not carry a user"),
        ("http://me:secret@docs.test/", "may not carry a user"),
        ("file:///etc/passwd", "only http and https"),
        ("ftp://docs.test/", "only http and https"),
        ("gopher://docs.test/", "only http and https"),
        ("docs.test", "only http and https"),
        ("//docs.test/", "only http and https"),
        ("http://", "not among tools.hosts"),
        ("http://[::1", "is no URL"),
        ("http://docs.test:99999/", "is no URL"),
        ("http://docs.test\\@other.org/", "is no URL"),
        ("http://docs.test/ HTTP/1.1\r\nx: y", "is no URL"),
        ("http://docs.test/" + "a" * 3000, "is no URL"),
        ("http://127.0.0.1/", "not among tools.hosts"),
    ],
)
def test_what_is_not_allowed_is_not_asked(url: str, words: str) -> None:
    def resolve(host: str, port: int) -> Sequence[str]:
        raise AssertionError(f"{host} was looked up")

    with pytest.raises(ToolRefused, match=words):
        WebReader(AllowedHosts(["docs.test:80", "docs.test:443"]), 100, 1, resolve).http_get(url)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1",
        "::1", "::", "fe80::1", "fc00::1", "fd12::1", "ff02::1", "fec0::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
    ],
)  # fmt: skip
def test_a_name_never_leads_into_the_house(web: WebServer, address: str) -> None:
    for hosts in (["docs.test"], ["*.test"], ["*"], ["docs.test", "localhost"]):
        with pytest.raises(ToolRefused, match="not a public address"):
            reader(*hosts, docs_test=address).http_get(f"http://docs.test:{web.port}/")
    # One bad address among good ones is enough.
    with pytest.raises(ToolRefused, match="not a public address"):
        reader("docs.test", docs_test=["93.184.215.14", address]).http_get("http://docs.test/")
    assert web.asked == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]", "[::ffff:7f00:1]"],
)
def test_addresses_in_disguise_are_known(web: WebServer, host: str) -> None:
    with pytest.raises((ToolRefused, ToolFailed)):
        reader("*").http_get(f"http://{host}:{web.port}/")
    assert web.asked == []


def test_localhost_is_asked_only_where_it_is_named(web: WebServer) -> None:
    for hosts in (["*"], ["*.localhost"], [f"localhost:{web.port + 1}"], ["127.0.0.1"]):
        with pytest.raises(ToolRefused):
            WebReader(AllowedHosts(hosts), 100, 1, lambda *_: ["127.0.0.2"]).http_get(
                f"http://localhost:{web.port}/"
            )
    assert web.asked == []


def test_a_name_whose_address_is_named_too_is_asked_there(web: WebServer) -> None:
    hosts = ("wiki.test", f"127.0.0.1:{web.port}")
    assert (
        reader(*hosts, wiki_test="127.0.0.1").http_get(f"http://wiki.test:{web.port}/") == "hello"
    )
    assert web.asked == [("/", f"wiki.test:{web.port}")]


def test_a_name_is_looked_up_once(web: WebServer) -> None:
    """A resolver that answers otherwise the second time is not asked a second time."""
    answers = iter(["127.0.0.1", "10.0.0.1"])
    asked: list[str] = []

    def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return [next(answers)]

    hosts = AllowedHosts(["wiki.test", "127.0.0.1"])
    assert WebReader(hosts, 100, 5, resolve).http_get(f"http://wiki.test:{web.port}/") == "hello"
    assert asked == ["wiki.test"]


def test_redirects_are_followed_and_checked_anew(web: WebServer) -> None:
    with WebServer({"/": said("hidden")}) as hidden:
        here = f"http://localhost:{web.port}"
        web.pages |= {
            "/relative": moved("/"),
            "/loopback": moved(f"http://127.0.0.1:{hidden.port}/"),
            "/other-port": moved(f"http://localhost:{hidden.port}/"),
            "/metadata": moved("http://169.254.169.254/latest/meta-data"),
            "/name": moved(f"http://inner.test:{hidden.port}/", 307),
            "/file": moved("file:///etc/passwd"),
            "/user": moved(f"http://me:secret@localhost:{web.port}/"),
            "/nonsense": moved("http://[::1"),
            "/round": moved("/round"),
            **{f"/{number}": moved(f"/{number - 1}") for number in range(2, 9)},
            "/1": moved("/"),
        }
        read = reader(f"localhost:{web.port}", "inner.test", inner_test="127.0.0.1").http_get
        assert read(f"{here}/relative") == read(f"{here}/3") == "hello"
        for path, words in [
            ("/loopback", "127.0.0.1"), ("/other-port", "not among"), ("/metadata", "169.254"),
            ("/name", "leads to 127.0.0.1"), ("/file", "only http"), ("/user", "user or password"),
            ("/round", "more than 3 times"), ("/4", "more than 3 times"),
        ]:  # fmt: skip
            with pytest.raises(ToolRefused, match=words):
                read(here + path)
        with pytest.raises(ToolFailed, match="Invalid URL in location header"):
            read(f"{here}/nonsense")
        assert hidden.asked == []


def test_large_bodies_are_not_taken(web: WebServer) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "10")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)

    def unannounced(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not web.stopping.is_set():
            handler.wfile.write(b"x" * 65536)

    def announced(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "9" * 15)
        handler.end_headers()

    packed = gzip.compress(b"x" * 10_000_000)
    web.pages |= {
        "/exact": endless,
        "/unannounced": unannounced,
        "/announced": announced,
        "/packed": said(packed, headers={"content-encoding": "gzip"}),
    }
    read = reader("127.0.0.1", largest=10).http_get
    assert read(f"http://127.0.0.1:{web.port}/exact") == "x" * 10
    for path in ("unannounced", "announced"):
        with pytest.raises(ToolRefused, match="more than 10 bytes"):
            read(f"http://127.0.0.1:{web.port}/{path}")
    with pytest.raises(ToolRefused, match="answers in 'gzip'"):
        read(f"http://127.0.0.1:{web.port}/packed")


def test_slow_servers_are_given_up(web: WebServer) -> None:
    def silent(handler: BaseHTTPRequestHandler) -> None:
        web.stopping.wait(10)

    def dripping(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not web.stopping.wait(0.05):
            handler.wfile.write(b"x")

    def dripping_headers(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
        while not web.stopping.wait(0.05):
            handler.wfile.write(b"x")

    web.pages |= {"/silent": silent, "/drip": dripping, "/headers": dripping_headers}
    web.pages["/moved"] = moved("/drip")
    for path in ("silent", "drip", "headers", "moved"):
        begun = time.monotonic()
        with pytest.raises(ToolFailed, match=r"in time|within 0.5 s"):
            reader("127.0.0.1", seconds=0.5).http_get(f"http://127.0.0.1:{web.port}/{path}")
        assert 0.4 < time.monotonic() - begun < 2, path


def test_what_is_no_text_or_no_success_is_told(web: WebServer) -> None:
    def nonsense(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"nonsense\r\n\r\n")

    web.pages |= {
        "/image": said(b"\x89PNG\xff\0"),
        "/latin": said(
            "Mühle".encode("latin-1"), headers={"content-type": "text/plain; charset=latin-1"}
        ),
        "/lines": said("a\x85b\u2028c"),
        "/odd": said("a", headers={"content-type": "text/plain; charset=nonsense"}),
        "/broken": nonsense,
    }
    read = reader("127.0.0.1").http_get
    at = f"http://127.0.0.1:{web.port}"
    assert read(f"{at}/latin") == "Mühle"
    assert read(f"{at}/lines") == "a\x85b\u2028c"
    for path, words in [
        ("image", "no text"), ("missing", "answers 404"), ("broken", "broke off"),
        ("odd", "no text"),
    ]:  # fmt: skip
        with pytest.raises(ToolFailed, match=words):
            read(f"{at}/{path}")


def test_nobody_there_is_told() -> None:
    with WebServer() as gone:
        port = gone.port
    with pytest.raises(ToolFailed, match="cannot be reached"):
        reader("127.0.0.1").http_get(f"http://127.0.0.1:{port}/")
    with pytest.raises(ToolFailed, match="is not known"):
        reader("nowhere.invalid").http_get("http://nowhere.invalid/")


def certificate(folder: Path, name: str) -> Path:
    """Make a certificate of a name, signed by itself; key and certificate in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / f"{name}.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_tls_is_checked_for_the_name_and_not_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiki, other = certificate(tmp_path, "wiki.test"), certificate(tmp_path, "other.test")
    trusting = ssl.create_default_context(cafile=str(wiki))
    trusting.load_verify_locations(str(other))
    monkeypatch.setattr("agents.wire._certificates", lambda: trusting)
    with WebServer({"/": said("hello")}, certificate=wiki) as web:
        at = f"127.0.0.1:{web.port}"
        known = AllowedHosts(["wiki.test", "other.test", at])
        read = WebReader(known, 100, 5, lambda *_: ["127.0.0.1"]).http_get
        assert read(f"https://wiki.test:{web.port}/") == "hello"
        for host in ("other.test", "127.0.0.1"):
            with pytest.raises(ToolFailed, match=r"cannot be reached: .*certificate"):
                read(f"https://{host}:{web.port}/")
        with pytest.raises(ToolFailed):
            read(f"http://wiki.test:{web.port}/")
    assert web.asked == [("/", f"wiki.test:{web.port}")]


def test_a_second_address_is_tried_where_the_first_is_dead(web: WebServer) -> None:
    both = reader("wiki.test", "127.0.0.1", "127.0.0.3", wiki_test=["127.0.0.3", "127.0.0.1"])
    assert both.http_get(f"http://wiki.test:{web.port}/") == "hello"


@pytest.mark.parametrize(
    ("pattern", "host", "port", "fits"),
    [
        ("example.org", "example.org", 80, True),
        ("Example.ORG", "example.org", 80, True),
        ("example.org", "www.example.org", 80, False),
        ("*.example.org", "www.example.org", 443, True),
        ("*.example.org", "a.b.example.org", 443, True),
        ("*.example.org", "example.org", 443, False),
        ("*.example.org", "badexample.org", 443, False),
        ("example.org:8080", "example.org", 8080, True),
        ("example.org:8080", "example.org", 80, False),
        ("[::1]:80", "::1", 80, True),
        ("*", "anything", 1, True),
    ],
)
def test_patterns_of_hosts(pattern: str, host: str, port: int, fits: bool) -> None:
    assert HostPattern.parse(pattern).fits(host, port) is fits


@pytest.mark.parametrize(
    "pattern",
    ["", "http://a.org", "a.org/x", "a..b", "*a.org", "a.*.org", "a.org:0", "a.org:70000", "a b"],
)
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="write a host as"):
        HostPattern.parse(pattern)


@given(st.ip_addresses())
def test_a_name_is_asked_at_public_addresses_alone(address: IPv4Address | IPv6Address) -> None:
    allowed = AllowedHosts(["docs.test", "*", "localhost"]).allows_address("docs.test", address, 80)
    assert not allowed or (address.is_global and not address.is_loopback and not address.is_private)


def test_one_host_has_one_name() -> None:
    assert canonical("EXAMPLE.org.") == "example.org"
    assert canonical("[::ffff:127.0.0.1]") == "127.0.0.1"
    assert AllowedHosts(["[::ffff:127.0.0.1]"]).allows_address("x", ip_address("127.0.0.1"), 80)


def test_no_thread_is_left_behind(web: WebServer) -> None:
    before = threading.active_count()
    for _ in range(5):
        reader("127.0.0.1").http_get(f"http://127.0.0.1:{web.port}/")
    time.sleep(0.1)
    assert threading.active_count() <= before + 1
