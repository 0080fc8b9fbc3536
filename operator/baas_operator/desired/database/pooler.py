"""PgBouncer in front of the primary: pods in several zones, each with an agent of ours that leads it to a new primary."""

from __future__ import annotations

from typing import Any

from baas_operator.api.common import Resources
from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.desired.database import names
from baas_operator.desired.images import Images
from baas_operator.desired.meta import CHECKSUM_ANNOTATION, Manifest, Owner, checksum
from baas_operator.desired.pods import (
    container_security,
    disruption_budget,
    field_env,
    http_probe,
    leave_lost_nodes,
    placed,
    pod_security,
    resources,
    service,
    service_account,
    spread_for_surge,
)
from baas_operator.desired.secrets import SecretRequest
from baas_operator.desired.text import render

_UID = 70
"""User of the pgbouncer image. The agent runs as the same: that is what lets it on PgBouncer's console."""
_CONFIG = "/etc/pooler/config"
_QUERY_WAIT_SECONDS = 15
"""How long a query waits where there is no primary: twice what the failover of a frozen one takes."""
_NOT_FOR_POOLERS = 13
"""Connections of PostgreSQL that one database's clients leave alone: 3 for superusers (`superuser_reserved_connections`), 5 for the
exporter, and some for the lookups at login, the SQL Job, and who comes by `-rw`."""
_LEAST_CONNECTIONS, _CONNECTIONS = 25, 100
"""The `max_connections` that Patroni takes at the least, and what it takes otherwise (its postgresql/config.py, `CMDLINE_OPTIONS`)."""
_MOST_CONNECTIONS = 262_143
"""What PostgreSQL takes at the most."""
_LINGER_SECONDS = 8
"""How long a pod takes new connections after it was told to go: until every node's kube-proxy has let go of it."""
_BUSY_SECONDS = names.POOLER_DRAIN_SECONDS - _LINGER_SECONDS - 4
"""How long transactions may then take to end."""


def pooler_secret(owner: Owner, *, owned: bool) -> SecretRequest:
    """Password of the role that looks up secrets, as PgBouncer reads it, and the token of whoever may ask its agent to pause."""
    return SecretRequest(
        owner, names.role_secret(owner.name, names.POOLER), names.COMPONENT, random=("password", "token"), owned=owned,
        fixed={"username": names.POOLER, "userlist": '"{username}" "{password}"\n'},
    )  # fmt: skip


def _access(owner: Owner, name: str) -> list[Manifest]:
    rules = [{
        "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "resourceNames": [names.rw_service(owner.name)],
        "verbs": ["get", "watch"],
    }]  # fmt: skip
    return [
        service_account(owner, name, names.POOLER),
        owner.child("rbac.authorization.k8s.io/v1", "Role", name, names.POOLER, rules=rules),
        owner.child(
            "rbac.authorization.k8s.io/v1", "RoleBinding", name, names.POOLER,
            roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            subjects=[{"kind": "ServiceAccount", "name": name, "namespace": owner.namespace}],
        ),
    ]  # fmt: skip


def _max_connections(spec: DatabaseReplicaSpec) -> int:
    said = spec.parameters.get("max_connections", "")
    given = int(said) if said.isascii() and said.isdigit() else 0
    return min(given, _MOST_CONNECTIONS) if given >= _LEAST_CONNECTIONS else _CONNECTIONS


def _per_database(spec: DatabaseReplicaSpec) -> int:
    """Server connections of one pod for one database. A rollout has one pod more than there are otherwise."""
    return max(1, (_max_connections(spec) - _NOT_FOR_POOLERS) // (spec.pooler.replicas + 1))


def _pgbouncer(spec: DatabaseReplicaSpec, images: Images) -> dict[str, Any]:
    # The agent writes this file last. `exec`: PgBouncer is process 1, which the drain below tells to go.
    start = (
        f"until [ -s {names.POOLER_RUN}/databases.ini ]; do sleep 0.1; done; exec /usr/bin/pgbouncer {_CONFIG}/pgbouncer.ini"
    )  # fmt: skip
    # SIGINT: no new clients, running transactions end, then it goes (PgBouncer 1.23 and later; Kubernetes' SIGTERM would wait for clients
    # that may stay for days). Process 1 ends before its container's hook does, and the hook with it.
    drain = (
        f"sleep {_LINGER_SECONDS}; kill -INT 1; n=0; "
        f"while kill -0 1 && [ $n -lt {_BUSY_SECONDS} ]; do sleep 1; n=$((n + 1)); done"
    )  # fmt: skip
    return {
        "name": "pgbouncer",
        "image": images.pgbouncer,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-ec", start],
        "ports": [{"name": "postgresql", "containerPort": names.POSTGRES_PORT, "protocol": "TCP"}],
        "startupProbe": http_probe("/pgbouncer/livez", names.POOLER_AGENT_PORT, period=1, failures=60),
        "livenessProbe": http_probe("/pgbouncer/livez", names.POOLER_AGENT_PORT, period=10, failures=6),
        # It can do without the agent for a while; readiness without one would tell nothing.
        "readinessProbe": http_probe("/readyz", names.POOLER_AGENT_PORT, period=2, failures=3),
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", drain]}}},
        "resources": resources(spec.pooler.resources, cpu="50m", memory="64Mi"),
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "config", "mountPath": _CONFIG, "readOnly": True},
            {"name": "run", "mountPath": names.POOLER_RUN},
            {"name": "secret", "mountPath": names.POOLER_SECRET, "readOnly": True},
            {"name": "certificate", "mountPath": names.POOLER_CERTIFICATE, "readOnly": True},
        ],
    }


