"""Stock Patroni on Kubernetes, from plain manifests of its own: no operator, no agent.

As Patroni's own Kubernetes example has it (github.com/patroni/patroni, kubernetes/patroni_k8s.yaml): a StatefulSet, a Service, rights on
ConfigMaps and pods, settings in environment variables and one file. What is otherwise here, is so in its favour or to be comparable:
ConfigMaps and a Service that selects `role=primary`, as its maintainers now advise; zones; volumes instead of `emptyDir`; the grace period
that Kubernetes gives, so that a deleted primary may hand over (the example gives none); pods in parallel; the image and requests of ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from baas_lab.cluster import Cluster
from baas_operator.desired.images import Images
from baas_operator.desired.pods import container_security, field_env, http_probe, pod_security, spread
from tests.chaos.database.systems import POSTGRES, PatroniSystem, with_address
from tests.chaos.systems import REPLICAS, Member, Object

NAME = "patroni"
LABELS = {"application": "patroni", "cluster-name": NAME}
SERVICE = f"{NAME}-primary"
PASSWORD = "measured-and-thrown-away"
_UID = 999
_DATA = "/var/lib/postgresql/data"

DEFAULTS: dict[str, Any] = {"postgresql": {"use_pg_rewind": True}}
"""Nothing but what its example says: ttl 30, loop_wait 10, retry_timeout 10, asynchronous, primary_start_timeout 300."""

TIGHT: dict[str, Any] = {
    "ttl": 20,
    "loop_wait": 2,
    "retry_timeout": 3,
    "primary_start_timeout": 0,
    "failsafe_mode": True,
    "synchronous_mode": "quorum",
    "postgresql": {"use_pg_rewind": True},
}
"""The lowest ttl that Patroni takes, and a commit that waits for one standby of two."""

# From within the primary, which needs no address and no password.
_SWITCHOVER = """
import json, sys, urllib.request
body = json.dumps({"leader": sys.argv[1], "candidate": sys.argv[2]}).encode()
request = urllib.request.Request("http://127.0.0.1:8008/switchover", body, {"Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=120).read().decode())
"""


@dataclass
class StockPatroni(PatroniSystem):
    """Stock Patroni with the given dynamic configuration."""

    dynamic: dict[str, Any]

    @classmethod
    def on(cls, lab: Cluster, namespace: str, dynamic: dict[str, Any]) -> StockPatroni:
        selector = ",".join(f"{key}={value}" for key, value in LABELS.items())
        return cls(lab, namespace, NAME, selector, {}, dynamic)

    def manifests(self) -> list[Object]:
        return manifests(self.namespace, self.dynamic)

    def uri(self, service: str) -> str:
        # It has one Service, whatever is asked for.
        return with_address(f"postgresql://postgres:{PASSWORD}@{SERVICE}:5432/postgres", self.service_address(SERVICE))

    def member_uri(self, member: Member) -> str:
        return with_address(f"postgresql://postgres:{PASSWORD}@{member.name}:5432/postgres", member.address)

    def move(self) -> None:
        primary = self.leader()
        candidate = next(member.name for member in self.members() if member.name != primary.name)
        words = ("exec", primary.name, "--container", POSTGRES, "--", "python3", "-c", _SWITCHOVER, primary.name, candidate)
        self.lab.kubectl("--namespace", self.namespace, *words, timeout_seconds=130)


def manifests(namespace: str, dynamic: dict[str, Any]) -> list[Object]:
    """All of it. Pure."""
    return [_account(), _role(), _binding(namespace), _secret(), _config(dynamic), _service(), _headless(), _stateful_set()]


def _object(api_version: str, kind: str, name: str, **body: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": LABELS}, **body}


def _account() -> Object:
    return _object("v1", "ServiceAccount", NAME)


def _role() -> Object:
    verbs = ["create", "get", "list", "patch", "update", "watch", "delete"]
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": verbs},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "patch", "update", "watch"]},
    ]
    return _object("rbac.authorization.k8s.io/v1", "Role", NAME, rules=rules)


def _binding(namespace: str) -> Object:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
    subjects = [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}]
    return _object("rbac.authorization.k8s.io/v1", "RoleBinding", NAME, roleRef=role, subjects=subjects)


def _secret() -> Object:
    return _object("v1", "Secret", NAME, stringData={"password": PASSWORD})


def _config(dynamic: dict[str, Any]) -> Object:
    """Patroni's file. JSON is YAML."""
    content = {
        "bootstrap": {
            "dcs": dynamic,
            "initdb": [
                {"encoding": "UTF8"},
                {"locale": "C.UTF-8"},
                "data-checksums",
                {"auth-host": "scram-sha-256"},
                {"auth-local": "trust"},
            ],
        },
        "postgresql": {
            "bin_dir": "/usr/lib/postgresql/17/bin",
            "pgpass": "/tmp/pgpass",  # noqa: S108 - a path inside the pod
            "parameters": {"unix_socket_directories": "/var/run/postgresql"},
            "pg_hba": [
                "local all all trust",
                "host replication standby all scram-sha-256",
                "host all all all scram-sha-256",
            ],
        },
    }
    return _object("v1", "ConfigMap", f"{NAME}-file", data={"patroni.yml": json.dumps(content)})


def _service() -> Object:
    spec = {"selector": LABELS | {"role": "primary"}, "ports": [{"name": "postgresql", "port": 5432, "targetPort": 5432}]}
    return _object("v1", "Service", SERVICE, spec=spec)


def _headless() -> Object:
    ports = [{"name": "postgresql", "port": 5432}, {"name": "patroni", "port": 8008}]
    return _object("v1", "Service", NAME, spec={"clusterIP": "None", "selector": LABELS, "ports": ports})


def _stateful_set() -> Object:
    template = {
        "metadata": {"labels": LABELS},
        "spec": {
            "serviceAccountName": NAME,
            "enableServiceLinks": False,
            "securityContext": pod_security(_UID),
            "topologySpreadConstraints": spread(LABELS, hard=True),
            "containers": [_container()],
            "volumes": [
                {"name": "file", "configMap": {"name": f"{NAME}-file"}},
                {"name": "run", "emptyDir": {}},
                {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "labels": LABELS},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    spec = {
        "replicas": REPLICAS,
        "serviceName": NAME,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": LABELS},
        "template": template,
        "volumeClaimTemplates": [claim],
    }
    return _object("apps/v1", "StatefulSet", NAME, spec=spec)


def _container() -> dict[str, Any]:
    def env(name: str, value: str) -> dict[str, Any]:
        return {"name": name, "value": value}

    def password(name: str) -> dict[str, Any]:
        return {"name": name, "valueFrom": {"secretKeyRef": {"name": NAME, "key": "password"}}}

    return {
        "name": POSTGRES,
        "image": Images().postgres,
        "imagePullPolicy": "IfNotPresent",
        "command": ["patroni"],
        "args": ["/etc/patroni/patroni.yml"],
        "env": [
            field_env("POD_IP", "status.podIP"),
            field_env("PATRONI_NAME", "metadata.name"),
            field_env("PATRONI_KUBERNETES_NAMESPACE", "metadata.namespace"),
            field_env("PATRONI_KUBERNETES_POD_IP", "status.podIP"),
            env("PATRONI_KUBERNETES_USE_ENDPOINTS", "false"),
            env("PATRONI_KUBERNETES_LABELS", json.dumps(LABELS)),
            env("PATRONI_KUBERNETES_LEADER_LABEL_VALUE", "primary"),
            env("PATRONI_SCOPE", NAME),
            env("PATRONI_SUPERUSER_USERNAME", "postgres"),
            password("PATRONI_SUPERUSER_PASSWORD"),
            env("PATRONI_REPLICATION_USERNAME", "standby"),
            password("PATRONI_REPLICATION_PASSWORD"),
            env("PATRONI_POSTGRESQL_DATA_DIR", f"{_DATA}/pgdata"),
            env("PATRONI_POSTGRESQL_LISTEN", "0.0.0.0:5432"),
            env("PATRONI_POSTGRESQL_CONNECT_ADDRESS", "$(POD_IP):5432"),
            env("PATRONI_RESTAPI_LISTEN", "0.0.0.0:8008"),
            env("PATRONI_RESTAPI_CONNECT_ADDRESS", "$(POD_IP):8008"),
            env("HOME", "/tmp"),  # noqa: S108
        ],
        "ports": [{"name": "postgresql", "containerPort": 5432}, {"name": "patroni", "containerPort": 8008}],
        "readinessProbe": http_probe("/readiness", 8008, period=10, failures=3, timeout=5) | {"initialDelaySeconds": 3},
        "livenessProbe": http_probe("/liveness", 8008, period=10, failures=3, timeout=5) | {"initialDelaySeconds": 30},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "data", "mountPath": _DATA},
            {"name": "file", "mountPath": "/etc/patroni", "readOnly": True},
            {"name": "run", "mountPath": "/var/run/postgresql"},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
        ],
    }
