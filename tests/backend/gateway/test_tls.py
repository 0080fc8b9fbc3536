"""TLS: HTTP leads to HTTPS, HTTP/2 is offered, and a certificate is renewed under the feet of a running gateway."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509

from baas_operator.desired.instance.gateway import GatewaySpec, Route, Upstream
from tests.backend.gateway.conftest import Build, World, routes
from tests.backend.gateway.harness.certificates import certificate
from tests.backend.gateway.harness.envoy import echo_of_protocol, until
from tests.backend.gateway.harness.load import ask, load
from tests.jetstream.harness.servers import free_ports

TLS = GatewaySpec(replicas=1, tls=True)
OWN = ("shop-gateway", "shop-gateway.prod", "shop-gateway.prod.svc", "shop-gateway.prod.svc.cluster.local")


def _serial(pem: str) -> int:
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def _shown(world: World, *protocols: str) -> tuple[int, str | None]:
    """Serial number of the certificate and protocol that a handshake gives."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    with socket.create_connection(("127.0.0.1", world.gateway.given.ports.https), timeout=5) as plain, context.wrap_socket(plain) as made:
        found = made.getpeercert(binary_form=True)
        assert found
        return x509.load_der_x509_certificate(found).serial_number, made.selected_alpn_protocol()


@pytest.mark.parametrize("hosts", [(), ("api.shop.example",)])
async def test_plain_http_leads_to_https_with_method_and_path(build: Build, hosts: tuple[str, ...]) -> None:
    world = await build(spec=TLS, certificate=certificate(), hosts=hosts, own_hosts=OWN)
    http, https = world.gateway.given.ports.http, world.gateway.given.ports.https
    # Whoever names the port of HTTP is led to that of HTTPS; else there is none to change, nor does anybody say that it came by HTTPS.
    leads = {
        f"127.0.0.1:{http}": f"127.0.0.1:{https}", f"api.shop.example:{http}": f"api.shop.example:{https}",
        "api.shop.example": "api.shop.example", "api.shop.example:80": "api.shop.example", f"x{OWN[2]}:{http}": f"x{OWN[2]}:{https}",
        f"{OWN[0]}.other.svc": f"{OWN[0]}.other.svc", OWN[2].replace("-", "x"): OWN[2].replace("-", "x"),
    }  # fmt: skip
    for method in ("GET", "POST"):
        for host, leads_to in leads.items():
            headers = world.anon | {"host": host, "x-forwarded-proto": "https"}
            answer = await ask(world.session, method, f"{world.gateway.url}/rest/v1/notes?a=1", headers=headers, allow_redirects=False)
            assert (answer.status, answer.headers.get("location")) == (308, f"https://{leads_to}/rest/v1/notes?a=1"), host
    assert world.seen == 0
    assert (await ask(world.session, "GET", f"{world.gateway.health_url}/ready")).status == 200
    for headers, status in ((world.anon, 200), ({}, 401)):
        to = {"headers": headers | {"host": "api.shop.example"}, "ssl": False}
        assert (await ask(world.session, "GET", f"{world.gateway.tls_url}/rest/v1/notes", **to)).status == status


async def test_nobody_is_led_to_https_before_all_gateways_listen_there(build: Build) -> None:
    world = await build(spec=replace(TLS, redirects=False), certificate=certificate())
    plain, tls = f"{world.gateway.url}/rest/v1/notes", f"{world.gateway.tls_url}/rest/v1/notes"
    for url in (plain, tls):
        answer = await ask(world.session, "GET", url, headers=world.anon, allow_redirects=False, ssl=False)
        assert answer.status == 200, url


@pytest.mark.parametrize("hosts", [(), ("api.shop.example",)])
async def test_who_is_inside_the_cluster_calls_the_service_by_plain_http(build: Build, hosts: tuple[str, ...]) -> None:
    world = await build(spec=TLS, certificate=certificate(), hosts=hosts, own_hosts=OWN)
    for name in (*OWN, OWN[2].upper()):
        for host in (name, f"{name}:{world.gateway.given.ports.http}"):
            for method in ("GET", "POST"):
                headers = world.anon | {"host": host}
                answer = await ask(world.session, method, f"{world.gateway.url}/rest/v1/notes", headers=headers, allow_redirects=False)
                assert answer.status == 200, host
    for headers in ({}, {"apikey": "let me in"}):
        told = await ask(world.session, "GET", f"{world.gateway.url}/rest/v1/notes", headers=headers | {"host": OWN[2]})
        assert told.status == 401, "the same is asked for"
    async with world.session.ws_connect(
        f"{world.gateway.url}/realtime/v1/socket?apikey={world.key.token('anon')}", headers={"host": OWN[2]}
    ) as socket:
        await socket.send_str("hello")
        assert (await socket.receive(timeout=5)).data == "other heard hello"
    answer = await ask(world.session, "GET", f"{world.gateway.tls_url}/rest/v1/notes", headers=world.anon | {"host": OWN[2]}, ssl=False)
    assert answer.status == 200


