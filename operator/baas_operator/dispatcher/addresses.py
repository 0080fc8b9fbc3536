"""Where a webhook may lead to: nowhere inside, unless its `allowNetworks` say so, and never to the machine itself or its cloud's metadata.

Each address is judged where the socket for it is made, so what was judged is what is dialled, whoever resolved it and however often a name
changes its answer in between. The resolver judges as well: a name is refused as a whole when one of its addresses is. It could be dialled
at the others, but then whether a message gets through would be a matter of chance, and who mixes the two hides something or has made a
mistake. How an address is written (octal, hexadecimal, short, full-width) does not matter, for it is judged as a number.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
AddressInfo = tuple[socket.AddressFamily | int, socket.SocketKind | int, int, str, tuple[str, int] | tuple[str, int, int, int]]
"""What getaddrinfo gives, and a socket is made for."""

_NEVER: tuple[tuple[Network, str], ...] = tuple((ip_network(each), what) for each, what in (
    ("0.0.0.0/8", "this machine"), ("127.0.0.0/8", "this machine"), ("::/128", "this machine"), ("::1/128", "this machine"),
    ("169.254.0.0/16", "link-local, where clouds keep credentials"), ("fe80::/10", "link-local"),
    ("224.0.0.0/4", "multicast"), ("ff00::/8", "multicast"), ("255.255.255.255/32", "broadcast"),
    ("fd00:ec2::/32", "AWS's metadata"), ("fd20:ce::254/128", "Google's metadata"),
    ("100.100.100.200/32", "Alibaba's metadata"), ("192.0.0.192/32", "Oracle's metadata"), ("168.63.129.16/32", "Azure's own services"),
))  # fmt: skip
"""Refused whatever is allowed. The metadata services are those that their clouds document."""
_NOT_GLOBAL: tuple[Network, ...] = tuple(ip_network(each) for each in (
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
    "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fec0::/10",
))  # fmt: skip
"""IANA's registries of special-purpose addresses, beside what Python's `is_global` says: that depends on Python's patch level."""
_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")
"""All that IANA has given out of IPv6's global unicast addresses."""
_COMPATIBLE = IPv6Network("::/96")
_NUMBER = re.compile(r"^(0x[0-9a-f]*|[0-9]+)$")
_DOTTED = re.compile(r"^(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}$")
_DOTS = str.maketrans({"。": ".", "．": ".", "｡": "."})


class RefusedError(OSError):
    """An address may not be dialled. The text is a sentence for people."""


def networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks of `allowNetworks`.

    Raises:
        ValueError: one of them is none.
    """
    return tuple(ip_network(each, strict=False) for each in texts)


def _embedded(address: IPv6Address) -> Iterable[IPv4Address]:
    """IPv4 addresses that a gateway on the way may turn an IPv6 address into (RFC 4291, 3056, 4380, 6052)."""
    low = IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    elif address in _COMPATIBLE or address in _NAT64:
        yield low
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo


class Guard:
    """Judges addresses for one webhook; `allowed` are the private networks that it may lead to."""

    def __init__(self, allowed: Iterable[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def refusal(self, text: str) -> str | None:
        """Why an address, as a resolver or a socket writes it, may not be dialled; None if it may."""
        if "%" in text:
            return f"{text} names an interface of this machine"
        try:
            address = ip_address(text)
        except ValueError:
            return f"{text!r} is no address"
        return self._judge(address)

    def _judge(self, address: Address) -> str | None:
        for network, what in _NEVER:
            if address in network:
                return f"{address} is refused: {what}"
        if isinstance(address, IPv6Address):
            if address.ipv4_mapped:
                return self._judge(address.ipv4_mapped)  # the kernel dials IPv4
            for inner in _embedded(address):
                if why := self._judge(inner):
                    return f"{address} leads to IPv4: {why}"
        if any(address in each for each in self._allowed):
            return None
        abroad = isinstance(address, IPv4Address) or address in _UNICAST or address in _NAT64
        if not abroad or not address.is_global or any(address in each for each in _NOT_GLOBAL):
            return f"{address} is a private or reserved address: name its network in allowNetworks if it is meant"
        return None

    def url_refusal(self, url: str) -> str | None:
        """Why a URL may not be posted to, as far as it says so by itself: what its name leads to is judged when it is dialled."""
        try:
            parsed = URL(url.strip())
            host = (parsed.host or "").translate(_DOTS).rstrip(".").lower()
            port = parsed.port
        except ValueError as error:
            return f"the URL is none: {error}"
        if parsed.scheme not in ("http", "https"):
            return "the URL has to begin with https:// or http://"
        if parsed.user is not None or parsed.password is not None:
            return "the URL has a user in it: an endpoint knows us by the signature"
        if not host or not port:
            return "the URL has no host"
        if host == "localhost" or host.endswith(".localhost"):
            return f"{host} is this machine"
        if ":" in host or _DOTTED.match(host):
            return self.refusal(host)
        if _NUMBER.match(host.rpartition(".")[2]):
            return f"{host} is an address in a form that not everybody reads alike: write it as four decimal numbers"
        return None

    def socket(self, info: AddressInfo) -> socket.socket:
        """A socket for the address that it will be connected to (aiohttp's `socket_factory`).

        Raises:
            RefusedError: it may not be dialled.
        """
        family, kind, protocol, _, target = info
        scope = str(target[-1]) if len(target) == 4 and target[-1] else ""
        if why := self.refusal(f"{target[0]}%{scope}" if scope else target[0]):
            raise RefusedError(why)
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """Resolves with another resolver, and refuses names of which one address is refused."""

    def __init__(self, inner: AbstractResolver, guard: Guard) -> None:
        self._inner, self._guard = inner, guard

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            RefusedError: one of them may not be dialled.
        """
        found = await self._inner.resolve(host, port, family)
        for each in found:
            if why := self._guard.refusal(each["host"]):
                raise RefusedError(f"{host} leads to an address that is not allowed: {why}")
        return found

    async def close(self) -> None:
        """Close the other resolver."""
        await self._inner.close()
