"""Who comes in: keys, tokens, roles, paths that try to go around, CORS, and what goes on to a component."""

from __future__ import annotations

import base64
import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from baas_operator.desired.instance.gateway import GatewaySpec
from tests.backend.gateway.conftest import Build, World
from tests.backend.gateway.harness.envoy import until
from tests.backend.gateway.harness.keys import Key, key_set
from tests.backend.harness.confused import confused

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _unsigned(token: str) -> str:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


async def _get(world: World, path: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
    async with world.session.get(f"{world.gateway.url}{path}", headers=headers) as answer:
        return answer.status, await answer.json(), {key.lower(): value for key, value in answer.headers.items()}


async def test_bad_keys_and_bad_tokens_reach_nothing(build: Build, stranger: Key) -> None:
    world = await build()
    anon, service = world.key.token("anon"), world.key.token("service_role")
    changed = ".".join([anon.split(".")[0], service.split(".")[1], anon.split(".")[2]])
    jwks = key_set(world.key)
    bad = {
        "not a JWT": "let me in",
        "a stranger's": stranger.token("service_role"),
        "of an unknown key": Key("other").token("service_role"),
        "without signature": _unsigned(service),
        "expired": world.key.token("anon", seconds=-3600),
        "of another issuer": world.key.token("anon", iss="somebody-else"),
        "changed": changed,
        **{f"an HMAC by {what}": token for what, token in confused(world.key.private, world.key.kid, "service_role", jwks).items()},
    }
    for what, token in bad.items():
        for headers in (
            {"apikey": token},
            {"authorization": f"Bearer {token}"},
            {"apikey": anon, "authorization": f"Bearer {token}"},
            {"apikey": anon, "authorization": f"bearer {token}"},
            {"apikey": token, "authorization": f"Bearer {anon}"},
        ):
            status, body, told = await _get(world, "/rest/v1/notes", **headers)
            assert status == 401, f"{what}, {list(headers)}: {status}"
            assert body["message"], what
            assert body["request_id"] == told["x-request-id"]
    for path in ("/rest/v1/notes", f"/rest/v1/notes?apikey={anon}"):
        status, body, _ = await _get(world, path)
        assert (status, body["message"]) == (401, "There is no API key: send it in the header apikey.")
    assert world.seen == 0

    user = world.key.token("authenticated", sub="alice")
    for good in ({"apikey": anon}, {"authorization": f"Bearer {user}"}, {"apikey": anon, "authorization": f"Bearer {user}"}):
        status, body, _ = await _get(world, "/rest/v1/notes?a=1", **good)
        assert (status, body["by"], body["path"]) == (200, "rest", "/notes?a=1")


async def test_only_the_service_role_comes_to_routes_of_its_own(build: Build) -> None:
    world = await build()
    anon, service = world.key.token("anon"), world.key.token("service_role")
    user = world.key.token("authenticated", sub="alice")
    for refused in (
        {"apikey": anon},
        {"authorization": f"Bearer {user}"},
        {"apikey": service, "authorization": f"Bearer {user}"},
        {"apikey": anon, "x-baas-key-role": "service_role"},
        {"apikey": anon, "x-baas-token-role": "service_role"},
    ):
        assert (await _get(world, "/pg/tables", **refused))[0] == 403, refused
    assert (await _get(world, "/pg/tables"))[0] == 401
    assert world.seen == 0

    for let_in in ({"apikey": service}, {"authorization": f"Bearer {service}"}, {"apikey": anon, "authorization": f"Bearer {service}"}):
        assert (await _get(world, "/pg/tables", **let_in))[0] == 200, let_in


async def test_open_routes_ask_for_nothing_and_the_longest_path_counts(build: Build) -> None:
    world = await build()
    assert (await _get(world, "/other/v1/open/callback"))[1]["path"] == "/open/callback"
    assert (await _get(world, "/.well-known/jwks.json"))[1]["path"] == "/jwks"
    for headers in ({"apikey": "of another"}, {"authorization": "Bearer of.a.component"}, {"apikey": "x", "authorization": "Basic eDp4"}):
        assert (await _get(world, "/other/v1/open/callback", **headers))[0] == 200
    assert (await _get(world, "/other/v1/shut"))[0] == 401
    assert (await _get(world, "/.well-known/jwks.jsonx"))[0] == 404


async def test_no_path_leads_around_the_key(build: Build) -> None:
    world = await build()
    address = urlsplit(world.gateway.url)
    for path in (
        "/rest/v1", "/rest/v1/", "//rest/v1/notes", "/rest//v1/notes", "/rest/v1/../v1/notes", "/REST/v1/notes", "/x/../rest/v1/notes",
        "/rest%2Fv1/notes", "/rest%2fv1%2fnotes", "/other/v1/open/../secret", "/other/v1/open/..%2Fsecret", "/other/v1/open/%2e%2e/secret",
        "/other/v1/open/..%5csecret", "/other/v1/open\\..\\secret", "/pg/../rest/v1/notes", "/other/v1/open/..;/secret", "/./rest/v1/x",
    ):  # fmt: skip
        connection = HTTPConnection(address.hostname or "", address.port)
        connection.request("GET", path)  # exactly so: most clients would tidy it up
        answer = connection.getresponse().read(), connection.close()
        del answer
    for each in (world.rest, world.reads, world.other):
        assert not [path for _, path in each.seen if not path.startswith("/open/")], each.seen


async def test_a_component_sees_no_key_of_the_gateway_and_no_name_is_forged(build: Build) -> None:
    world = await build()
    headers = {
        **world.anon,
        "x-baas-subject": "root",
        "x-baas-token-role": "root",
        "x-baas-key-role": "root",
        "traceparent": TRACE,
        "x-request-id": "from-the-client",
    }
    told = (await _get(world, "/rest/v1/notes", **headers))[2]
    await _get(world, "/other/v1/open/", **headers)
    for seen in (world.rest.headers[0], world.other.headers[0]):
        assert not [name for name in seen if name == "apikey" or name.startswith("x-baas")]
        assert seen["traceparent"] == TRACE
        assert seen["x-request-id"] == "from-the-client"
    assert told["x-request-id"] == "from-the-client"
    assert len((await _get(world, "/rest/v1/notes", **world.anon))[2]["x-request-id"]) == 36


async def test_no_client_changes_how_the_gateway_goes_about_it(build: Build) -> None:
    world = await build()
    world.rest.status = 500
    wishes = {
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "5",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-decorator-operation": "x",
    }
    async with world.session.post(f"{world.gateway.url}/rest/v1/notes?sleep=0.2", headers=world.anon | wishes) as answer:
        assert answer.status == 500
        assert not [name for name in answer.headers if name.lower().startswith("x-envoy")]
    assert len(world.rest.seen) == 1


async def test_websockets_bring_their_key_in_the_query(build: Build, stranger: Key) -> None:
    world = await build()
    url = f"{world.gateway.url}/realtime/v1/socket"
    for query in ("", f"?apikey={stranger.token('anon')}"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await world.session.ws_connect(url + query)
        assert refused.value.status == 401
    async with world.session.ws_connect(f"{url}?apikey={world.key.token('anon')}&vsn=1") as socket:
        await socket.send_str("hello")
        assert (await socket.receive(timeout=5)).data == "other heard hello"


SENT = {
    "supabase-js": "authorization x-client-info apikey content-type x-retry-count traceparent tracestate baggage",  # its cors.ts
    "its libraries": "accept prefer accept-profile content-profile x-supabase-api-version x-region x-upsert x-metadata cache-control "
    "content-encoding",
    "tus-js-client": "tus-resumable upload-length upload-defer-length upload-offset upload-metadata upload-concat x-http-method-override "
    "x-request-id content-type",
    "Parse's": "x-parse-master-key x-parse-rest-api-key x-parse-javascript-key x-parse-application-id x-parse-client-version "
    "x-parse-session-token x-requested-with x-parse-revocable-session x-parse-request-id content-type pragma cache-control "
    "x-parse-upload-mode x-parse-file-directory x-parse-file-metadata x-parse-file-tags x-parse-file-max-upload-size",
}
READ = {
    "auth-js": "x-supabase-api-version x-total-count link",
    "postgrest-js": "content-range retry-after",
    "functions-js": "x-relay-error",
    "storage-js": "content-length",
    "tus-js-client": "location upload-offset upload-length",
    "Parse's": "x-parse-job-status-id x-parse-push-status-id content-length location",
}


async def test_a_browser_may_send_and_read_what_the_client_libraries_do(build: Build) -> None:
    world = await build()
    for who, names in SENT.items():
        asked = {"origin": "https://shop.example", "access-control-request-method": "GET"}
        asked["access-control-request-headers"] = ",".join(names.split())
        async with world.session.options(f"{world.gateway.url}/rest/v1/notes", headers=asked) as answer:
            assert not set(names.split()) - set(answer.headers["access-control-allow-headers"].split(",")), who
    told = (await _get(world, "/rest/v1/notes", **world.anon, origin="https://shop.example"))[2]
    for who, names in READ.items():
        assert not set(names.split()) - set(told["access-control-expose-headers"].split(",")), who


async def test_preflights_are_answered_here_for_allowed_origins_alone(build: Build) -> None:
    world = await build(spec=GatewaySpec(replicas=1, cors_origins=("https://shop.example",)))
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "apikey,prefer"}
    for origin, allowed in (("https://shop.example", True), ("https://evil.example", False)):
        async with world.session.options(f"{world.gateway.url}/rest/v1/notes", headers={"origin": origin, **preflight}) as answer:
            assert (answer.headers.get("access-control-allow-origin") == origin) is allowed
            if allowed:
                assert {"apikey", "prefer", "authorization"} <= set(answer.headers["access-control-allow-headers"].split(","))
    assert world.seen == 0
    # Errors of the gateway can be read by a browser too.
    told = (await _get(world, "/rest/v1/notes", origin="https://shop.example"))[2]
    assert told["access-control-allow-origin"] == "https://shop.example"
    told = (await _get(world, "/rest/v1/notes", **world.anon, origin="https://shop.example"))[2]
    assert "baas-degraded" in told["access-control-expose-headers"]


async def test_a_component_does_not_say_who_may_read_its_answers(build: Build) -> None:
    """As Parse Server does, whose SDK asks without a preflight."""
    world = await build(spec=GatewaySpec(replicas=1, cors_origins=("https://shop.example",)))
    said = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true"}
    for each in (world.rest, world.other):
        each.more_headers = said
    for path in ("/rest/v1/notes", "/other/v1/open/"):
        for origin, may_read in (("https://shop.example", "https://shop.example"), ("https://evil.example", None)):
            headers = world.anon | {"origin": origin, "content-type": "text/plain"}
            async with world.session.post(f"{world.gateway.url}{path}", data=b"{}", headers=headers) as answer:
                assert answer.status == 200
                assert answer.headers.getall("access-control-allow-origin", []) == ([may_read] if may_read else [])
                assert "access-control-allow-credentials" not in answer.headers
        told = (await _get(world, path, **world.anon))[2]
        assert "access-control-allow-origin" not in told, "nobody asked from another origin"


async def test_other_hosts_are_not_served(build: Build) -> None:
    world = await build(hosts=("api.shop.example", "*.shop.test"), own_hosts=("shop-gateway",))
    served = ("api.shop.example", "api.shop.example:8000", "x.shop.test", "shop-gateway")
    for host, status in (*((each, 200) for each in served), ("127.0.0.1", 421)):
        assert (await _get(world, "/rest/v1/notes", **world.anon, host=host))[0] == status, host
    assert (await _get(world, "/nothing", host="api.shop.example"))[0] == 404


async def test_the_access_log_tells_who_and_holds_no_secret(build: Build) -> None:
    world = await build()
    anon, user = world.key.token("anon"), world.key.token("authenticated", sub="alice")
    await _get(world, "/rest/v1/notes?secret=of-the-query", apikey=anon, authorization=f"Bearer {user}")
    async with world.session.ws_connect(f"{world.gateway.url}/realtime/v1/socket?apikey={anon}"):
        pass

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in world.gateway.log().splitlines() if line.startswith("{")]

    await until(lambda: len(lines()) >= 2, seconds=30, what="both requests are logged")  # Envoy writes them every 10 s
    (told,) = [line for line in lines() if line["path"] == "/rest/v1/notes"]
    assert (told["role"], told["key_role"], told["key"], told["status"]) == ("authenticated", "anon", "first", 200)
    for secret in (anon, user, anon.split(".")[2], user.split(".")[1], "of-the-query"):
        assert secret not in world.gateway.log()


async def test_admin_calls_leave_a_trail_also_those_that_are_refused(build: Build) -> None:
    world = await build()
    service, anon = world.key.token("service_role"), world.key.token("anon")
    await _get(world, "/pg/tables", apikey=service, **{"x-request-id": "asked-by-admin"})
    await _get(world, "/pg/tables", apikey=anon)
    await _get(world, "/rest/v1/notes", apikey=anon, authorization=f"Bearer {service}")

    def trail() -> list[tuple[Any, ...]]:
        told = [json.loads(line) for line in world.gateway.log().splitlines() if line.startswith("{")]
        return [(each["path"], each.get("role"), each.get("key_role"), each["key"], each["status"]) for each in told if each["path"] != "/"]

    await until(lambda: len(trail()) >= 3, seconds=30, what="all requests are logged")
    assert trail() == [
        ("/pg/tables", None, "service_role", "first", 200),
        ("/pg/tables", None, "anon", "first", 403),
        ("/rest/v1/notes", "service_role", "anon", "first", 200),
    ]
    assert '"request_id":"asked-by-admin"' in world.gateway.log()
    assert '"client":"127.0.0.1"' in world.gateway.log()
