"""The members: a StatefulSet of Patroni with PostgreSQL, each with our agent beside it.

The agent is a native sidecar (an init container that is restarted always; Kubernetes documentation, "Sidecar Containers"): it is there
before PostgreSQL starts, and until after it has stopped. It alone has the certificate that standbys stream with, and lends it to
PostgreSQL through a volume in memory: what an agent takes away there, its PostgreSQL can not reconnect without.
"""

from __future__ import annotations

from typing import Any

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.desired.database import names
from baas_operator.desired.database.monitoring import exporter, exporter_volumes
from baas_operator.desired.images import Images
from baas_operator.desired.meta import Manifest, Owner, checksum
from baas_operator.desired.pods import (
    container_security,
    field_env,
    http_probe,
    placed,
    pod_security,
    resources,
    scrape,
)
from baas_operator.desired.sql_job import POSTGRES_UID
from baas_operator.desired.stateful import build_stateful_set

_SHUTDOWN_SECONDS = 120
"""A primary writes a last checkpoint and hands the lock over before it goes; killed earlier it would have to recover."""


def _secret_env(name: str, secret: str, key: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _rest_api(owner: Owner) -> list[dict[str, Any]]:
    secret = names.role_secret(owner.name, "patroni")
    return [_secret_env("PATRONI_RESTAPI_USERNAME", secret, "username"), _secret_env("PATRONI_RESTAPI_PASSWORD", secret, "password")]


def _postgres(spec: DatabaseReplicaSpec, owner: Owner, image: str) -> dict[str, Any]:
    credentials = []
    for variable, role in (("SUPERUSER", names.SUPERUSER), ("REWIND", names.REWIND)):
        secret = names.role_secret(owner.name, role)
        # Patroni takes these from its environment or from its file; the file would be one more copy of each password.
        credentials += [
            _secret_env(f"PATRONI_{variable}_USERNAME", secret, "username"),
            _secret_env(f"PATRONI_{variable}_PASSWORD", secret, "password"),
        ]
    return {
        "name": "postgres",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["/etc/patroni/patroni.yml"],
        "command": ["patroni"],
        "env": [
            field_env("PATRONI_NAME", "metadata.name"),
            field_env("PATRONI_KUBERNETES_NAMESPACE", "metadata.namespace"),
            field_env("PATRONI_KUBERNETES_POD_IP", "status.podIP"),
            {"name": "PATRONI_POSTGRESQL_CONNECT_ADDRESS", "value": f"$(PATRONI_KUBERNETES_POD_IP):{names.POSTGRES_PORT}"},
            {"name": "PATRONI_RESTAPI_CONNECT_ADDRESS", "value": f"$(PATRONI_KUBERNETES_POD_IP):{names.PATRONI_PORT}"},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - a path inside the pod
            *credentials,
            *_rest_api(owner),
        ],
        "ports": [
            {"name": "postgresql", "containerPort": names.POSTGRES_PORT, "protocol": "TCP"},
            {"name": "patroni", "containerPort": names.PATRONI_PORT, "protocol": "TCP"},
        ],
        # A new member may copy the whole primary first; Patroni answers long before that, and says so on /liveness.
        "startupProbe": http_probe("/liveness", names.PATRONI_PORT, period=2, failures=60),
        "livenessProbe": http_probe("/liveness", names.PATRONI_PORT, period=10, failures=6, timeout=5),
        "readinessProbe": http_probe("/readiness", names.PATRONI_PORT, period=3, failures=2),
        "lifecycle": {"preStop": {"httpGet": {"path": names.RETIRE_PATH, "port": names.AGENT_PORT}}},
        "resources": resources(spec.resources, cpu="100m", memory="256Mi"),
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "data", "mountPath": names.DATA_VOLUME},
            {"name": "patroni", "mountPath": "/etc/patroni", "readOnly": True},
            {"name": "run", "mountPath": names.SOCKET_DIR},
            {"name": "server-tls", "mountPath": names.SERVER_TLS_DIR, "readOnly": True},
            {"name": "replication", "mountPath": names.REPLICATION_DIR, "readOnly": True},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }


