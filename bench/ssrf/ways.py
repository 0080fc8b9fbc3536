"""What somebody may give as the URL of a webhook, or let its name or its answer say, to reach what only we can reach.

Forms of addresses are those of WHATWG's URL standard (host parsing) and of `inet_aton(3)`; addresses of metadata services are those that
their clouds document; the rest is of OWASP's "Server-Side Request Forgery Prevention Cheat Sheet": redirects, names, names that change.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

EVIL = "evil.example"
PUBLIC = ("1.1.1.1", "2606:4700::1111")
"""Addresses that a webhook may lead to. In the network of the bench they are this machine's, as all the others."""
INSIDE = (
    "169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "10.0.0.1", "10.96.0.1", "172.16.0.1", "192.168.0.1",
    "100.64.0.1", "198.18.0.1", "fd00:ec2::254", "fd12::1", "fec0::1", "fe80::1", "64:ff9b::a00:1", "64:ff9b::a9fe:a9fe",
    "2002:a00:1::", "::a00:1",
)  # fmt: skip
"""Addresses that it may not, beside those of loopback. Those of NAT64 and 6to4 stand for gateways that would lead on to IPv4."""


@dataclass(frozen=True)
class Way:
    """One way. `names` is what each name leads to, one after another: a tuple for each attempt."""

    kind: str
    url: str
    names: tuple[dict[str, tuple[str, ...]], ...] = ({},)
    proxy: str = ""
    inside: bool = True
    """False for what may be reached: it shows that the others could be."""


def _literals(kind: str, *hosts: str) -> list[Way]:
    return [Way(kind, f"http://{each}/") for each in hosts]


def _named(kind: str, *each_time: tuple[str, ...]) -> Way:
    return Way(kind, f"http://{EVIL}/", tuple({EVIL: each} for each in each_time))


def _redirect(status: int, to: str) -> Way:
    return Way(f"redirect {status}", f"http://1.1.1.1/redirect/{status}?to={quote(to, safe='')}", ({EVIL: ("10.0.0.1",)},))


WAYS: tuple[Way, ...] = (
    Way("a public address", "http://1.1.1.1/", inside=False),
    Way("a public address", "http://[2606:4700::1111]/", inside=False),
    Way("a public name", "http://good.example/", ({"good.example": ("1.1.1.1",)},), inside=False),
    *_literals(
        "metadata", "169.254.169.254", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "192.0.0.192", "[64:ff9b::a9fe:a9fe]",
        "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]",
    ),
    *_literals("metadata, as a number", "2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "025177524776"),
    Way("metadata, by its name", "http://metadata.internal/", ({"metadata.internal": ("169.254.169.254",)},)),
    *_literals("this machine", "127.0.0.1", "127.255.255.254", "0.0.0.0", "localhost", "LOCALHOST.", "[::1]", "[::]"),  # noqa: S104 - a URL, nobody listens
    Way("this machine", "http://a.localhost/", ({"a.localhost": ("127.0.0.1",)},)),
    *_literals("this machine, short", "127.1", "127.0.1", "0"),
    *_literals("this machine, octal", "0177.0.0.1", "0177.1", "017700000001"),
    *_literals("this machine, hexadecimal", "0x7f.1", "0x7f000001", "0X7F.0.0.1"),
    *_literals("this machine, as a number", "2130706433"),
    *_literals("this machine, other digits", "１２７.０.０.１", "①②⑦.⓪.⓪.①", "127。0。0。1"),
    *_literals("this machine, IPv4 in IPv6", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]"),
    *_literals("a scope", "[::1%25lo]", "[fe80::1%25lo]"),
    *_literals("private", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "198.18.0.1", "10.1", "0xa000001", "012.0.0.1"),
    *_literals("private, IPv6", "[fd12::1]", "[fec0::1]", "[fe80::1]"),
    *_literals("private, IPv4 in IPv6", "[::ffff:10.0.0.1]", "[::a00:1]", "[64:ff9b::a00:1]", "[2002:a00:1::]"),
    Way("the cluster's API server", "https://10.96.0.1/"),
    Way("the cluster's API server", "https://kubernetes.default.svc/", ({"kubernetes.default.svc": ("10.96.0.1",)},)),
    _named("a name", ("127.0.0.1",)), _named("a name", ("10.0.0.1",)), _named("a name", ("::1",)), _named("a name", ("fd12::1",)),
    _named("a name, public and private", ("1.1.1.1", "127.0.0.1")), _named("a name, private and public", ("127.0.0.1", "1.1.1.1")),
    _named("rebinding: a name that changes", ("1.1.1.1",), ("169.254.169.254",)),
    *(_redirect(status, "http://127.0.0.1/") for status in (301, 302, 303, 307, 308)),
    _redirect(307, "http://169.254.169.254/latest/meta-data/"), _redirect(307, f"http://{EVIL}/"), _redirect(308, "//[::1]/"),
    Way("a user that looks like a host", "http://1.1.1.1@127.0.0.1/"),
    Way("a fragment that looks like a host", "http://127.0.0.1#@1.1.1.1/"),
    Way("a proxy of the environment", "http://1.1.1.1/", proxy="http://127.0.0.1:80"),
)  # fmt: skip
