"""Whom a request comes from, in every spelling of the forwarded headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from api.edge.proxies import TrustedProxies, read_address

TRUSTED = ("127.0.0.1", "10.0.0.0/8", "fd00::/8", "2001:db8:ffff::1", "::ffff:192.0.2.0/120")
PEER = "127.0.0.1"


def origin(*forwarded: str, peer: str | None = PEER, protos: tuple[str, ...] = ()) -> dict[str, str]:
    """What is told by headers with these lines."""
    lines = [*(("X-Forwarded-For", one) for one in forwarded), *(("X-Forwarded-Proto", one) for one in protos)]
    return dict(TrustedProxies(TRUSTED).origin(peer, CIMultiDict(lines)))


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        # Real proxies: HAProxy adds a line, Azure and IIS a port, Squid says unknown, nginx nothing of its own.
        (("203.0.113.9",), "203.0.113.9"),
        (("198.51.100.1", "203.0.113.9"), "203.0.113.9"),
        (("203.0.113.9", "10.1.2.3"), "203.0.113.9"),
        (("203.0.113.9, 10.9.9.9", "10.1.2.3"), "203.0.113.9"),
        (("203.0.113.9:51234",), "203.0.113.9"),
        (("203.0.113.9:",), "203.0.113.9"),
        (("[2001:db8::7]:51234",), "2001:db8::7"),
        (("[2001:db8::7]",), "2001:db8::7"),
        (('"[2001:db8::7]:443"',), "2001:db8::7"),
        (("2001:DB8:0::7",), "2001:db8::7"),
        (("::ffff:203.0.113.9",), "203.0.113.9"),
        (("[::ffff:203.0.113.9]:80",), "203.0.113.9"),
        (("203.0.113.9, ::ffff:10.1.2.3",), "203.0.113.9"),
        (("203.0.113.9, 192.0.2.77",), "203.0.113.9"),
        (("203.0.113.9, fd00::1%eth0",), "203.0.113.9"),
        (("203.0.113.9, [2001:db8:ffff::1]:9",), "203.0.113.9"),
        (("203.0.113.9,10.1.2.3",), "203.0.113.9"),
        ((" 203.0.113.9\t, \t10.1.2.3 ",), "203.0.113.9"),
        # Empty entries of a list count for nothing.
        (("203.0.113.9, , 10.1.2.3,",), "203.0.113.9"),
        (("203.0.113.9", ""), "203.0.113.9"),
        # What the client may have made up, left of what counts.
        (("unknown, 203.0.113.9",), "203.0.113.9"),
        (("_hidden, 203.0.113.9",), "203.0.113.9"),
        (("unknown", "203.0.113.9"), "203.0.113.9"),
        (("<script>, 1.2.3, 203.0.113.9, 10.1.2.3",), "203.0.113.9"),
        (("1.1.1.1, 203.0.113.9",), "203.0.113.9"),
        # A trusted proxy does not say where it got the request from: nobody else's word counts for it.
        (("203.0.113.9, unknown",), None),
        (("203.0.113.9, unknown, 10.1.2.3",), "10.1.2.3"),
        (("203.0.113.9, 010.1.2.3",), None),
        (("203.0.113.9, [10.1.2.3]x",), None),
        (("unknown",), None),
        (("",), None),
        ((), None),
        # All of them are trusted: the left-most is a client of the inner network.
        (("10.1.1.1, 10.2.2.2",), "10.1.1.1"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_not_trusted(
    forwarded: tuple[str, ...], client: str | None
) -> None:
    assert origin(*forwarded).get("remote") == client


@pytest.mark.parametrize(
    ("peer", "is_believed"),
    [
        ("127.0.0.1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.1.2.3", True),
        ("192.0.2.200", True),
        ("::ffff:192.0.2.200", True),
        ("fd12::1", True),
        ("2001:db8:ffff::1", True),
        ("2001:db8:ffff::2", False),
        ("127.0.0.2", False),
        ("11.0.0.1", False),
        ("::1", False),
        ("", False),
        (None, False),
    ],
)
def test_only_trusted_peers_are_believed(peer: str | None, is_believed: bool) -> None:
    assert bool(origin("203.0.113.9", peer=peer, protos=("https",))) is is_believed


@pytest.mark.parametrize(
    ("forwarded", "protos", "scheme"),
    [
        ((), ("https",), "https"),
        (("203.0.113.9",), ("HTTPS",), "https"),
        (("203.0.113.9",), ("https", "http"), "http"),
        (("203.0.113.9, 10.1.2.3",), ("https", "http"), "https"),
        (("203.0.113.9, 10.1.2.3",), ("https, http",), "https"),
        (("203.0.113.9, 10.1.2.3",), ("https",), "https"),
        (("1.1.1.1, 203.0.113.9, 10.1.2.3",), ("ftp, https, http",), "https"),
        (("203.0.113.9",), ("gopher",), None),
        (("203.0.113.9",), ("",), None),
    ],
)
def test_the_scheme_is_that_of_the_same_hop(
    forwarded: tuple[str, ...], protos: tuple[str, ...], scheme: str | None
) -> None:
    assert origin(*forwarded, protos=protos).get("scheme") == scheme


def test_thousands_of_trusted_hops_are_not_all_read() -> None:
    """8 KB of them on each of 100 lines took a quarter of a second of the event loop for one request."""
    assert origin("203.0.113.9," + ",".join(["10.1.2.3"] * 900), *["10.1.2.3," * 900] * 100)["remote"] == "10.1.2.3"
    assert origin(*["," * 8000] * 100) == {}


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=40), max_size=5), st.text(max_size=20))
def test_whatever_stands_to_the_left_is_ignored(left: list[str], proto: str) -> None:
    assert origin(*left, "203.0.113.9", protos=(proto,))["remote"] == "203.0.113.9"
    assert origin(",".join([*left, "203.0.113.9, 10.1.2.3"]))["remote"] == "203.0.113.9"


@given(st.ip_addresses(), st.integers(0, 65535))
def test_an_address_is_read_in_each_of_its_spellings(address: object, port: int) -> None:
    plain = read_address(str(address))
    assert plain is not None
    spellings = [f"[{address}]:{port}", f'"[{address}]"'] if ":" in str(address) else [f"{address}:{port}"]
    if plain.version == 4:
        spellings += [f"::ffff:{plain}", f"[::ffff:{plain}]:{port}"]
    assert {read_address(one) for one in spellings} == {plain}
