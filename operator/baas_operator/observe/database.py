"""What the cluster's objects say about a replicated PostgreSQL.

Patroni publishes each member's state in an annotation of its pod, and the leader lock and the synchronous state in ConfigMaps, so
that the operator needs to ask no member: the watch has it all.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from baas_operator.api.database import LastFailover, Member
from baas_operator.api.kinds import CONFIG_MAP, ENDPOINT_SLICE, POD, VOLUME_CLAIM
from baas_operator.desired.database import names
from baas_operator.desired.database.routing import Endpoint
from baas_operator.desired.meta import ROLE_LABEL, Manifest
from baas_operator.observe.moments import read_time
from baas_operator.observe.view import View, is_ready

COPYING = "creating replica"
"""What Patroni says of a member that copies the primary."""
_LAG_STEP = 1024 * 1024
"""Lag is told in whole MiB: a finer figure would change, and be written, with every look."""
_CLOCK_SLACK_SECONDS = 10


@dataclass(frozen=True)
class DatabaseObservation:
    """A replicated PostgreSQL as it is now. `leader` holds an unexpired lock; `routed` is the address that `-rw` leads to."""

    members: tuple[Member, ...]
    leader: str | None
    leader_endpoint: Endpoint | None
    transitions: int
    routed: str | None
    sync_standbys: tuple[str, ...]
    dynamic_config: dict[str, Any] | None
    dynamic_version: str | None
    slice_now: Manifest | None
    gone: frozenset[str] = frozenset()
    """Addresses that `-rw` leads to and no member has. Never that of who holds the lock: its agent may have written it before the watch
    told of its pod, and would write it again."""
    last_failover: LastFailover | None = None
    """What the agents noted of the last one; as the status has it, where the slice was made anew since."""
    position: int | None = None
    """The leader's position in the log, in bytes."""
    out_of_time: str | None = None
    """A member whose lock has run out, by the time that it noted, and whose pod is ready as a primary's all the same: its node froze, or
    its clock or the operator's is wrong."""

    @property
    def primary(self) -> Member | None:
        """The member that holds the lock, if it says itself that it is the primary."""
        for each in self.members:
            if each.name == self.leader and each.role == "primary":
                return each
        return None

    @property
    def strict(self) -> bool:
        """Whether Patroni lets no commit through that no standby has."""
        return bool((self.dynamic_config or {}).get("synchronous_mode_strict"))

    @property
    def routed_to_leader(self) -> bool:
        """Whether `-rw` leads to the leader."""
        return self.leader_endpoint is not None and self.routed == self.leader_endpoint.ip

    def streaming(self) -> list[Member]:
        """Standbys that stream from the primary and are ready."""
        return [each for each in self.members if each.role == "standby" and each.ready and each.state == "streaming"]

    def members_per_zone(self, replicas: int, zones: int) -> int:
        """The most members that share a zone, 1 at least; not fewer than before while a member has no place, nor than `zones` will make
        of members that are not there yet.

        A pod that is made, or made anew, may be there, and stream, beside the primary sooner than anybody looks.
        """
        places = [each.zone for each in self.members if each.zone]
        now = max((places.count(zone) for zone in set(places)), default=1)
        if len(self.members) < replicas:
            now = max(now, math.ceil(replicas / max(1, zones)))
        before = (self.dynamic_config or {}).get("synchronous_node_count")
        return max(now, before) if len(places) < replicas and isinstance(before, int) else now


def annotations_of(resource: Manifest | None) -> dict[str, str]:
    """Annotations of an object that may not be there."""
    return ((resource or {}).get("metadata") or {}).get("annotations") or {}


def _json_object(text: str) -> dict[str, Any]:
    """What Patroni wrote into an annotation; nothing, where a hand made it something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def patroni_status(pod: Manifest) -> dict[str, Any]:
    """What Patroni last noted on its pod."""
    return _json_object(annotations_of(pod).get("status", "{}"))


def _member(view: View, pod: Manifest, *, leader: str | None, leader_position: int | None) -> Member:
    status = patroni_status(pod)
    name = pod["metadata"]["name"]
    role = (pod["metadata"].get("labels") or {}).get(ROLE_LABEL, "unknown")
    ready = is_ready(pod)
    if role not in ("primary", "standby") or (role == "primary" and name != leader and (leader or not ready)):
        role = "unknown"  # a member that lost power keeps the label that it had, and for a while it counts as ready
    state = str(status.get("state", "unknown")) if ready or role != "unknown" else "unreachable"
    if role == "standby" and state == "running":
        state = str(status.get("replication_state", state))
    lag = None
    position = status.get("xlog_location")
    if role == "standby" and leader_position is not None and isinstance(position, int):
        lag = max(0, leader_position - position) // _LAG_STEP * _LAG_STEP
    return Member(
        name=name, zone=view.zone_of(pod), role=role, state=state, ready=ready,
        timeline=timeline if isinstance(timeline := status.get("timeline"), int) else None, lag_bytes=lag,
    )  # fmt: skip


def waits_for_restart(pod: Manifest) -> dict[str, Any]:
    """Parameters that this member takes in only at its next start, as Patroni notes them: name -> old and new value."""
    found = patroni_status(pod).get("pending_restart_reason")
    return found if isinstance(found, dict) else {}


def _number(text: str) -> int | None:
    """A number that Patroni wrote into an annotation; none, where a hand made it something else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def _unexpired(lock: dict[str, str], now: datetime) -> bool:
    renewed = read_time(lock.get("renewTime"))
    try:
        return renewed is not None and now < renewed + timedelta(seconds=int(lock["ttl"]) + _CLOCK_SLACK_SECONDS)
    except (KeyError, ValueError, OverflowError):
        return False


