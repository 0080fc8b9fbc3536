"""A backend as its clients see it: the gateway on a port of this machine, API keys, tokens of users, and supabase-js."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import jwt

from tests.e2e.harness.kube import Kube

CLIENTS = Path(__file__).resolve().parents[2] / "clients"
GATEWAY_PORT = 8000
HEALTH_PORT = 8001
ISSUER = "baas-operator"
HTTP_SECONDS = 10.0
NODE_SECONDS = 60.0


@dataclass(frozen=True)
class Keys:
    """What the Secrets of an instance give to clients, and the key that signs its tokens."""

    anon: str
    service_role: str
    private: str
    key_id: str
    algorithm: str

    @classmethod
    def of(cls, kube: Kube, namespace: str, instance: str) -> Keys:
        public = kube.secret(namespace, f"{instance}-api-keys")
        private = kube.secret(namespace, f"{instance}-signing-key")["private.pem"]
        (key,) = json.loads(public["jwks.json"])["keys"]
        return cls(public["anon"], public["service_role"], private, key["kid"], key["alg"])

    def token(self, role: str, *, seconds: float = 600, private: str | None = None, **claims: Any) -> str:
        """A token as the instance's own auth service would sign it; `seconds` until it expires."""
        now = time.time()
        claims = {"iss": ISSUER, "role": role, "iat": int(now), "exp": int(now + seconds), **claims}
        return jwt.encode(claims, private or self.private, algorithm=self.algorithm, headers={"kid": self.key_id})


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    body: str


@dataclass(frozen=True)
class Gateway:
    """One gateway pod, through ports of this machine: port of the pod → port here."""

    ports: dict[int, int]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[GATEWAY_PORT]}"

    def get(self, path: str, **headers: str) -> Answer:
        """GET of exactly this path: most clients would tidy it up first."""
        return self._get(GATEWAY_PORT, path, headers)

    def passed_on(self) -> int:
        """Requests that this gateway has sent to PostgREST so far; health checks do not count."""
        lines = [
            line
            for line in self._get(HEALTH_PORT, "/metrics", {}).body.splitlines()
            if line.startswith("envoy_cluster_upstream_rq_total{") and '"rest"' in line
        ]
        assert len(lines) == 1, lines
        return int(lines[0].rsplit(" ", 1)[1])

    def _get(self, port: int, path: str, headers: dict[str, str]) -> Answer:
        with closing(HTTPConnection("127.0.0.1", self.ports[port], timeout=HTTP_SECONDS)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(errors="replace"))


@contextmanager
def forwarded(kube: Kube, namespace: str, pod: str, *ports: int) -> Iterator[dict[int, int]]:
    """Ports of a pod on loopback: port of the pod → port of this machine."""
    kubectl = [str(kube.lab.bin / "kubectl"), "--kubeconfig", str(kube.lab.kubeconfig), "--namespace", namespace]
    words = [*kubectl, "port-forward", f"pod/{pod}", "--address", "127.0.0.1", *[f":{port}" for port in ports]]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            here = {}
            while len(here) < len(ports):
                line = process.stdout.readline()  # Forwarding from 127.0.0.1:40123 -> 8000
                assert line, f"kubectl port-forward to {pod} ended"
                local, remote = line.removeprefix("Forwarding from 127.0.0.1:").split(" -> ")
                here[int(remote)] = int(local)
            yield here
        finally:
            process.kill()


class SupabaseJs:
    """The real client, in Node. Its packages are those of `tests/clients/package-lock.json`."""

    def __init__(self) -> None:
        lock = CLIENTS / "package-lock.json"
        installed = CLIENTS / "node_modules" / ".package-lock.json"
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=CLIENTS, check=True, timeout=300)

    @cached_property
    def stories(self) -> list[str]:
        """Names of the stories that it can play."""
        return self._node({}).stdout.splitlines()

    def play(self, story: str, gateway: Gateway, keys: Keys, users: dict[str, str]) -> None:
        """Play a story; AssertionError, with what Node said, when it goes otherwise."""
        said = self._node({"URL": gateway.url, "ANON": keys.anon, "SERVICE": keys.service_role, **users}, story)
        assert said.returncode == 0, f"{story}:\n{said.stderr}"

    def _node(self, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["node", "--no-warnings", "stories.mjs", *words],
            cwd=CLIENTS, env={**os.environ, **environment}, capture_output=True, text=True, timeout=NODE_SECONDS, check=False,
        )  # fmt: skip
