"""What a gateway is made from: upstreams, routes, keys and limits, as data. Nothing here knows an engine, nor Kubernetes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CONFIG_MOUNT = "/etc/baas/gateway"
"""Where the pod has the ConfigMap: as a folder, never by `subPath`, so that Kubernetes swaps its content under the running Envoy."""
TLS_MOUNT = "/etc/baas/tls"
"""Where the pod has the Secret with `tls.crt` and `tls.key`, as a folder too."""

DRAIN_SECONDS = 12
"""How long a gateway that goes lets its clients' connections end: a client that keeps one learns with its next answer that it is to end."""
FINISH_SECONDS = 48
"""How long it waits then, at most, for what is under way: with the above a minute, as for every component."""

WAIT_SECONDS = 13
"""How long what a component does at the most may have waited before: for a primary (`clusters.py`), and for a connection to it."""

UNDONE_HEADER = "baas-undone"
"""Of an answer that says that nothing was done; between a component and the gateway's router, no client sees it."""

WAITED_HEADER = "x-baas-waited-for"
"""Of the gateway's question to itself whether an upstream is still waited for; what a client sends by this name is taken away."""

KEPT_BYTES = 128 * 1024
"""What Envoy holds of one direction of one request: a body that is longer flows through as it is taken, and can not be sent again. So a
thousand that wait fit into a pod's memory."""

Access = Literal["api-key", "service-key", "public", "upgrade"]
"""`api-key`: a key of ours; `service-key`: one of role service_role; `public`: none is asked for; `upgrade`: as `api-key`, and the key may
come as `?apikey=`, since browsers send no headers with a WebSocket."""


@dataclass(frozen=True)
class Upstream:
    """One component as the gateway reaches it. `host`: a headless Service, so that every pod is an endpoint of its own.

    `fallback`: the upstream that answers reads while this one has no healthy pod. `priority`: under overload lower numbers are shed last
    (0 auth and rest, 1 storage, 2 functions, 3 meta and dashboard). `postgrest`: it answers as PostgREST does, whose errors of a database
    that went away are put in order (`postgrest.py`). `waits`: what comes while none of its pods is well waits for a moment, and is sent to
    none (`waiting.py`): a primary that is moved is back by then. So does what it says was certainly not done (UNDONE_HEADER). Writes wait,
    and reads where nobody else answers them.
    """

    name: str
    host: str
    port: int
    health_port: int
    health_path: str
    fallback: str | None = None
    priority: int = 1
    postgrest: bool = False
    waits: bool = False


@dataclass(frozen=True)
class Route:
    """One path of the API. `prefix` begins and ends with `/`, or is one exact path when it does not end so.

    `body_bytes` and `timeout_seconds` bound what one request may be, the latter where it is more than `Limits` says; a WebSocket has no end
    of its own, and its route takes nothing else. `idempotent_reads`: GET and HEAD
    may be sent again, to another pod. `read_try_seconds`: a read that got no answer by then is sent to another pod, and in the end to the
    fallback: just above what the database lets a statement take (`statement_timeout`), it ends no read that is merely slow, and helps those
    that were on their way to a database when it froze. None: they wait until `timeout_seconds`.
    """

    prefix: str
    upstream: str
    access: Access
    rewrite: str = "/"
    timeout_seconds: int = 0
    body_bytes: int | None = None
    websocket: bool = False
    grpc: bool = False
    idempotent_reads: bool = True
    read_try_seconds: float | None = None

    @property
    def endless(self) -> bool:
        """Whether what comes here stays open for as long as somebody is there."""
        return self.websocket or self.grpc


@dataclass(frozen=True)
class Rate:
    """A token bucket: `per_second` requests go on for ever, `burst` at once."""

    per_second: int
    burst: int


@dataclass(frozen=True)
class Limits:
    """Limits of the whole instance; each gateway pod enforces its share of the rates (`of_one_pod`). None: no such limit."""

    total: Rate | None = None
    per_key: Rate | None = None
    """Of one user (`sub`) or, where the key names none, of one key (role and address of the client)."""
    per_address: Rate | None = None
    """Of one client address that shows no key, on routes that ask for none."""
    exempt_roles: tuple[str, ...] = ()
    """Roles of API keys whose requests are those of no client: `total` alone counts them."""
    body_bytes: int = 50 * 1024 * 1024
    timeout_seconds: int = 30
    """How long an answer may take once the request is there."""
    connections: int = 10_000
    """Connections of clients that one pod takes."""
    heap_bytes: int = 512 * 1024 * 1024
    """Memory of one pod's Envoy, at which it begins to refuse requests (90 %) and then connections (95 %)."""


@dataclass(frozen=True)
class GatewaySpec:
    """What the user says of the gateway. `tls`: the pod has a certificate in TLS_MOUNT; `redirects`: what
    comes over plain HTTP is led to HTTPS then. `tracing`: `host:port` of an OTLP gRPC receiver."""

    replicas: int = 3
    limits: Limits = Limits()
    cors_origins: tuple[str, ...] = ("*",)
    tls: bool = False
    redirects: bool = True
    tracing: str | None = None
    trace_percent: int = 1
    """Requests that a trace begins with here, of those that bring none."""
    trusted_hops: int = 0
    """Proxies of the platform in front of the gateway whose `x-forwarded-for` is believed."""


@dataclass(frozen=True)
class Ports:
    """Where a gateway listens. Only tests have other ports than a pod."""

    http: int = 8000
    health: int = 8001
    https: int = 8443
    admin: int = 9901
    waiting: int = 9902
    address: str = "0.0.0.0"  # noqa: S104 - inside the pod


@dataclass(frozen=True)
class GatewayInput:
    """All that a gateway's configuration depends on. `jwks`: `{"keys": [...]}`, public keys only. `hosts`: names that clients outside use,
    empty means any. `own_hosts`: those of its Service, for clients inside the cluster: always served, and over plain HTTP too."""

    upstreams: tuple[Upstream, ...]
    routes: tuple[Route, ...]
    jwks: str
    issuer: str
    hosts: tuple[str, ...] = ()
    own_hosts: tuple[str, ...] = ()
    spec: GatewaySpec = GatewaySpec()
    ports: Ports = Ports()
    folder: str = CONFIG_MOUNT
    tls_folder: str = TLS_MOUNT
    drain_key: str | None = None
    """Part of the path that starts a pod's drain (`health.drain_path`), so that only who may read the pods knows it; None: no such path."""
    drain_seconds: int = DRAIN_SECONDS
    """How long a pod that goes lets its connections end by themselves."""
    finish_seconds: int = FINISH_SECONDS
    """How long it waits then, at most, for requests that are under way."""
