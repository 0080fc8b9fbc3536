"""Plain NATS on Kubernetes, as its public chart has it: no operator.

The settings are those of nats-io/k8s, `helm/charts/nats` 1.x: `files/config/{config,cluster,jetstream}.yaml`, `files/stateful-set/*.yaml`,
`files/pod-disruption-budget.yaml` and what `test/defaults_test.go` expects to be rendered, with `config.cluster.enabled` and
`config.jetstream.enabled`: lame duck of 30 s with 10 s of grace, a preStop hook that asks for it, three probes, a disruption budget of one,
pods in parallel, the grace period that Kubernetes gives, and `sync_interval` left at the server's own 2 min. What is otherwise here, is
so in its favour or to be comparable: zones (`podTemplate.topologySpreadConstraints`), the image and requests of ours; the reloader, which
only tells the server of a changed configuration, is left out, as its image is in no package registry.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from baas_lab.cluster import Cluster
from baas_lab.errors import LabError
from baas_operator.desired.images import Images
from baas_operator.desired.pods import field_env, spread
from tests.chaos.queue import stream
from tests.chaos.queue.systems import QueueSystem
from tests.chaos.systems import REPLICAS, ROLLOUT_SECONDS, Object

NAME = "nats"
HEADLESS = f"{NAME}-headless"
LABELS = {"app.kubernetes.io/name": NAME, "app.kubernetes.io/instance": NAME, "app.kubernetes.io/component": "nats"}
PID_FILE = "/var/run/nats/nats.pid"
STORAGE = "10Gi"


@dataclass
class PlainNats(QueueSystem):
    """Three servers; whoever publishes makes the stream."""

    @classmethod
    def on(cls, lab: Cluster, namespace: str) -> PlainNats:
        return cls(lab, namespace, NAME, ",".join(f"{key}={value}" for key, value in LABELS.items()), {})

    def manifests(self) -> list[Object]:
        return manifests()

    def deploy(self) -> None:
        super().deploy()
        made = self.create or {}
        for subject, body in (
            (f"$JS.API.STREAM.CREATE.{stream.STREAM}", made["stream"]),
            (f"$JS.API.CONSUMER.DURABLE.CREATE.{stream.STREAM}.{stream.CONSUMER}", made["consumer"]),
        ):
            answer = self.ask(subject, json.loads(body))
            if "error" in answer:
                raise LabError(f"{subject} was refused: {answer['error']}")
        self.wait_whole()

    @property
    def create(self) -> dict[str, str] | None:
        return stream.create()

    def service(self) -> str:
        return NAME

    def access(self, *, admin: bool) -> Object:
        return {}

    def loss_window(self) -> None:
        return None

    def unsettled(self) -> str:
        if unready := self.unready():
            return unready
        made = self.get("pods", "--field-selector", f"metadata.name={self.desk().name}")["items"]
        return self.lagging() if made else ""

    def lagging(self) -> str:
        answer = self.ask(f"$JS.API.STREAM.INFO.{stream.STREAM}")
        gone = (answer.get("error") or {}).get("err_code") == stream.NO_STREAM
        # It is no fault of a copy that there is no stream yet, or none any more.
        return "" if gone else super().lagging()

    def roll(self) -> None:
        where = ("--namespace", self.namespace, "rollout")
        self.lab.kubectl(*where, "restart", f"statefulset/{NAME}")
        words = ("status", f"statefulset/{NAME}", f"--timeout={ROLLOUT_SECONDS:.0f}s")
        self.lab.kubectl(*where, *words, timeout_seconds=ROLLOUT_SECONDS + 10)


def manifests() -> list[Object]:
    """All of it. Pure."""
    return [_config(), _service(), _headless(), _budget(), _stateful_set()]


def _object(api_version: str, kind: str, name: str, **body: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": LABELS}, **body}


def config() -> dict[str, Any]:
    """The servers' configuration. A value that begins with `$` is one of their environment."""
    return {
        "server_name": "$POD_NAME",
        "lame_duck_grace_period": "10s",
        "lame_duck_duration": "30s",
        "pid_file": PID_FILE,
        "port": 4222,
        "http_port": 8222,
        "cluster": {
            "name": NAME,
            "port": 6222,
            "no_advertise": True,
            "routes": [f"nats://{NAME}-{index}.{HEADLESS}:6222" for index in range(REPLICAS)],
        },
        "jetstream": {"max_memory_store": 0, "store_dir": "/data", "max_file_store": STORAGE},
    }


def _config() -> Object:
    # NATS reads JSON; a variable may not be quoted, nor may a size with a unit (the chart writes both as `<< >>`).
    text = json.dumps(config(), indent=2).replace('"$POD_NAME"', "$POD_NAME").replace(f'"{STORAGE}"', STORAGE)
    return _object("v1", "ConfigMap", f"{NAME}-config", data={"nats.conf": text})


def _port(name: str, port: int) -> Object:
    return {"name": name, "port": port, "targetPort": name}


def _service() -> Object:
    return _object("v1", "Service", NAME, spec={"selector": LABELS, "ports": [_port("nats", 4222)]})


def _headless() -> Object:
    ports = [_port("nats", 4222), _port("cluster", 6222), _port("monitor", 8222)]
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": LABELS, "ports": ports}
    return _object("v1", "Service", HEADLESS, spec=spec)


def _budget() -> Object:
    return _object("policy/v1", "PodDisruptionBudget", NAME, spec={"maxUnavailable": 1, "selector": {"matchLabels": LABELS}})


def _stateful_set() -> Object:
    template = {
        "metadata": {"labels": LABELS},
        "spec": {
            "enableServiceLinks": False,
            "topologySpreadConstraints": spread(LABELS, hard=True),
            "containers": [_container()],
            "volumes": [{"name": "config", "configMap": {"name": f"{NAME}-config"}}, {"name": "pid", "emptyDir": {}}],
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{NAME}-js"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": STORAGE}}},
    }
    spec = {
        "replicas": REPLICAS,
        "serviceName": HEADLESS,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": LABELS},
        "template": template,
        "volumeClaimTemplates": [claim],
    }
    return _object("apps/v1", "StatefulSet", NAME, spec=spec)


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "monitor"},
        "initialDelaySeconds": 10,
        "timeoutSeconds": 5,
        "periodSeconds": period,
        "successThreshold": 1,
        "failureThreshold": failures,
    }


def _container() -> dict[str, Any]:
    return {
        "name": "nats",
        "image": Images().nats,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--config", "/etc/nats-config/nats.conf"],
        "env": [field_env("POD_NAME", "metadata.name"), {"name": "SERVER_NAME", "value": "$(POD_NAME)"}],
        "ports": [
            {"name": "nats", "containerPort": 4222},
            {"name": "cluster", "containerPort": 6222},
            {"name": "monitor", "containerPort": 8222},
        ],
        "lifecycle": {"preStop": {"exec": {"command": ["nats-server", f"-sl=ldm={PID_FILE}"]}}},
        "startupProbe": _probe("/healthz", period=10, failures=90),
        "readinessProbe": _probe("/healthz?js-server-only=true", period=10, failures=3),
        "livenessProbe": _probe("/healthz?js-enabled-only=true", period=30, failures=3),
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/nats-config"},
            {"name": "pid", "mountPath": "/var/run/nats"},
            {"name": f"{NAME}-js", "mountPath": "/data"},
        ],
    }