def _out_of_time(lock: dict[str, str], pods: list[Manifest]) -> str | None:
    for pod in pods:
        if pod["metadata"]["name"] == lock.get("leader") and is_ready(pod) and pod["metadata"]["labels"].get(ROLE_LABEL) == "primary":
            return str(pod["metadata"]["name"])
    return None


def state_without_volumes(view: View, seen: DatabaseObservation) -> bool:
    """Whether Patroni's ConfigMaps of an earlier object say that the database was initialised, and no volume has it: each member then
    waits for ever for another to lead.

    Said only where it is proven: nobody has led since this object was created, so its members can have written nothing, and each
    volume was made, empty, since then. (Neither from a snapshot, nor bound by hand, which may be an old volume put back.)
    """
    created = view.resource["metadata"].get("creationTimestamp")
    initialized = annotations_of(view.child(CONFIG_MAP, names.dynamic_config_map(view.owner.name))).get("initialize")
    led = read_time(annotations_of(view.child(CONFIG_MAP, names.leader_config_map(view.owner.name))).get("renewTime"))
    claims = list(view.all(VOLUME_CLAIM, names.COMPONENT))
    if not (created and initialized and led and claims) or seen.leader or any(each.timeline for each in seen.members):
        return False
    since = datetime.fromisoformat(created)
    return led < since and all(_made_empty(each, since) for each in claims)


def _made_empty(claim: Manifest, since: datetime) -> bool:
    created, spec = claim["metadata"].get("creationTimestamp"), claim.get("spec") or {}
    copied = spec.get("dataSource") or spec.get("dataSourceRef")
    by_hand = spec.get("volumeName") and "pv.kubernetes.io/bound-by-controller" not in annotations_of(claim)
    return bool(created) and datetime.fromisoformat(created) >= since and not copied and not by_hand


def observe_database(view: View) -> DatabaseObservation:
    """Read a DatabaseReplica's children."""
    name = view.owner.name
    lock = annotations_of(view.child(CONFIG_MAP, names.leader_config_map(name)))
    leader = lock.get("leader") if _unexpired(lock, view.now) else None
    optime = lock.get("optime", "")
    position = _number(optime)
    pods = list(view.all(POD, names.COMPONENT))
    endpoint = None
    for pod in pods:
        ip = (pod.get("status") or {}).get("podIP")
        if leader and pod["metadata"]["name"] == leader and ip:
            node = (pod.get("spec") or {}).get("nodeName")
            endpoint = Endpoint(pod=leader, ip=ip, node=node, zone=view.zone_of(pod))
    slice_now = view.child(ENDPOINT_SLICE, names.rw_service(name))
    routed = [each["addresses"][0] for each in (slice_now or {}).get("endpoints") or [] if each.get("addresses")]
    sync = annotations_of(view.child(CONFIG_MAP, names.sync_config_map(name))).get("sync_standby") or ""
    config_map = view.child(CONFIG_MAP, names.dynamic_config_map(name))
    dynamic = annotations_of(config_map).get("config")
    return DatabaseObservation(
        members=tuple(_member(view, pod, leader=leader, leader_position=position) for pod in pods),
        leader=leader,
        leader_endpoint=endpoint,
        transitions=_number(lock.get("transitions", "")) or 0,
        routed=routed[0] if routed else None,
        sync_standbys=tuple(sorted(filter(None, sync.split(",")))),
        dynamic_config=_json_object(dynamic) if dynamic else None,
        dynamic_version=config_map["metadata"]["resourceVersion"] if config_map else None,
        slice_now=slice_now,
        gone=_gone(slice_now, pods, leader),
        last_failover=_last_failover(view, slice_now),
        position=position,
        out_of_time=None if leader else _out_of_time(lock, pods),
    )


def _gone(slice_now: Manifest | None, pods: list[Manifest], leader: str | None) -> frozenset[str]:
    # A pod that is over (evicted) still has its address noted, which may be another's by now.
    live = [each.get("status") or {} for each in pods if (each.get("status") or {}).get("phase") not in ("Succeeded", "Failed")]
    routed = [
        each for each in (slice_now or {}).get("endpoints") or [] if leader is None or (each.get("targetRef") or {}).get("name") != leader
    ]
    return frozenset(ip for each in routed for ip in each.get("addresses") or []) - {each.get("podIP") for each in live}


def _last_failover(view: View, slice_now: Manifest | None) -> LastFailover | None:
    for found in (
        _json_object(annotations_of(slice_now).get(names.FAILOVER_ANNOTATION, "{}")),
        (view.resource.get("status") or {}).get("lastFailover"),
    ):
        try:
            told = LastFailover.stored(found)
        except ValueError:
            continue  # there was none, or a hand made it something else
        if read_time(told.at) is not None and told.at.endswith("Z"):
            return told
    return None
