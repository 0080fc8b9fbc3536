"""The agent's own few requests to the API server, over aiohttp alone: the official client would double the agent's memory."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SECONDS = 3.0
_WATCH_SECONDS = 300


class KubeError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Kube:
    """Requests with the pod's own service account. The token is read anew each time, as the kubelet renews it."""

    def __init__(self, session: aiohttp.ClientSession, host: str, port: str, account: Path = _ACCOUNT) -> None:
        self._session = session
        self._base = f"https://{host}:{port}"
        self._account = account
        self._tls = ssl.create_default_context(cafile=str(account / "ca.crt"))

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self._account / 'token').read_text().strip()}", "User-Agent": "baas-operator-agent"}

    async def get(self, path: str) -> dict[str, Any]:
        """An object.

        Raises:
            KubeError: the server refused, 404 among others. aiohttp.ClientError, TimeoutError: there was no answer.
        """
        return await self._send("GET", path)

    async def merge(self, path: str, patch: Mapping[str, Any]) -> dict[str, Any]:
        """Merge-patch an object; with a resourceVersion in the patch only if it still is that one. Raises as `get`."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return await self._send("PATCH", path, data=json.dumps(patch), headers=headers)

    async def _send(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        headers = self._headers() | more.pop("headers", {})
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with self._session.request(method, self._base + path, headers=headers, ssl=self._tls, timeout=timeout, **more) as response:
            if response.status >= 400:
                raise KubeError(response.status, (await response.text())[:300])
            answer: dict[str, Any] = await response.json(content_type=None)
            return answer

    async def watch(self, collection: str, *, field: str = "", label: str = "") -> AsyncIterator[dict[str, Any]]:
        """The selected objects as they are, then as they become; ends when the server ends the watch. Raises as `get`."""
        selectors = f"fieldSelector={quote(field)}&labelSelector={quote(label)}"
        path = f"{collection}?watch=1&{selectors}&timeoutSeconds={_WATCH_SECONDS}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SECONDS, sock_read=_WATCH_SECONDS + 10)
        async with self._session.get(self._base + path, headers=self._headers(), ssl=self._tls, timeout=timeout) as response:
            if response.status >= 400:
                raise KubeError(response.status, (await response.text())[:300])
            async for line in response.content:
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                    yield event["object"]
