"""A small client of the API server: dicts in, dicts out, any kind, one kept-alive connection a thread.

Not the operator's own client, on purpose: a test must not look at the cluster through what it tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import urllib3
import yaml

Object = dict[str, Any]

FIELD_MANAGER = "control-plane-tests"
REQUEST_SECONDS = 30.0


class Answer(NamedTuple):
    """Whether the API server took it, what it said when it did not, and the object that it answered with."""

    ok: bool
    message: str
    object: Object


@dataclass(frozen=True)
class Resource:
    """Where the objects of a kind are: `root` is `/api/v1` or `/apis/GROUP/VERSION`."""

    root: str
    plural: str
    namespaced: bool

    def path(self, namespace: str | None, name: str | None = None) -> str:
        where = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{self.root}{where}/{self.plural}" + (f"/{name}" if name else "")


class Api:
    """Requests with the credentials of a kubeconfig that names files (as kwokctl writes it)."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        self.cluster = config["clusters"][0]["cluster"]
        user = config["users"][0]["user"]
        self.server: str = self.cluster["server"]
        self._pool = urllib3.PoolManager(
            ca_certs=self.cluster["certificate-authority"],
            cert_file=user["client-certificate"],
            key_file=user["client-key"],
            maxsize=16,
            retries=False,
            timeout=REQUEST_SECONDS,
        )
        self._resources: dict[str, Resource] = {}

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        accept: str = "application/json",
        content_type: str = "application/json",
        query: dict[str, str] | None = None,
    ) -> tuple[int, Object]:
        """One request; returns HTTP status and the decoded body."""
        response = self._pool.request(
            method,
            f"{self.server}{path}" + (f"?{urlencode(query)}" if query else ""),
            body=None if body is None else json.dumps(body),
            headers={"Accept": accept, "Content-Type": content_type},
        )
        return response.status, json.loads(response.data) if response.data else {}

    def watch(self, path: str, query: dict[str, str]) -> Iterator[Object]:
        """Events of a watch, until the server ends it."""
        response = self._pool.request(
            "GET",
            f"{self.server}{path}?{urlencode(query | {'watch': 'true'})}",
            preload_content=False,
            timeout=urllib3.Timeout(connect=REQUEST_SECONDS, read=None),
        )
        rest = b""
        try:
            for chunk in response.stream(amt=None, decode_content=False):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        finally:
            response.release_conn()

    def resource(self, kind: str) -> Resource:
        """Where objects of `kind` are, by discovery; the core group wins where two groups have a kind of that name."""
        if kind not in self._resources:
            self._resources = self._discover()
        return self._resources[kind]

    def _discover(self) -> dict[str, Resource]:
        found: dict[str, Resource] = {}
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        for path in ("/api", "/apis"):
            _, groups = self.request("GET", path, accept=accept)
            for group in groups["items"]:
                name = group["metadata"].get("name", "")
                version = group["versions"][0]
                root = f"/apis/{name}/{version['version']}" if name else f"/api/{version['version']}"
                for each in version["resources"]:
                    where = Resource(root, each["resource"], each["scope"] == "Namespaced")
                    found.setdefault(each["responseKind"]["kind"], where)
        return found

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """The object, or None when there is none."""
        status, answer = self.request("GET", self.resource(kind).path(namespace, name))
        if status == 404:
            return None
        assert status == 200, answer
        return answer

    def served(self, kind: str) -> bool:
        """Whether objects of a kind can be listed: a new CRD's storage takes a moment after the CRD is established (429)."""
        return self.request("GET", self.resource(kind).path(None))[0] == 200

    def list(self, kind: str, namespace: str | None = None, selector: str = "") -> list[Object]:
        """Objects of a kind, each with its `kind` filled in."""
        query = {"labelSelector": selector} if selector else None
        status, answer = self.request("GET", self.resource(kind).path(namespace), query=query)
        assert status == 200, answer
        return [item | {"kind": kind} for item in answer["items"]]

    def apply(self, manifest: Object, namespace: str | None = None, *, dry_run: bool = False) -> Answer:
        """Server-side apply as `kubectl apply --server-side --force-conflicts` does it: unknown fields are refused."""
        metadata = manifest["metadata"]
        path = self.resource(manifest["kind"]).path(metadata.get("namespace", namespace), metadata["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        return _answer(
            *self.request(
                "PATCH",
                path,
                manifest,
                content_type="application/apply-patch+yaml",
                query=query | ({"dryRun": "All"} if dry_run else {}),
            )
        )

    def must_apply(self, manifest: Object, namespace: str | None = None) -> Object:
        """Apply what can not be refused; returns the object."""
        answer = self.apply(manifest, namespace)
        assert answer.ok, f"{manifest['kind']} {manifest['metadata']['name']}: {answer.message}"
        return answer.object

    def create(self, manifest: Object, namespace: str | None = None) -> Answer:
        """Create as `kubectl create` does it: unknown and duplicate fields are refused."""
        path = self.resource(manifest["kind"]).path(manifest["metadata"].get("namespace", namespace))
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return _answer(*self.request("POST", path, manifest, query=query))

    def replace(self, manifest: Object, namespace: str | None = None) -> Answer:
        """Replace as `kubectl replace` does it: unknown and duplicate fields are refused."""
        metadata = manifest["metadata"]
        path = self.resource(manifest["kind"]).path(metadata.get("namespace", namespace), metadata["name"])
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        return _answer(*self.request("PUT", path, manifest, query=query))

    def patch(self, kind: str, namespace: str | None, name: str, changes: Object) -> Answer:
        """A JSON merge patch, as a person with `kubectl edit` makes it."""
        path = self.resource(kind).path(namespace, name)
        query = {"fieldManager": FIELD_MANAGER}
        content_type = "application/merge-patch+json"
        return _answer(*self.request("PATCH", path, changes, content_type=content_type, query=query))

    def delete_all(self, kind: str, namespace: str) -> None:
        """Delete all objects of a kind in a namespace, finalizers or not; for cleaning up only."""
        for each in self.list(kind, namespace):
            if each["metadata"].get("finalizers"):
                self.patch(kind, namespace, each["metadata"]["name"], {"metadata": {"finalizers": None}})
        self.request("DELETE", self.resource(kind).path(namespace), {"propagationPolicy": "Background"})

    def delete(self, kind: str, namespace: str | None, name: str) -> Answer:
        """Delete as `kubectl delete` does it: in the background."""
        path = self.resource(kind).path(namespace, name)
        return _answer(*self.request("DELETE", path, {"propagationPolicy": "Background"}))


def _answer(status: int, body: Object) -> Answer:
    ok = status < 300
    return Answer(ok, "" if ok else str(body.get("message", body)), body)