def _agent(spec: DatabaseReplicaSpec, owner: Owner, images: Images) -> dict[str, Any]:
    return {
        "name": "agent",
        "image": images.operator,
        "imagePullPolicy": "IfNotPresent",
        "args": ["pooler-agent"],
        "env": [
            field_env("POD_NAMESPACE", "metadata.namespace"),
            {"name": "DATABASE", "value": owner.name},
            {"name": "POOL_MODE", "value": spec.pooler.mode.value},
        ],
        "ports": [{"name": "agent", "containerPort": names.POOLER_AGENT_PORT, "protocol": "TCP"}],
        "startupProbe": http_probe("/livez", names.POOLER_AGENT_PORT, period=1, failures=60),
        "livenessProbe": http_probe("/livez", names.POOLER_AGENT_PORT, period=10, failures=6),
        "readinessProbe": http_probe("/readyz", names.POOLER_AGENT_PORT, period=2, failures=3),
        "resources": resources(Resources(), cpu=names.AGENT_CPU, memory="64Mi"),
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "run", "mountPath": names.POOLER_RUN},
            {"name": "secret", "mountPath": names.POOLER_SECRET, "readOnly": True},
            {"name": "certificate", "mountPath": names.POOLER_CERTIFICATE, "readOnly": True},
        ],
    }


def build_pooler(spec: DatabaseReplicaSpec, owner: Owner, images: Images, *, hard_spread: bool) -> list[Manifest]:
    """All of the pooler; nothing where none is wanted."""
    if not spec.pooler.replicas:
        return []
    name = names.pooler_service(owner.name)
    selector = owner.selector(names.POOLER)
    text = render(
        "pgbouncer.ini.j2", port=names.POSTGRES_PORT, run=names.POOLER_RUN, mode=spec.pooler.mode.value, role=names.POOLER,
        secret=names.POOLER_SECRET, certificate=names.POOLER_CERTIFICATE, auth_database=names.AUTH_DATABASE,
        query_wait_seconds=_QUERY_WAIT_SECONDS, max_clients=spec.pooler.max_client_connections, pool_size=spec.pooler.pool_size,
        max_database_connections=_per_database(spec), query_timeout_seconds=spec.pooler.query_timeout_seconds,
    )  # fmt: skip
    where = placed(spec.placement, spec.image_pull_secrets)
    deployment = owner.child(
        "apps/v1", "Deployment", name, names.POOLER,
        spec={
            "replicas": spec.pooler.replicas,
            "revisionHistoryLimit": 3,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": owner.labels(names.POOLER), "annotations": {CHECKSUM_ANNOTATION: checksum(text)}},
                "spec": where | {
                    "serviceAccountName": name,
                    "automountServiceAccountToken": True,
                    "enableServiceLinks": False,
                    "terminationGracePeriodSeconds": names.POOLER_DRAIN_SECONDS,
                    "securityContext": pod_security(_UID),
                    "topologySpreadConstraints": spread_for_surge(selector, hard=hard_spread),
                    "tolerations": leave_lost_nodes() + where.get("tolerations", []),
                    "containers": [_pgbouncer(spec, images), _agent(spec, owner, images)],
                    "volumes": [
                        {"name": "config", "configMap": {"name": name}},
                        {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                        {"name": "secret", "secret": {
                            "secretName": names.role_secret(owner.name, names.POOLER), "defaultMode": 0o440,
                        }},
                        {"name": "certificate", "secret": {
                            "secretName": names.server_tls_secret(owner.name), "defaultMode": 0o440,
                        }},
                    ],
                },
            },
        },
    )  # fmt: skip
    return [
        *_access(owner, name),
        owner.child("v1", "ConfigMap", name, names.POOLER, data={"pgbouncer.ini": text}),
        service(owner, name, names.POOLER, {"postgresql": names.POSTGRES_PORT}, selector=selector, same_zone=True),
        disruption_budget(owner, name, names.POOLER),
        deployment,
    ]
