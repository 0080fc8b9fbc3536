"""A component of a backend as data.

An engine (supabase.py, parse.py) returns components; manifests.py makes objects of any. Nothing else knows which engine it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from baas_operator.api.instance.component import Component as Options

DRAIN_SECONDS = 8
"""How long a pod goes on serving after it was told to go: until every node's kube-proxy and the gateway have let go of it."""
FINISH_SECONDS = 52
"""How long it may take then to finish what is under way: with the above a minute, as Envoy Gateway's `drainTimeout` says."""
GIVE_UP_SECONDS = FINISH_SECONDS - 2
"""When a program that is told how long it may take ends by itself, with what is not finished."""

Partner = Literal["database", "queue", "outside"]


@dataclass(frozen=True)
class Mount:
    """A folder of files from a Secret (or ConfigMap) that is not the component's own. `items`: key -> file; all when empty. `optional`:
    pods start without what is not there yet."""

    path: str
    secret: str | None = None
    config_map: str | None = None
    items: Mapping[str, str] = field(default_factory=dict)
    optional: bool = False


@dataclass(frozen=True)
class Flow:
    """A connection that a component makes: to another component by name, or to a `Partner`; on a port, any when None."""

    to: str
    port: int | None = None


@dataclass(frozen=True)
class Beside:
    """A container of ours beside a component's, with the same files. `readiness`: the pod is ready only if it is, too."""

    name: str
    image: str
    env: Mapping[str, str]
    ports: Mapping[str, int]
    startup: dict[str, Any]
    readiness: dict[str, Any]
    liveness: dict[str, Any]
    cpu: str
    memory: str


@dataclass(frozen=True)
class Component:
    """One component.

    `options`: what the user said. `env`: plain; `secret_env`: name -> (Secret, key), for programs that read secrets nowhere else.
    `config`: files of its own ConfigMap, in `config_mount`; `hot`: it takes up a change of them by itself, and is not rolled for it.
    `notes`: annotations of that ConfigMap.
    `kids`: ids of the keys in the set that its pods were given to check tokens with, None for one that checks none.
    `rolls`: what its pods read only when they start, beside `config`: they are rolled when it changes. `needs_database`: it ends, or
    answers no probe, when it starts before its database is there. `flows`: connections that it makes, beside DNS. `webhooks`: port where it
    takes those of the queue. `scrape`: port of its metrics. `headless`: the gateway balances over its pods itself. `same_zone`: clients
    come to a pod in their own zone while it has any: those in a zone that is well feel nothing of one that is lost, though Kubernetes says
    so only after 50 s. `optional`: the backend serves its purpose without it. `external_traffic`: its Service's policy, where that is
    reached through nodes.
    """

    name: str
    options: Options
    image: str
    uid: int
    ports: Mapping[str, int]
    startup: dict[str, Any]
    readiness: dict[str, Any]
    liveness: dict[str, Any]
    cpu: str = "20m"
    memory: str = "64Mi"
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    beside: tuple[Beside, ...] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    config_mount: str | None = None
    hot: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)
    kids: tuple[str, ...] | None = None
    rolls: tuple[str, ...] = ()
    needs_database: bool = False
    flows: tuple[Flow, ...] = ()
    webhooks: int | None = None
    scrape: int | None = None
    scrape_path: str = "/metrics"
    headless: bool = False
    same_zone: bool = False
    optional: bool = False
    service_type: str = "ClusterIP"
    node_ports: Mapping[str, int] = field(default_factory=dict)
    external_traffic: str | None = None
    public_ports: tuple[str, ...] = ("http",)
    pre_stop: dict[str, Any] | None = None
    drain_seconds: int = DRAIN_SECONDS
    finish_seconds: int = FINISH_SECONDS
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_ports(self) -> list[int]:
        """Those of all its containers."""
        return sorted({*self.ports.values(), *(port for each in self.beside for port in each.ports.values())})
