"""The agent's own few requests to the API server, over aiohttp alone: the official client would double the agent's memory."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SECONDS = 3.0
_WATCH_SECONDS = 300
_BUFFER_BYTES = 4 * 2**20
"""aiohttp refuses lines of more than twice this. A ConfigMap of 1 MiB is one of 6 MiB where each of its characters has to be escaped."""


class KubeError(Exception):
    """The API server refused a request."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


def connector() -> aiohttp.TCPConnector:
    """Connections that notice within ten seconds that the other end is gone without a word, as it is when a node loses its power."""

    def made(address: aiohttp.connector.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        found = socket.socket(family, kind, protocol)
        found.setblocking(False)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in ((socket.TCP_KEEPIDLE, 4), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3)):
            found.setsockopt(socket.IPPROTO_TCP, option, value)
        return found

    return aiohttp.TCPConnector(socket_factory=made)


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

    async def list(self, collection: str, *, label: str) -> list[dict[str, Any]]:
        """The selected objects. Raises as `get`."""
        found = await self.get(f"{collection}?labelSelector={quote(label)}")
        return list(found["items"])

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
            try:
                answer: dict[str, Any] = await response.json(content_type=None)
            except ValueError as error:  # a proxy in between; it is no ClientError, and would end the agent
                raise aiohttp.ClientPayloadError(f"what answers is no API server: {error}") from error
            return answer

    async def watch(
        self, collection: str, *, field: str = "", label: str = "", since: int = 0, silent_seconds: float = _WATCH_SECONDS + 10
    ) -> AsyncIterator[dict[str, Any]]:
        """The selected objects as they are (or, with `since`, what happened after that version), then as they become; one that was deleted
        has `deleted`. Ends when the server ends the watch. Raises as `get`; TimeoutError after `silent_seconds` without news; KubeError 410
        when `since` is too old; aiohttp.ClientError for an object that is too long."""
        selectors = f"fieldSelector={quote(field)}&labelSelector={quote(label)}"
        path = f"{collection}?watch=1&{selectors}&timeoutSeconds={_WATCH_SECONDS}" + (f"&resourceVersion={since}" if since else "")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_SECONDS, sock_read=silent_seconds)
        async with self._session.get(
            self._base + path, headers=self._headers(), ssl=self._tls, timeout=timeout, read_bufsize=_BUFFER_BYTES
        ) as response:
            if response.status >= 400:
                raise KubeError(response.status, (await response.text())[:300])
            while line := await _line(response):
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                    yield event["object"] | ({"deleted": True} if event["type"] == "DELETED" else {})
                elif event["type"] == "ERROR":
                    raise KubeError(int(event["object"].get("code") or 500), str(event["object"].get("message"))[:300])


async def _line(response: aiohttp.ClientResponse) -> bytes:
    try:
        return await response.content.readline()
    except HttpProcessingError as error:  # it is no ClientError, and would end the agent
        raise aiohttp.ClientPayloadError(str(error)[:300]) from error
