"""Volumes for claims: KWOK has no provisioner, so each claim is given a volume that names it; the real controller binds both."""

from __future__ import annotations

import threading

from tests.harness.api import Api, Object

STORAGE_CLASS = "fake"

CLASS_MANIFEST: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": STORAGE_CLASS,
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": "tests.baas-operator.io/fake",
    "allowVolumeExpansion": True,
}


def serve(api: Api, stopped: threading.Event) -> threading.Thread:
    """Give every claim its volume until `stopped`; the thread ends with the control plane at the latest."""
    thread = threading.Thread(target=_serve, args=(api, stopped), name="volumes", daemon=True)
    thread.start()
    return thread


def _serve(api: Api, stopped: threading.Event) -> None:
    query = {"timeoutSeconds": "3600"}
    try:
        for event in api.watch(api.resource("PersistentVolumeClaim").path(None), query):
            if stopped.is_set():
                return
            claim = event["object"]
            if event["type"] == "ADDED" and claim.get("status", {}).get("phase") == "Pending":
                api.create(_volume(claim))
    except Exception:
        if not stopped.is_set():
            raise


def _volume(claim: Object) -> Object:
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pv-{metadata['uid']}"},
        "spec": {
            "capacity": spec["resources"]["requests"],
            "accessModes": spec["accessModes"],
            "storageClassName": spec["storageClassName"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": "/nowhere"},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
        },
    }
