"""Servers that are known by their Raft id alone: a leader that started after they went has never heard their names (measured on 2.15.2).

The id is a hash of the name (nats-server 2.14.10, events.go, `getHashSize`), and the names of a queue's servers are its own with a number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LENGTH = 8
_UNKNOWN = "Server name unknown"
_MOST_SERVERS = 50


def peer_id(server: str) -> str:
    """The Raft id of a server."""
    return "".join(_DIGITS[each % len(_DIGITS)] for each in hashlib.sha256(server.encode()).digest()[:_LENGTH])


def name_of(peer: Mapping[str, Any], like: str) -> str:
    """The name of a server in a `PeerInfo`. `like`: the name of any other server of the same queue."""
    name, prefix = str(peer["name"]), like.rpartition("-")[0]
    if not name.startswith(_UNKNOWN):
        return name
    return next((each for number in range(_MOST_SERVERS) if peer_id(each := f"{prefix}-{number}") == peer.get("peer")), name)
