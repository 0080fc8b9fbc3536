"""A real object store for tests: SeaweedFS, one pod, in the namespace of who uses it."""

from __future__ import annotations

import json
from typing import Any

NAME = "s3"
PORT = 8333
BUCKET = "files"
SECRET = "s3-login"
ACCESS_KEY = "tests"
IMAGE = "chrislusf/seaweedfs:4.48"


def endpoint(namespace: str) -> str:
    """Its URL inside the cluster."""
    return f"http://{NAME}.{namespace}.svc:{PORT}"


def object_store(secret_key: str) -> list[dict[str, Any]]:
    """Its objects; `secret_key` goes with `ACCESS_KEY`. The bucket is made by `make_bucket`."""
    labels = {"app": NAME}
    identities = {
        "identities": [{
            "name": "tests", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]
    }  # fmt: skip
    command = [
        "weed", "server", "-dir=/data", "-ip.bind=0.0.0.0", "-master.volumeSizeLimitMB=64", "-volume.max=20", "-filer", "-s3",
        "-s3.config=/etc/s3/s3.json", f"-s3.port={PORT}",
    ]  # fmt: skip
    container = {
        "name": "weed", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": command,
        "ports": [{"name": "s3", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/status", "port": PORT}, "periodSeconds": 2},
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"}, {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the pod
            {"name": "login", "mountPath": "/etc/s3", "readOnly": True},
        ],
    }  # fmt: skip
    spec = {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [
            {"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}},
            {"name": "login", "secret": {"secretName": SECRET, "items": [{"key": "s3.json", "path": "s3.json"}]}},
        ],
    }  # fmt: skip
    login = {"accessKeyId": ACCESS_KEY, "secretAccessKey": secret_key, "s3.json": json.dumps(identities)}
    return [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "stringData": login},
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": NAME},
            "spec": {"selector": labels, "ports": [{"name": "s3", "port": PORT, "targetPort": PORT}]},
        },
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": NAME},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": labels}, "strategy": {"type": "Recreate"},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        },
    ]  # fmt: skip


def make_bucket() -> list[str]:
    """The command, in its pod, that makes the bucket."""
    return ["sh", "-c", f"echo 's3.bucket.create -name {BUCKET}' | weed shell"]
