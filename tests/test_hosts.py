"""Only the public internet is open, however an address is written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchrender.core.hosts import Link, address_allowed, is_inside, is_listed, link_objection, may_connect, read_link

PUBLIC = """8.8.8.8 93.184.216.34 100.63.255.255 172.32.0.1 2606:2800:220:1::1 64:ff9b::808:808 ::ffff:8.8.8.8"""
INSIDE = """0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.255 168.63.129.16 169.254.169.254
172.16.0.1 172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.19.255.255 198.51.100.1
203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:10.0.0.1
::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:0:7f00:1:: 2001:10::1 2001:20::1 2001:db8::1
2002:7f00:1:: 2002:808:808::1 3fff::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%1 fec0::1 ff02::1 4000::1 nonsense 1.2.3
1.2.3.4.5"""
AMBIGUOUS = """ftp://x.com http:/x.com http:x.com http:// http://:80/ http://x.com:0/ http://x.com:99999/ http://x.com:8o/
http://a@x.com/ http://a:b@x.com/ http://x.com\\@y.com/ http://%6c/ http://[::1/ http://[x]/ http://1/ http://0x7f.1/
http://127.1/ http://0177.0.0.1/ http://1.2.3.256/ http://a.1/ http://.. http://[fe80::1%25eth0]/ http://\u2100.example/"""


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_are_allowed(address: str) -> None:
    assert address_allowed(address)


@pytest.mark.parametrize("address", INSIDE.split())
def test_all_other_addresses_are_refused(address: str) -> None:
    assert not address_allowed(address)


@given(st.ip_addresses())
def test_nothing_is_allowed_that_python_calls_private(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if address_allowed(str(address)):
        inner = getattr(address, "ipv4_mapped", None) or address
        assert not (inner.is_private or inner.is_multicast or inner.is_loopback or inner.is_link_local)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://Example.COM./x", "example.com", 80),
        ("https://example.com:8443?x", "example.com", 8443),
        ("HTTPS://bücher.example/x#y", "xn--bcher-kva.example", 443),
        ("http://[2606:2800::1]:81/", "2606:2800::1", 81),
        ("http://1.2.3.4", "1.2.3.4", 80),
        ("http://example.com:/x", "example.com", 80),
    ],
)
def test_a_link_is_read_for_what_it_leads_to(url: str, host: str, port: int) -> None:
    link = read_link(url)

    assert isinstance(link, Link)
    assert (link.host, link.port) == (host, port)


@pytest.mark.parametrize("url", [*AMBIGUOUS.split(), "http://a b.com/", "http://a\tb.com/", "http://x.com\n/"])
def test_what_two_readers_could_read_differently_is_refused(url: str) -> None:
    assert isinstance(read_link(url), str)
    assert link_objection(url, path="src", schemes=("http", "ftp"), hosts=("x.com",)) is not None


def test_names_that_only_an_inside_knows_are_told_apart() -> None:
    for host in ("wiki", "localhost", "a.localhost", "nas.local", "metadata.google.internal", "x.home.arpa"):
        assert is_inside(Link(scheme="http", host=host, port=80))
    for host in ("example.com", "local.example", "2606::1"):
        assert not is_inside(Link(scheme="http", host=host, port=80))


def test_listing_a_name_or_a_network_opens_its_addresses() -> None:
    wiki = Link(scheme="http", host="wiki.example", port=8080)

    assert not may_connect(wiki, "10.0.0.1", ())
    for entry in ("wiki.example", "WIKI.example.", "wiki.example:8080", "*.example", "10.0.0.1", "10.0.0.0/8"):
        assert may_connect(wiki, "10.0.0.1", (entry,))
    for entry in ("example", "*.wiki.example", "wiki.example:80", "10.0.0.2", "11.0.0.0/8", "iki.example", "x/8"):
        assert not may_connect(wiki, "10.0.0.1", (entry,))
    assert is_listed(Link(scheme="http", host="::1", port=80), ("[::1]",))
