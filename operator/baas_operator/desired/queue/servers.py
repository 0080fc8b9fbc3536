"""The servers: a StatefulSet of NATS, each with our agent beside it.

The agent is a native sidecar (Kubernetes documentation, "Sidecar Containers"): it is there before the server starts, and until after it
has stopped, so it can move away what the server leads while the server still runs. Its readiness is part of the pod's: a pod whose copies
are not level is not ready, so the disruption budget holds back who wants to take another one away.
"""

from __future__ import annotations

from typing import Any

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.images import Images
from baas_operator.desired.meta import Manifest, Owner, checksum
from baas_operator.desired.pods import container_security, field_env, http_probe, placed, pod_security, resources, scrape
from baas_operator.desired.queue import names
from baas_operator.desired.stateful import build_stateful_set

NATS_UID = 1000
RETIRE_SECONDS = 45
"""How long a server's end waits for its agent to move away what it leads; the agent itself gives up a little earlier."""
_ANSWER_SECONDS = 5
"""So long an agent has to notice that it is asked; one that does not is not there."""
_SHUTDOWN_SECONDS = 110
"""The move, then lame duck, which takes 30 s; the rest is for the last writes (NATS documentation: well above the lame duck duration)."""

_START = f"""\
zone=$(cat "/etc/baas/zones/$NODE_NAME" 2>/dev/null || true)
if [ -n "$zone" ]; then printf 'server_tags: ["az:%s"]\\n' "$zone"; fi > {names.RUN_DIR}/tags.conf
rm -f {names.RUN_DIR}/{names.RETIRE_FILE} {names.RUN_DIR}/{names.RETIRING_FILE} {names.RUN_DIR}/{names.RETIRED_FILE}
exec nats-server --config {names.CONFIG_DIR}/nats.conf
"""
# NATS leaves out SIGTERM, which comes next, while it is a lame duck (its source, 2.14.10, signal.go), and ends by itself.
RETIRE = f"""\
cd {names.RUN_DIR}
touch {names.RETIRE_FILE}
n=0
while [ ! -e {names.RETIRED_FILE} ] && [ "$n" -lt {RETIRE_SECONDS * 5} ]; do
  if [ "$n" -ge {_ANSWER_SECONDS * 5} ] && [ ! -e {names.RETIRING_FILE} ]; then break; fi
  n=$((n + 1))
  sleep 0.2
done
exec nats-server -sl=ldm={names.RUN_DIR}/nats.pid
"""
"""What the server's preStop hook runs."""


def _server(spec: EventQueueSpec, images: Images) -> dict[str, Any]:
    monitor = names.MONITOR_PORT
    return {
        "name": "nats",
        "image": spec.image or images.nats,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-ec", _START],
        "env": [
            field_env("POD_NAME", "metadata.name"),
            field_env("NODE_NAME", "spec.nodeName"),
        ],
        "ports": [
            {"name": "client", "containerPort": names.CLIENT_PORT, "protocol": "TCP"},
            {"name": "leaf", "containerPort": names.LEAF_PORT, "protocol": "TCP"},
            {"name": "route", "containerPort": names.ROUTE_PORT, "protocol": "TCP"},
            {"name": "monitor", "containerPort": monitor, "protocol": "TCP"},
        ],
        # The three questions of NATS' own health endpoint: all caught up; this server in the cluster; JetStream alive at all.
        "startupProbe": http_probe("/healthz", monitor, period=2, failures=150),
        "readinessProbe": http_probe("/healthz?js-server-only=true", monitor, period=3, failures=2),
        "livenessProbe": http_probe("/healthz?js-enabled-only=true", monitor, period=10, failures=6, timeout=5),
        "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", RETIRE]}}},
        "resources": resources(spec.resources, cpu="50m", memory="128Mi"),
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "config", "mountPath": names.CONFIG_DIR, "readOnly": True},
            {"name": "tls", "mountPath": names.TLS_DIR, "readOnly": True},
            {"name": "zones", "mountPath": "/etc/baas/zones", "readOnly": True},
            {"name": "run", "mountPath": names.RUN_DIR},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the pod
        ],
    }


def _agent(owner: Owner, images: Images) -> dict[str, Any]:
    return {
        "name": "agent",
        "image": images.operator,
        "imagePullPolicy": "IfNotPresent",
        "args": ["queue-agent"],
        "restartPolicy": "Always",
        "env": [
            field_env("POD_NAME", "metadata.name"),
            field_env("NODE_NAME", "spec.nodeName"),
            {"name": "SERVER_HOST", "value": names.host(owner.name, owner.namespace)},
        ],
        "ports": [{"name": "agent", "containerPort": names.AGENT_PORT, "protocol": "TCP"}],
        "startupProbe": http_probe("/livez", names.AGENT_PORT, period=1, failures=120),
        "livenessProbe": http_probe("/livez", names.AGENT_PORT, period=10, failures=6),
        # Longer than an election takes, during which no leader can be asked.
        "readinessProbe": http_probe(names.CAUGHT_UP_PATH, names.AGENT_PORT, period=5, failures=3),
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [
            # To notice what is new in them; it tells the server to load them.
            {"name": "config", "mountPath": names.CONFIG_DIR, "readOnly": True},
            {"name": "tls", "mountPath": names.TLS_DIR, "readOnly": True},
            {"name": "zones", "mountPath": "/etc/baas/zones", "readOnly": True},
            {"name": "run", "mountPath": names.RUN_DIR},
            *(
                {"name": f"user-{user}", "mountPath": f"{names.AGENT_DIR}/{user}", "readOnly": True}
                for user in (names.AGENT, names.AGENT_SYSTEM)
            ),
        ],
    }


def _secret_volume(name: str, secret: str) -> dict[str, Any]:
    return {"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}}


def build_servers(
    spec: EventQueueSpec, owner: Owner, images: Images, *, config: str, hard_spread: bool, annotations: dict[str, str]
) -> Manifest:
    """The StatefulSet. `config` is the servers' file without users and routes: pods roll when it changes; `annotations` are the pods'."""
    return build_stateful_set(
        owner,
        names.COMPONENT,
        replicas=spec.replicas,
        service=names.servers_service(owner.name),
        storage=spec.storage,
        policy=spec.deletion_policy,
        config_checksum=checksum(config),
        hard_spread=hard_spread,
        annotations=annotations | scrape(names.AGENT_PORT),  # NATS itself says nothing that Prometheus reads
        update="OnDelete",  # the operator itself rolls them, leaders last
        pod=placed(spec.placement, spec.image_pull_secrets)
        | {
            "serviceAccountName": f"{owner.name}-server",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": _SHUTDOWN_SECONDS,
            "securityContext": pod_security(NATS_UID),
            "initContainers": [_agent(owner, images)],
            "containers": [_server(spec, images)],
            "volumes": [
                {
                    "name": "config",
                    "projected": {
                        "defaultMode": 0o440,
                        "sources": [
                            {"configMap": {"name": names.config_map(owner.name)}},
                            {"secret": {"name": names.auth_secret(owner.name)}},
                        ],
                    },
                },
                _secret_volume("tls", names.tls_secret(owner.name)),
                {"name": "zones", "configMap": {"name": f"{owner.name}-zones"}},
                *(
                    _secret_volume(f"user-{user}", names.user_secret(owner.name, user))
                    for user in (names.AGENT, names.AGENT_SYSTEM)
                ),
                {"name": "run", "emptyDir": {}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    )  # fmt: skip
