"""A whole backend: what the operator would make of a spec, as processes on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.database import names as database_names
from baas_operator.desired.images import Images
from baas_operator.desired.instance import names
from baas_operator.desired.instance.component import Component
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.keys import API_KEYS
from baas_operator.desired.instance.supabase import SUPABASE
from baas_operator.desired.meta import Owner
from baas_operator.engine.generate import complete
from tests.backend.harness import objects
from tests.backend.harness.keys import KeySet
from tests.backend.harness.objects import ObjectStore
from tests.backend.harness.process import Process
from tests.backend.harness.programs import CLIENTS, FUNCTIONS, REPOSITORY, client_folder, deno, postgres_meta, program, standin_libraries
from tests.backend.harness.router import Router
from tests.jetstream.harness.postgres import Postgres
from tests.jetstream.harness.servers import free_ports

NAME = "shop"
REUSE_SECONDS = 1  # a story waits for it
SPEC = {
    "components": {
        "auth": {"settings": {"GOTRUE_SECURITY_REFRESH_TOKEN_REUSE_INTERVAL": str(REUSE_SECONDS)}},
        "storage": {
            "s3": {"endpoint": "http://127.0.0.1:1", "bucket": objects.BUCKET, "credentials": {"secretName": "files"}},
            "fileSizeLimit": "20Mi",
        },
        "functions": {"configMap": "functions"},
        "meta": {"enabled": True},
        "reads": {"enabled": False},
    }
}
NODE_SECONDS = 120.0


def sys_path(first: Path) -> str:
    """Where a stand-in's modules are: its own libraries before this project's."""
    return f"{first}:{REPOSITORY}"


class Backend:
    """The components, `copies` of each of `auth` and `storage`, before a database and an object store that may be broken."""

    def __init__(self, folder: Path, bin_: Path, *, copies: int = 2, settings: Mapping[str, str] | None = None) -> None:
        self.folder, self._bin, self.copies = folder, bin_, copies
        self.spec = BaasInstanceSpec.model_validate(SPEC)
        self.owner = Owner("BaasInstance", "test", NAME, "0" * 8)
        self.keys = KeySet()
        self.database = Postgres(bin_, folder / "postgres", settings={"max_connections": "200", **(settings or {})})
        self.objects = ObjectStore(folder)
        self.more: dict[str, dict[str, str]] = {}
        """Variables that differ from the operator's, by component."""
        self.processes: dict[str, Process] = {}
        self._ports: dict[str, list[int]] = {}
        self._secrets: dict[str, dict[str, str]] = {"files": {"accessKeyId": objects.ACCESS_KEY, "secretAccessKey": objects.SECRET_KEY}}
        self._jwks = folder / "jwks.json"
        self.functions = folder / "functions"
        self.router: Router

    @property
    def anon(self) -> str:
        return self._secrets[names.api_keys_secret(NAME)]["anon"]

    @property
    def probe(self) -> str:
        return self._secrets[names.api_keys_secret(NAME)]["probe"]

    @property
    def service(self) -> str:
        return self._secrets[names.api_keys_secret(NAME)]["service_role"]

    def of(self, component: str) -> list[Process]:
        """The processes of a component."""
        return [each for name, each in self.processes.items() if name.rsplit("-", 1)[0] == component]

    def urls(self, component: str) -> list[str]:
        """Where they listen."""
        return [f"http://127.0.0.1:{port}" for port in self._ports[component]]

    async def start(self) -> None:
        """All of it, until it is ready."""
        shutil.copytree(CLIENTS / "functions", self.functions)
        self.publish()
        self.issue()
        await asyncio.to_thread(self.database.create)
        self.database.start()
        self.objects.start()
        await self.database.wait()
        for request in SUPABASE.secrets(self.spec, self.owner):
            self._secrets[request.name] = complete(request, {key: secrets.token_urlsafe(24) for key in request.random})
        owner = names.role_secret(NAME, "owner")
        self._secrets[owner] = {"username": names.service_role(NAME, "owner"), "password": secrets.token_urlsafe(24)}
        await asyncio.to_thread(self.bootstrap)
        await self.objects.wait()
        await asyncio.to_thread(self.objects.make_bucket)
        for component in self.components():
            self._make(component)
        for each in self.processes.values():
            each.start()
        await asyncio.gather(*(each.wait() for each in self.processes.values()))
        await self.apply(CLIENTS / "backend.sql")
        self.router = Router(
            SUPABASE.routes(self._given()), {name: self.urls(name) for name in self._ports}, self._published, free_ports(1)[0]
        )
        await self.router.start()
        made = await asyncio.to_thread(self.node, "--prepare")
        assert made.returncode == 0, made.stderr

    async def stop(self) -> None:
        """End it all."""
        if hasattr(self, "router"):
            await self.router.stop()
        for each in [*self.processes.values(), self.objects]:
            each.end(9)
        self.database.stop()

    def components(self) -> list[Component]:
        """What the operator would run."""
        return SUPABASE.components(self._given())

    def publish(self) -> None:
        """Have whoever reads the key set from a file find the one of now."""
        self._jwks.write_text(self.keys.public)

    def issue(self) -> None:
        """API keys, signed by the key that signs now."""
        keys = {name: self.keys.token(role, ref=NAME) for name, role in API_KEYS.items()}
        self._secrets[names.api_keys_secret(NAME)] = keys
        self._secrets[names.signing_key_secret(NAME)] = {"gotrue-keys.json": self.keys.gotrue}

    def bootstrap(self) -> None:
        """Run the SQL that the operator's Job runs, with the passwords where that has them."""
        wanted = SUPABASE.bootstrap(self.spec, self.owner)
        roles = self.folder / "roles"
        for role in wanted.roles:
            (roles / role).mkdir(parents=True, exist_ok=True)
            (roles / role / "password").write_text(self._secrets[names.role_secret(NAME, role)]["password"])
        sql = self.folder / "bootstrap.sql"
        sql.write_text(wanted.sql.replace("/etc/baas/roles", str(roles)))
        self.psql(sql, user="postgres", database="postgres")

    def psql(self, file: Path, *, user: str, database: str = names.sql_name(NAME)) -> None:
        """Run a file of SQL; an error in it is one here."""
        command = [
            self._bin / "psql", "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.database.port),
            "-U", user, "-d", database, "-f", file,
        ]  # fmt: skip
        libraries = {"LD_LIBRARY_PATH": str(self._bin.parent / "lib"), "PATH": os.environ["PATH"]}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=libraries, check=False)
        assert done.returncode == 0, done.stderr

    async def apply(self, file: Path) -> None:
        """Run a file of SQL as the owner of the database, and wait until PostgREST has heard of it."""
        await asyncio.to_thread(self.psql, file, user=names.service_role(NAME, "owner"))
        await asyncio.sleep(0.5)
        await asyncio.gather(*(each.wait() for each in self.of("rest")))

    async def connect(self, user: str = "postgres") -> Any:
        """A connection to the backend's database."""
        return await asyncpg.connect(host="127.0.0.1", port=self.database.port, user=user, database=names.sql_name(NAME), timeout=5)

    def node(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run backend.mjs."""
        with self.playing(*words, **environment) as process:
            out, error = process.communicate(timeout=NODE_SECONDS)
        return subprocess.CompletedProcess(words, process.returncode, out, error)

    def playing(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """backend.mjs, while it runs."""
        env = {"PATH": os.environ["PATH"], "URL": self.router.url, "ANON": self.anon, "SERVICE": self.service}
        env |= {"REUSE_SECONDS": str(REUSE_SECONDS), **environment}
        command = ["node", "--no-warnings", "backend.mjs", *words]
        return subprocess.Popen(command, cwd=client_folder(), env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def environment(self, component: Component) -> dict[str, str]:
        """The variables of a component as the operator has them, with what is in its Secrets."""
        said = {key: self._secrets[secret][name] for key, (secret, name) in component.secret_env.items()} | dict(component.env)
        return {key: self._here(value) for key, value in said.items()} | self.more.get(component.name, {})

    def _here(self, value: str) -> str:
        """What leads to the cluster leads here instead; this PostgreSQL speaks no TLS, and is there without a pooler."""
        database = names.database_name(NAME, self.spec)
        for service in (database_names.rw_service(database), database_names.pooler_service(database)):
            there = f"{service}.{self.owner.namespace}.svc:{database_names.POSTGRES_PORT}"
            value = value.replace(there, f"127.0.0.1:{self.database.port}")
        return re.sub(r"sslmode=[a-z-]+", "sslmode=disable", value)

    def _given(self) -> Given:
        return Given(self.owner, self.spec, Images(), self.keys.public, self.keys.kids)

    def _published(self) -> dict[str, Any]:
        return dict(json.loads(self._jwks.read_text()))

    def _make(self, component: Component) -> None:
        copies = self.copies if component.name in ("auth", "storage", "rest") else 1
        self._ports[component.name] = []
        for index in range(copies):
            port, probes = free_ports(2)
            self._ports[component.name].append(port)
            name = f"{component.name}-{index}"
            self.processes[name] = self._process(name, component, port, probes)

    def _process(self, name: str, component: Component, port: int, probes: int) -> Process:
        environment = self.environment(component)
        match component.name:
            case "rest":
                uri = self._here(self._secrets[names.role_secret(NAME, "authenticator")]["uri"])
                own = {
                    "PGRST_DB_URI": uri, "PGRST_JWT_SECRET": f"@{self._jwks}", "PGRST_SERVER_PORT": str(port),
                    "PGRST_SERVER_HOST": "127.0.0.1", "PGRST_ADMIN_SERVER_PORT": str(probes),
                }  # fmt: skip
                command: list[str | Path] = [program("postgrest", "postgrest")]
                ready = f"http://127.0.0.1:{probes}/ready"
            case "auth" | "storage":
                own = {"GOTRUE_API_PORT": str(port), "GOTRUE_API_HOST": "127.0.0.1"} if component.name == "auth" else {
                    "SERVER_PORT": str(port), "SERVER_HOST": "127.0.0.1", "STORAGE_S3_ENDPOINT": self.objects.endpoint,
                }  # fmt: skip
                own["PYTHONPATH"] = sys_path(standin_libraries())
                command = [REPOSITORY / ".venv/bin/python", "-m", f"tests.standins.{component.name}"]
                ready = f"http://127.0.0.1:{port}{component.readiness['httpGet']['path']}"
            case "functions":
                own = {
                    "FUNCTIONS_PORT": str(port), "FUNCTIONS_HEALTH_PORT": str(probes), "FUNCTIONS_HOST": "127.0.0.1", "NO_COLOR": "1",
                    "FUNCTIONS_FOLDER": str(self.functions), "JWKS_FILE": str(self._jwks), "DENO_DIR": str(self.folder / "deno"),
                }  # fmt: skip
                command = [deno(), *_entry_point(self.functions, self._jwks), component.args[0], FUNCTIONS / "main.ts"]
                ready = f"http://127.0.0.1:{probes}{component.readiness['httpGet']['path']}"
            case "meta":
                own = {
                    "PG_META_HOST": "127.0.0.1", "PG_META_PORT": str(port), "PG_META_DB_HOST": "127.0.0.1",
                    "PG_META_DB_SSL_MODE": "disable",
                    "PG_META_DB_PORT": str(self.database.port), "PG_META_DB_PASSWORD_FILE": str(self.folder / "roles/owner/password"),
                    "CRYPTO_KEY_FILE": str(self._file("crypto", self._secrets[names.service_secret(NAME, "meta")]["secret"])),
                }  # fmt: skip
                command = ["node", postgres_meta() / "dist/server/server.js"]
                ready = f"http://127.0.0.1:{port}{component.readiness['httpGet']['path']}"
            case other:
                raise AssertionError(f"no program for {other}")
        where = postgres_meta() if component.name == "meta" else REPOSITORY
        return Process(name, command, self.folder, environment=environment | own, ready=ready, where=where)

    def _file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path


def _entry_point(*readable: Path) -> list[str]:
    """The words of the functions' image, with this machine's folders in the place of its own."""
    words = re.search(r"^ENTRYPOINT (\[.*?\])$", (REPOSITORY / "images/functions/Dockerfile").read_text().replace("\\\n", ""), re.M)
    assert words
    folders = ",".join(str(each) for each in (*readable, FUNCTIONS))
    return [
        re.sub(r"^--allow-read=.*", f"--allow-read={folders}", each)
        for each in json.loads(words[1])[1:]
        if not each.startswith("--allow-write")
    ]