async def test_http2_is_offered_and_old_tls_is_not(build: Build) -> None:
    world = await build(spec=TLS, certificate=certificate())
    assert (await asyncio.to_thread(_shown, world, "h2", "http/1.1"))[1] == "h2"
    assert (await asyncio.to_thread(_shown, world, "http/1.1"))[1] == "http/1.1"
    old = ["-k", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]
    with pytest.raises(subprocess.CalledProcessError) as refused:
        await asyncio.to_thread(_curl, f"{world.gateway.tls_url}/rest/v1/notes", *old)
    assert refused.value.returncode == 35  # curl: SSL connect error
    said = await asyncio.to_thread(_curl, f"{world.gateway.tls_url}/rest/v1/notes", "-k", "-H", f"apikey: {world.anon['apikey']}")
    assert said == "2 200"


def _curl(url: str, *words: str) -> str:
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--max-time", "10", *words, url]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def test_http2_without_tls_is_spoken_too_and_stays_http2_for_grpc(build: Build, tmp_path: Path) -> None:
    other = Upstream("grpc", "127.0.0.1", free_ports(1)[0], 0, "/", priority=2)
    other = replace(other, health_port=other.port)
    world = await build(
        routes=(*routes(), Route("/orders/", "grpc", "api-key", rewrite="/orders/", grpc=True)), more=(other,)
    )  # fmt: skip
    words = ["-H", f"apikey: {world.anon['apikey']}"]
    with echo_of_protocol(tmp_path, other.port):
        await until(lambda: _heard(world, words) == "HTTP/2", seconds=10, what="HTTP/2 reaches the component", told=world.gateway.log)
        assert await asyncio.to_thread(_curl, f"{world.gateway.url}/rest/v1/x", "--http2-prior-knowledge", *words) == "2 200"
        assert await asyncio.to_thread(_curl, f"{world.gateway.url}/orders/List", "--http2-prior-knowledge") == "2 401"


def _heard(world: World, words: list[str]) -> str:
    """The protocol that the component was spoken to in."""
    command = ["curl", "-s", "--http2-prior-knowledge", "--max-time", "5", *words, f"{world.gateway.url}/orders/List"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


async def test_a_renewed_certificate_is_shown_without_a_failed_request(build: Build) -> None:
    first, second = certificate(), certificate()
    world = await build(spec=TLS, certificate=first)
    assert (await asyncio.to_thread(_shown, world, "http/1.1"))[0] == _serial(first["tls.crt"])
    url = f"{world.gateway.tls_url}/rest/v1/notes"
    async with load(url, headers=world.anon, reads=30, writes=10, verify=False) as made:
        await asyncio.sleep(0.5)
        world.gateway.certificate.write(second)

        async def renewed() -> bool:
            return (await asyncio.to_thread(_shown, world, "http/1.1"))[0] == _serial(second["tls.crt"])

        await until(renewed, seconds=2, what="the new certificate", told=world.gateway.log)
        await asyncio.sleep(0.5)
    assert not made.bad(), made.bad()[:3]


async def test_a_certificate_that_comes_after_the_gateway_is_taken_up(build: Build) -> None:
    """As cert-manager makes it, or whoever mistyped its name. Envoy is told by one move of a symlink, before the names are there."""
    made = certificate()
    world = await build(spec=replace(TLS, redirects=False), certificate={})
    answer = await ask(world.session, "GET", f"{world.gateway.url}/rest/v1/notes", headers=world.anon)
    assert answer.status == 200, "by plain HTTP it serves"
    await asyncio.to_thread(world.gateway.certificate.write, made, pause=1.0)

    async def shown() -> bool:
        try:
            return (await asyncio.to_thread(_shown, world, "http/1.1"))[0] == _serial(made["tls.crt"])
        except OSError:
            return False

    await until(shown, seconds=5, what="the certificate", told=world.gateway.log)
