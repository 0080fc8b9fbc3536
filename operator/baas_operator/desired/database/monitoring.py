"""Metrics of a member: postgres_exporter beside its PostgreSQL. What there is to see: docs/monitoring.md.

It reads over the socket that the containers of a pod share, under a user of its own, which PostgreSQL takes for a role that may read the
statistics and nothing else. It works only when it is scraped: 19 MB and some 6 ms a scrape (22 MB with 100 databases).

A pod is ready only while all of its containers are. So nothing of the exporter's may count there: it comes in PostgreSQL's own image,
as another could be missing, it is begun anew inside its container, and nothing probes it.
"""

from __future__ import annotations

from typing import Any

from baas_operator.desired.database import names
from baas_operator.desired.pods import container_security

_UID = 65534
"""`names.EXPORTER_USER` in Debian, and the user of upstream's own image."""
_AGAIN_SECONDS = 10
_CONNECTIONS = 5
_TIMEOUT = "8s"
"""Prometheus itself waits 10 s for a scrape."""
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where Kubernetes puts it
_FLAGS = (
    f"--web.listen-address=:{names.EXPORTER_PORT}",
    "--log.level=error",
    # Those that look at tables see the one database that they are connected to; locks and roles are a series for each mode or role.
    "--no-collector.stat_user_tables", "--no-collector.statio_user_tables", "--no-collector.locks", "--no-collector.roles",
    "--collector.database_wraparound", "--collector.stat_checkpointer",
)  # fmt: skip


def exporter_role() -> dict[str, Any]:
    """Its role, for the SQL that makes it."""
    return {"name": names.EXPORTER, "connections": _CONNECTIONS, "timeout": _TIMEOUT}


def exporter(image: str) -> dict[str, Any]:
    """The container. `image`: PostgreSQL's own. One that lacks the exporter has no metrics, and is as ready as any."""
    program = f"prometheus-postgres-exporter {' '.join(_FLAGS)}"
    source = f"host={names.SOCKET_DIR} user={names.EXPORTER} dbname=postgres sslmode=disable connect_timeout=3"
    return {
        "name": "exporter",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", f"while :; do {program}; sleep {_AGAIN_SECONDS}; done"],
        "workingDir": "/",  # the image's own one is PostgreSQL's
        "env": [
            {"name": "DATA_SOURCE_NAME", "value": source},
            {"name": "GOMAXPROCS", "value": "1"},
            {"name": "GOMEMLIMIT", "value": "24MiB"},  # it tidies up rather than be killed, which would make the pod unready for a moment
        ],
        "ports": [{"name": "metrics", "containerPort": names.EXPORTER_PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "5m", "memory": "24Mi"}, "limits": {"memory": "48Mi"}},
        "securityContext": container_security() | {"runAsUser": _UID, "runAsGroup": _UID},
        "volumeMounts": [
            {"name": "run", "mountPath": names.SOCKET_DIR, "readOnly": True},
            # Instead of the token that the pod's other containers have (it is added only where nothing is mounted yet).
            {"name": "no-token", "mountPath": _TOKEN, "readOnly": True},
        ],
    }


def exporter_volumes() -> list[dict[str, Any]]:
    """Volumes of the pod that are the exporter's alone."""
    return [{"name": "no-token", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]
