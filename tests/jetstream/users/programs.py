"""Pods of workers as the operator makes them: their variables, and their files out of the very Secrets and ConfigMaps that the manifests
name. Only addresses and the folder are the test's own."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.api.kinds import BAAS_INSTANCE
from baas_operator.desired.images import Images
from baas_operator.desired.instance.build import InstanceFacts, build_instance, instance_secrets
from baas_operator.desired.meta import Manifest, Owner
from baas_operator.desired.queue.build import queue_secrets
from baas_operator.engine.generate import build_secret
from tests.jetstream.users.secured import Secured

REPOSITORY = Path(__file__).resolve().parents[3]
CREDENTIALS = "/etc/baas/credentials"


class StandInGateway:
    """A stand-in for a backend's gateway: it notes what it is asked, and answers as `status` and `answers` say."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.status, self.begun = 204, 0
        self.url = ""
        self.hold: Any = None

    async def _handle(self, request: web.Request) -> web.Response:
        self.begun += 1
        if self.hold is not None:
            await self.hold.wait()
        self.asked.append((request.method, request.path_qs, {key.lower(): value for key, value in request.headers.items()}))
        return web.Response(status=self.status)

    async def start(self) -> None:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert self._runner.addresses
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()


class WorkerPod:
    """The Deployment of a worker, and processes that stand for its pods. The queue's Secrets have the logins of its servers."""

    def __init__(self, servers: Secured, folder: Path, instance: str, spec: Mapping[str, Any], name: str, gateway: str) -> None:
        self._servers, self.folder = servers, folder
        self._owner = Owner(BAAS_INSTANCE.name, servers.owner.namespace, instance, "uid")
        self._spec = BaasInstanceSpec.model_validate(spec)
        made = build_instance(self._spec, self._owner, Images(), InstanceFacts(jwks="{}"))
        self._objects = {(each["kind"], each["metadata"]["name"]): each for each in made}
        self._pod: Manifest = self._objects["Deployment", f"{instance}-worker-{name}"]["spec"]["template"]["spec"]
        self._keys: dict[str, dict[str, str]] = {}
        self._draw_keys()
        (port,) = servers.client_ports.values()
        (container,) = self._pod["containers"]
        self.environment = {each["name"]: each["value"] for each in container["env"]} | {
            "BAAS_CREDENTIALS": str(folder), "BAAS_QUEUE_URL": f"tls://localhost:{port}", "BAAS_GATEWAY_URL": gateway,
        }  # fmt: skip
        assert [each["mountPath"] for each in container["volumeMounts"] if each["name"] == "credentials"] == [CREDENTIALS]
        self.mount()

    def _draw_keys(self) -> None:
        signing = None
        for request in instance_secrets(self._spec, self._owner):
            if request.recipe in ("signing-key", "api-keys"):
                drawn = build_secret(request, source=signing, now=int(time.time()))
                signing = signing or drawn
                self._keys[request.name] = drawn["data"]

    def _data(self, source: Manifest) -> Mapping[str, str]:
        if "configMap" in source:
            found: Mapping[str, str] = self._objects["ConfigMap", source["configMap"]["name"]]["data"]
            return found
        name = source["secret"]["name"]
        if name in self._keys:
            return {key: base64.b64decode(text).decode() for key, text in self._keys[name].items()}
        requests = queue_secrets(self._servers.spec, self._servers.owner, self._servers.authority[0])
        (request,) = (each for each in requests if each.name == name)
        (login, *_) = self._servers.logins[request.fixed["username"]]
        return request.extra | {"username": login.username, "password": login.password}

    def mount(self) -> None:
        """Bring the files of the projected volume, as the kubelet would."""
        (volume,) = (each["projected"] for each in self._pod["volumes"] if each["name"] == "credentials")
        for source in volume["sources"]:
            data = self._data(source)
            for item in (source.get("secret") or source["configMap"])["items"]:
                path = self.folder / item["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                new = path.with_suffix(".new")
                new.write_text(data[item["key"]])
                new.replace(path)

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """The example's program, with nothing but this."""
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, str(REPOSITORY / "examples" / "worker.py")],
                env={"PATH": os.environ["PATH"]} | self.environment, stdout=file, stderr=file,
            )  # fmt: skip