def _agent(spec: DatabaseReplicaSpec, owner: Owner, images: Images) -> dict[str, Any]:
    return {
        "name": "agent",
        "image": images.operator,
        "imagePullPolicy": "IfNotPresent",
        "args": ["agent"],
        "restartPolicy": "Always",
        "env": [
            field_env("POD_NAME", "metadata.name"),
            field_env("POD_NAMESPACE", "metadata.namespace"),
            field_env("POD_IP", "status.podIP"),
            field_env("NODE_NAME", "spec.nodeName"),
            {"name": "DATABASE", "value": owner.name},
            {"name": "DETECTION_SECONDS", "value": str(spec.failover.detection_seconds)},
            *_rest_api(owner),
        ],
        "ports": [{"name": "agent", "containerPort": names.AGENT_PORT, "protocol": "TCP"}],
        # PostgreSQL is started once this has worked, so that it never starts without what the agent gives it.
        "startupProbe": http_probe("/livez", names.AGENT_PORT, period=1, failures=120),
        "livenessProbe": http_probe("/livez", names.AGENT_PORT, period=10, failures=6),
        "resources": {"requests": {"cpu": names.AGENT_CPU, "memory": "64Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "run", "mountPath": names.SOCKET_DIR},
            {"name": "server-tls", "mountPath": names.SERVER_TLS_DIR, "readOnly": True},
            {"name": "replication-tls", "mountPath": names.REPLICATION_TLS_DIR, "readOnly": True},
            {"name": "replication", "mountPath": names.REPLICATION_DIR},
            {"name": "pooler", "mountPath": names.POOLER_SECRET, "readOnly": True},
            # To see how full it is. Beside PostgreSQL, as its user, and let in as its superuser, the agent sees no more by this.
            {"name": "data", "mountPath": names.DATA_VOLUME, "readOnly": True},
        ],
    }


def _certificate_volume(name: str, secret: str) -> dict[str, Any]:
    """Root's files that the pod's group reads, which is what PostgreSQL takes as a key ("Secure TCP/IP Connections with SSL")."""
    return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}}


def build_members(spec: DatabaseReplicaSpec, owner: Owner, images: Images, *, config_text: str, hard_spread: bool) -> Manifest:
    """The StatefulSet. `config_text` is Patroni's file: pods roll when the part of it changes that is read only at start."""
    image, monitored = spec.image or images.postgres, spec.monitoring.enabled
    return build_stateful_set(
        owner,
        names.COMPONENT,
        replicas=spec.replicas,
        service=names.pods_service(owner.name),
        storage=spec.storage,
        policy=spec.deletion_policy,
        config_checksum=checksum(config_text),
        hard_spread=hard_spread,
        update="OnDelete",  # policy/rollout.py
        annotations=scrape(names.EXPORTER_PORT) if monitored else None,
        pod=placed(spec.placement, spec.image_pull_secrets)
        | {
            "serviceAccountName": f"{owner.name}-member",
            "automountServiceAccountToken": True,
            "terminationGracePeriodSeconds": _SHUTDOWN_SECONDS,
            "securityContext": pod_security(POSTGRES_UID),
            "shareProcessNamespace": True,  # the agent signals PostgreSQL: at least that it has a new certificate
            "initContainers": [_agent(spec, owner, images)],
            "containers": [_postgres(spec, owner, image), *([exporter(image)] if monitored else [])],
            "volumes": [
                {"name": "patroni", "configMap": {"name": f"{owner.name}-patroni"}},
                _certificate_volume("server-tls", names.server_tls_secret(owner.name)),
                _certificate_volume("replication-tls", names.replication_tls_secret(owner.name)),
                {
                    "name": "pooler",
                    "secret": {
                        "secretName": names.role_secret(owner.name, names.POOLER),
                        "items": [{"key": "token", "path": "token"}],
                        "defaultMode": 0o440,
                        "optional": True,
                    },
                },
                {"name": "replication", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                {"name": "run", "emptyDir": {}},
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
                {"name": "tmp", "emptyDir": {}},
                *(exporter_volumes() if monitored else []),
            ],
        },
    )
