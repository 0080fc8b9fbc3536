"""A stand-in of the cluster's DNS: one name, and the addresses of the pods that are ready."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast


class Names(asyncio.DatagramProtocol):
    """Answers every question for an IPv4 address with `addresses`: with none, that there is no such name, as CoreDNS does then.
    `silent`: it answers nothing."""

    def __init__(self, addresses: list[str]) -> None:
        self.addresses = addresses
        self.silent = False
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # asyncio's own is no subclass of it
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if self.silent:
            return
        end = data.index(b"\0", 12) + 5
        question, (kind,) = data[12:end], struct.unpack(">H", data[end - 4 : end - 2])
        found = self.addresses if kind == 1 else []
        flags = 0x8180 if self.addresses else 0x8183
        head = data[:2] + struct.pack(">HHHHH", flags, 1, len(found), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, 4) + socket.inet_aton(each) for each in found)
        assert self._transport
        self._transport.sendto(head + question + records, address)

    def asked_by(self, bootstrap: str) -> str:
        """A gateway's bootstrap with this as its DNS server."""
        here = {"socket_address": {"address": "127.0.0.1", "port_value": self.port}}
        resolver = {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "resolvers": [here],
            "dns_resolver_options": {"no_default_search_domain": True},
        }
        typed = {"name": "envoy.network.dns_resolver.cares", "typed_config": resolver}
        return json.dumps(json.loads(bootstrap) | {"typed_dns_resolver_config": typed})


@asynccontextmanager
async def names(*addresses: str) -> AsyncIterator[Names]:
    """A DNS server until the block ends."""
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(lambda: Names(list(addresses)), local_addr=("127.0.0.1", 0))
    try:
        yield made
    finally:
        transport.close()
