"""What the servers say of all Raft groups: the cluster's metadata, each stream, each consumer.

All of it is in one answer of each server (`$SYS.REQ.SERVER.PING.JSZ`). Every server tells of every group that it has a copy in, but how far
the copies are, the group's leader alone knows: of the others' words only that they have a copy, who they think leads, and how many copies
they think there are, is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Key(NamedTuple):
    """A group: a consumer, a stream (no consumer), or the metadata (nothing)."""

    account: str = ""
    stream: str = ""
    consumer: str = ""

    def __str__(self) -> str:
        if not self.stream:
            return "the metadata"
        return f"consumer {self.consumer} of stream {self.stream}" if self.consumer else f"stream {self.stream}"


META = Key()
_SILENT_NANOSECONDS = 4_000_000_000
"""A leader that was not heard for so long may have been replaced (nats-server 2.14.10, raft.go, `minElectionTimeout`). It believes itself
that it leads for 20 s more."""
_ZONE = "az:"
"""How the tag of a server's zone begins."""


@dataclass(frozen=True)
class Copy:
    """A copy that is not the leader's, as the leader sees it. `lag`: entries of the log that it lacks."""

    server: str
    current: bool
    lag: int = 0

    @property
    def level(self) -> bool:
        """Whether it has all."""
        return self.current and self.lag == 0


@dataclass(frozen=True)
class Group:
    """A group in its leader's words."""

    leader: str
    copies: tuple[Copy, ...] = ()

    def behind(self, server: str) -> int | None:
        """Entries that a server's copy lacks, 1 where it is not heard of; 0 where it is level; None where it has no copy."""
        if server == self.leader:
            return 0
        return next((0 if each.level else max(each.lag, 1) for each in self.copies if each.server == server), None)

    def majority_without(self, server: str) -> bool:
        """Whether copies that are level remain a majority when this server goes."""
        level = {each.server for each in self.copies if each.level} | {self.leader}
        return len(level - {server}) > (len(self.copies) + 1) // 2


@dataclass(frozen=True)
class Cluster:
    """All that was answered. `groups`: those whose leader answered. `held`: groups that a server has a copy in, by server. `zones`: of
    servers that say theirs. `size`: servers that the metadata knows, 0 while nobody says. `led`: servers that hear
    who leads the metadata, and one that leads it and is heard. `known`: how many copies of a group a server knows of, all in all, by
    server."""

    groups: Mapping[Key, Group] = field(default_factory=dict)
    held: Mapping[str, frozenset[Key]] = field(default_factory=dict)
    zones: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    led: frozenset[str] = frozenset()
    known: Mapping[str, Mapping[Key, int]] = field(default_factory=dict)

    def knows_all(self, server: str, key: Key) -> bool:
        """Whether a server that has a copy of what somebody leads knows of as many copies as the leader does."""
        group = self.groups[key]
        return server == group.leader or self.known.get(server, {}).get(key, 0) > len(group.copies)

    def leads(self, server: str) -> list[Key]:
        """Groups that it leads."""
        return [key for key, group in sorted(self.groups.items()) if group.leader == server]

    def behind(self, server: str) -> dict[Key, int | None]:
        """Groups in which its copy is not level, with the entries that it lacks; None where no leader answered, so that nobody knows. A
        server that says nothing itself is behind in the metadata, at least."""
        made: dict[Key, int | None] = {} if server in self.held else {META: None}
        for key in self.held.get(server, ()):
            group = self.groups.get(key)
            lag = group.behind(server) if group else None
            if lag is None or lag > 0:
                made[key] = lag
        return made

    def few(self) -> bool:
        """Whether no majority answered."""
        return 2 * len(self.held) <= self.size

    def complete(self) -> bool:
        """Whether everybody answered."""
        return 0 < self.size <= len(self.held)


def _group(server: str, said: Mapping[str, Any] | None) -> Group | None:
    """A group in this server's words, if it leads it."""
    if not said or said.get("leader") != server:
        return None
    return Group(server, tuple(
        Copy(str(each["name"]), bool(each.get("current")) and not each.get("offline"), int(each.get("lag", 0)))
        for each in said.get("replicas") or ()
    ))  # fmt: skip


def _is_led(server: str, meta: Mapping[str, Any]) -> bool:
    leader, others = meta.get("leader"), meta.get("replicas") or ()
    if leader != server:
        return bool(leader)
    heard = sum(1 for each in others if not each.get("offline") and int(each.get("active", 0)) < _SILENT_NANOSECONDS)
    return 2 * (heard + 1) > len(others) + 1


def _said(data: Mapping[str, Any]) -> Iterator[tuple[Key, Mapping[str, Any] | None]]:
    yield META, data.get("meta_cluster")
    for account in data.get("account_details") or ():
        for stream in account.get("stream_detail") or ():
            yield Key(account["name"], stream["name"]), stream.get("cluster")
            for consumer in stream.get("consumer_detail") or ():
                yield Key(account["name"], stream["name"], consumer["name"]), consumer.get("cluster")


def read_cluster(answers: Iterable[Mapping[str, Any]]) -> Cluster:
    """What the answers of the servers say together.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: one is no answer of NATS'.
    """
    groups: dict[Key, Group] = {}
    held: dict[str, frozenset[Key]] = {}
    zones: dict[str, str] = {}
    size = 0
    led = set()
    follows: dict[str, str] = {}
    known: dict[str, dict[Key, int]] = {}
    for answer in answers:
        server, data = answer["server"], answer.get("data") or {}
        name = str(server["name"])
        keys = set()
        for key, said in _said(data):
            keys.add(key)
            known.setdefault(name, {})[key] = 1 + len((said or {}).get("replicas") or ())  # all that it knows of but its own
            if (group := _group(name, said)) is not None:
                groups[key] = group
        held[name] = frozenset(keys)
        meta = data.get("meta_cluster") or {}
        follows[name] = str(meta.get("leader") or "")
        if _is_led(name, meta):
            led.add(name)
        for tag in server.get("tags") or ():
            if str(tag).startswith(_ZONE):
                zones[name] = str(tag).removeprefix(_ZONE)
        size = max(size, int((data.get("meta_cluster") or {}).get("cluster_size", 0)))
        if not data.get("meta_cluster"):
            # One server by itself: it is its own leader, and there is nobody to be level with.
            groups.setdefault(META, Group(name))
            size = max(size, 1)
    # A leader that nobody hears is no leader, whoever follows it.
    unheard = {name for name in held if name not in led}
    led = {name for name in led if follows.get(name) not in unheard}
    return Cluster(groups, held, zones, size, frozenset(led), known)
