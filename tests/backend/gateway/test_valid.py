"""Every kind of configuration, as Envoy itself judges it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from baas_operator.desired.instance.gateway import GatewayInput, GatewaySpec, Limits, Rate, Route, Upstream, gateway_files
from tests.backend.gateway.harness.certificates import certificate
from tests.backend.gateway.harness.envoy import Mount, program
from tests.backend.gateway.harness.keys import ISSUER, Key, key_set
from tests.backend.gateway.harness.static import as_static

REST = Upstream("rest", "shop-rest.shop.svc", 3000, 3001, "/ready", fallback="reads", priority=0, postgrest=True, waits=True)
READS = Upstream("reads", "shop-reads.shop.svc", 3000, 3001, "/ready", priority=0, postgrest=True)
META = Upstream("meta", "shop-meta.shop.svc", 8080, 8080, "/health", priority=3)
PLAIN = GatewayInput(
    upstreams=(REST, READS, META),
    routes=(
        Route("/rest/v1/", "rest", "api-key"),
        Route("/pg/", "meta", "service-key", body_bytes=1000),
        Route("/open", "meta", "public", idempotent_reads=False),
        Route("/socket/", "meta", "upgrade", websocket=True),
        Route("/rpc/", "meta", "api-key", grpc=True),
    ),
    jwks=key_set(Key("one"), Key("two")),
    issuer=ISSUER,
)
EVERY_LIMIT = Limits(total=Rate(100, 200), per_key=Rate(10, 20), per_address=Rate(1, 1))
VARIANTS = {
    "plain": PLAIN,
    "without reads": replace(PLAIN, upstreams=(replace(REST, fallback=None), META)),
    "one route": replace(PLAIN, upstreams=(META,), routes=(Route("/parse/", "meta", "public"),)),
    "hosts": replace(PLAIN, hosts=("api.shop.example", "*.shop.example")),
    "every limit": replace(PLAIN, spec=GatewaySpec(limits=EVERY_LIMIT)),
    "one limit": replace(PLAIN, spec=GatewaySpec(limits=Limits(per_key=Rate(10, 20)))),
    "origins": replace(PLAIN, spec=GatewaySpec(cors_origins=("https://shop.example", "http://localhost:3000"))),
    "tracing": replace(PLAIN, spec=GatewaySpec(tracing="otel-collector.tracing.svc:4317")),
    "TLS": replace(PLAIN, spec=GatewaySpec(tls=True)),
    "drain": replace(PLAIN, drain_key="0123456789abcdef"),
    "everything": replace(
        PLAIN,
        hosts=("api.shop.example",),
        drain_key="0123",
        spec=GatewaySpec(limits=EVERY_LIMIT, tls=True, tracing="otel:4317", trusted_hops=1),
    ),
}  # fmt: skip


def _validate(given: GatewayInput, folder: Path) -> subprocess.CompletedProcess[str]:
    Mount(folder / "tls").write(certificate())
    given = replace(given, tls_folder=str(folder / "tls"))
    (folder / "static.yaml").write_text(as_static(gateway_files(given), given.folder))
    return subprocess.run(
        [program(), "--mode", "validate", "-c", folder / "static.yaml", "--log-level", "warning"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_envoy_takes_it_and_warns_of_nothing(variant: str, tmp_path: Path) -> None:
    said = _validate(VARIANTS[variant], tmp_path)
    assert said.returncode == 0, said.stderr[-3000:]
    assert "Deprecated" not in said.stderr, said.stderr[:3000]
    assert "warning" not in said.stderr, said.stderr[:3000]


def test_the_judge_sees_what_is_wrong_in_any_file(tmp_path: Path) -> None:
    files = gateway_files(PLAIN)
    for name in files:
        broken = files | {name: json.dumps(json.loads(files[name]) | {"no_such_field": 1})}
        if "resources" in json.loads(files[name]):
            wrong = json.loads(files[name])
            wrong["resources"][0]["no_such_field"] = 1
            if name.startswith("filter-"):
                wrong["resources"][0]["typed_config"]["no_such_field"] = 1
            broken = files | {name: json.dumps(wrong)}
        (tmp_path / "static.yaml").write_text(as_static(broken, PLAIN.folder))
        said = subprocess.run(
            [program(), "--mode", "validate", "-c", tmp_path / "static.yaml"], capture_output=True, text=True, check=False
        )
        assert said.returncode != 0, name
        assert "no_such_field" in said.stderr, f"{name}: {said.stderr[-500:]}"
