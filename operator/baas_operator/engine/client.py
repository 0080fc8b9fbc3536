"""The only way to the API server: plain dicts over the official client's asyncio transport.

Its models are left out on purpose: since version 37 they refuse fields that they do not know, and a newer API server has those.
Retries live here and nowhere else. Only requests that are safe to repeat are repeated: reads, and server-side apply, which says
the same thing however often it is said.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from baas_operator.api.kinds import Kind
from baas_operator.desired.meta import Manifest
from baas_operator.engine.errors import ApiError
from baas_operator.engine.store import slim
from baas_operator.telemetry.metrics import WRITES

FIELD_MANAGER = "baas-operator"
USER_AGENT = "baas-operator/0.1.0"
_TIMEOUT_SECONDS = 10.0
PAGE = 25
"""Objects an answer of a list: each may be as large as the API server takes it, 1.5 MiB, and all are in memory at once."""
_PAUSES = wait_exponential_jitter(multiplier=0.1, max=2.0)


async def load_configuration() -> Configuration:
    """Credentials of the pod's service account, or of the user's kubeconfig outside of a cluster."""
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        configuration = Configuration()
        kube_config.load_incluster_config(client_configuration=configuration)
    else:
        configuration = Configuration()
        await kube_config.load_kube_config(client_configuration=configuration)
    return configuration


def _transient(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return error.status in (429, 500, 502, 503, 504)
    return isinstance(error, aiohttp.ClientError | TimeoutError | OSError)


class Client:
    """Requests about objects of a `Kind`. All may raise ApiError, or the transport's error when there is no answer."""

    def __init__(self, configuration: Configuration) -> None:
        self._api = ApiClient(configuration)
        self._api.user_agent = USER_AGENT
        self.may_write: Callable[[], bool] | None = None
        """Asked before every write; while it says no, writes fail. The leader sets it (leader.py)."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._api.close()

    @property
    def api(self) -> ApiClient:
        """The transport, for the library's own leader election."""
        return self._api

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Any = None,
        content_type: str = "application/json", repeat: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """One request; with `repeat` it is sent again, three times at the most, when the server does not answer well."""
        if not repeat:
            return await self._once(method, path, query, body, content_type)
        async for attempt in AsyncRetrying(retry=retry_if_exception(_transient), stop=stop_after_attempt(4), wait=_PAUSES, reraise=True):
            with attempt:
                return await self._once(method, path, query, body, content_type)
        raise AssertionError("unreachable: tenacity reraises")

    async def _once(self, method: str, path: str, query: Mapping[str, str] | None, body: Any, content_type: str) -> dict[str, Any]:
        if method != "GET" and self.may_write is not None and not self.may_write():
            raise ApiError(409, "LeaseTooOld", "the Lease was not renewed in time: another operator may lead by now")
        full = f"{path}?{urlencode(query)}" if query else path
        _, url, headers, payload, _ = await self._api.param_serialize(
            method, full, header_params={"Content-Type": content_type, "Accept": "application/json"}, body=body,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        response = await self._api.call_api(method, url, header_params=headers, body=payload, _request_timeout=_TIMEOUT_SECONDS)
        text = await response.read()
        answer: dict[str, Any] = json.loads(text) if text and text[:1] == b"{" else {}
        if response.status >= 400:
            raise ApiError(response.status, answer.get("reason", response.reason), answer.get("message", text[:300].decode()))
        return answer

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Manifest | None:
        """An object, or None."""
        try:
            return await self.request("GET", kind.path(namespace, name), repeat=True)
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def list(self, kind: Kind, namespace: str | None = None, *, selector: str = "") -> list[Manifest]:
        """What the store keeps (`slim`) of all objects of a kind, page by page."""
        made: list[Manifest] = []
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            answer = await self.request("GET", kind.path(namespace), query=query, repeat=True)
            made += [slim({"apiVersion": kind.api_version, "kind": kind.name, **item}) for item in answer.get("items") or []]
            token = (answer.get("metadata") or {}).get("continue")
            if not token:
                return made
            query["continue"] = token

    async def apply(self, kind: Kind, manifest: Manifest, *, subresource: str | None = None) -> Manifest:
        """Server-side apply, forced: what the manifest says is ours. With a resourceVersion in it, only if it still is that one."""
        metadata = manifest["metadata"]
        WRITES.labels(verb="apply", kind=kind.name).inc()
        return await self.request(
            "PATCH", kind.path(metadata.get("namespace"), metadata["name"], subresource), body=manifest,
            query={"fieldManager": FIELD_MANAGER, "force": "true"}, content_type="application/apply-patch+yaml", repeat=True,
        )  # fmt: skip

    async def create(self, kind: Kind, manifest: Manifest) -> Manifest:
        """Create an object; a conflict if there is one of that name."""
        WRITES.labels(verb="create", kind=kind.name).inc()
        return await self.request(
            "POST", kind.path(manifest["metadata"].get("namespace")), body=manifest, query={"fieldManager": FIELD_MANAGER}
        )

    async def merge(self, kind: Kind, namespace: str | None, name: str, patch: dict[str, Any]) -> Manifest:
        """Merge patch, for single fields of objects that are not ours alone."""
        WRITES.labels(verb="patch", kind=kind.name).inc()
        return await self.request(
            "PATCH", kind.path(namespace, name), body=patch, query={"fieldManager": FIELD_MANAGER},
            content_type="application/merge-patch+json",
        )  # fmt: skip

    async def delete(self, kind: Kind, namespace: str | None, name: str, *, uid: str, foreground: bool = False) -> None:
        """Delete that very object (`uid`), not a newer one of its name. Gone already is fine."""
        WRITES.labels(verb="delete", kind=kind.name).inc()
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Foreground" if foreground else "Background"}
        try:
            await self.request("DELETE", kind.path(namespace, name), body=body)
        except ApiError as error:
            another = error.conflict and error.reason == "Conflict"  # the precondition: one of another uid has its name by now
            if not error.not_found and not another:
                raise
