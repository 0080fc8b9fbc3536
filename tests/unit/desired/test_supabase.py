"""Which parts of the supabase engine there are, and what each is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.images import Images
from baas_operator.desired.instance.component import Component
from baas_operator.desired.instance.engine import Given
from baas_operator.desired.instance.gateway.model import Route
from baas_operator.desired.instance.supabase import SUPABASE
from baas_operator.desired.meta import Owner

OWNER = Owner("BaasInstance", "ns", "my-shop")
JWKS = '{"keys":[]}'
S3 = {"endpoint": "https://s3.example:9000", "bucket": "files", "credentials": {"secretName": "s3"}}
ALL: dict[str, Any] = {"storage": {"s3": S3}, "functions": {"configMap": "code"}, "meta": {"enabled": True}}


def given(components: dict[str, Any] | None = None, **more: Any) -> Given:
    spec = BaasInstanceSpec.model_validate({"components": components or {}, **more})
    return Given(OWNER, spec, Images(), JWKS, ("kid-1",), {"s3": "3"}, ("kid-1", "kid-2"), "kid-2")


def parts(components: dict[str, Any] | None = None, **more: Any) -> dict[str, Component]:
    return {each.name: each for each in SUPABASE.components(given(components, **more))}


def route(path: str, routes: list[Route]) -> tuple[str, str] | None:
    """Access and upstream of the first route that fits."""
    for each in routes:
        if path.startswith(each.prefix) if each.prefix.endswith("/") else path == each.prefix:
            return each.access, each.upstream
    return None


@pytest.mark.parametrize(
    ("components", "there"),
    [
        ({}, {"rest", "reads", "auth"}),
        ({"auth": {"enabled": False}, "reads": {"enabled": False}}, {"rest"}),
        ({"storage": {}}, {"rest", "reads", "auth"}),
        (ALL, {"rest", "reads", "auth", "storage", "functions", "meta"}),
        ({"functions": {"image": "mine:1"}}, {"rest", "reads", "auth", "functions"}),
    ],
)
def test_there_is_what_is_asked_for(components: dict[str, Any], there: set[str]) -> None:
    it = given(components)

    assert {each.name for each in SUPABASE.components(it)} == there
    assert {each.name for each in SUPABASE.upstreams(it)} == there
    assert {each.upstream for each in SUPABASE.routes(it)} == there - {"reads"}, "reads is where rest falls back to"
    secrets = {each.name for each in SUPABASE.secrets(it.spec, OWNER)}
    for name in ("auth", "storage"):
        assert (f"my-shop-role-{name}" in secrets) == (f"my-shop-{name}-secret" in secrets) == (name in there)
        assert (name in SUPABASE.bootstrap(it.spec, OWNER).roles) == (name in there)
    assert ("my-shop-meta-secret" in secrets) == ("meta" in there)


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("/rest/v1/notes", ("api-key", "rest")),
        ("/auth/v1/token", ("api-key", "auth")),
        ("/auth/v1/verify", ("public", "auth")),
        ("/auth/v1/verify/x", ("api-key", "auth")),
        ("/auth/v1/.well-known/jwks.json", ("public", "auth")),
        ("/auth/v1/admin/users", ("service-key", "auth")),
        ("/storage/v1/object/public/a/b", ("public", "storage")),
        ("/storage/v1/object/sign/a/b", ("public", "storage")),
        ("/storage/v1/object/a/b", ("api-key", "storage")),
        ("/functions/v1/hello", ("api-key", "functions")),
        ("/pg/query", ("service-key", "meta")),
        ("/pgx", None),
        ("/metrics", None),
    ],
)
def test_each_way_asks_for_its_key(path: str, leads: tuple[str, str] | None) -> None:
    assert route(path, SUPABASE.routes(given(ALL))) == leads


def test_what_is_secret_is_no_plain_variable() -> None:
    for each in parts(ALL).values():
        for name, value in each.env.items():
            assert not any(word in name for word in ("PASSWORD", "SECRET", "KEY")) or name.endswith("_FILE") or value.startswith("@/"), name
            assert "postgresql://" not in value, name


def test_roles_have_passwords_of_their_own_and_nobody_has_anothers() -> None:
    uris = {name: ref for each in parts(ALL).values() for name, ref in each.secret_env.items() if ref[1].endswith("uri")}
    assert uris == {
        "GOTRUE_DB_DATABASE_URL": ("my-shop-role-auth", "pooler-uri"), "DATABASE_URL": ("my-shop-role-storage", "uri"),
        "DATABASE_POOL_URL": ("my-shop-role-storage", "pooler-uri"),
    }  # fmt: skip
    users = {each.name: each.fixed.get("username") for each in SUPABASE.secrets(given(ALL).spec, OWNER) if "-role-" in each.name}
    assert users == {
        "my-shop-role-authenticator": "my_shop_authenticator", "my-shop-role-auth": "my_shop_auth_admin",
        "my-shop-role-storage": "my_shop_storage_admin",
    }  # fmt: skip


def test_who_can_not_tell_what_came_to_nothing_comes_by_the_pooler_if_there_is_one() -> None:
    made = {each.name: each.extra["pooler-uri"] for each in SUPABASE.secrets(given(ALL).spec, OWNER) if "pooler-uri" in each.extra}
    assert set(made) == {"my-shop-role-auth", "my-shop-role-storage"}
    assert all("@my-shop-db-pooler.ns.svc:5432/my_shop?" in uri for uri in made.values()), made

    alone = {each.name: each for each in SUPABASE.components(replace(given(ALL), pooled=False))}
    assert alone["auth"].secret_env["GOTRUE_DB_DATABASE_URL"] == ("my-shop-role-auth", "uri")
    assert "DATABASE_POOL_URL" not in alone["storage"].secret_env
    assert "DATABASE_POOL_MODE" not in alone["storage"].env
    assert parts(ALL)["storage"].env["DATABASE_POOL_MODE"] == "recycled", "or storage-api connects for each request"


@pytest.mark.parametrize(("statement", "least", "most"), [(1, 9, 9), (8, 16, 16), (600, 60, 90)])
def test_postgrest_is_told_to_end_later_than_a_statement_may_take(statement: int, least: int, most: int) -> None:
    """It ends on the spot (tests/backend/gateway/test_broken.py)."""
    made = parts({"rest": {"statementSeconds": statement}})
    assert all(least <= made[each].drain_seconds <= most for each in ("rest", "reads"))


def test_settings_of_the_user_count_but_not_against_what_holds_it_together() -> None:
    settings = {"GOTRUE_DISABLE_SIGNUP": "true", "GOTRUE_DB_MAX_POOL_SIZE": "3", "GOTRUE_JWT_ADMIN_ROLES": "anon"}
    env = parts({"auth": {"settings": settings, "tokenSeconds": 600}})["auth"].env
    assert (env["GOTRUE_DISABLE_SIGNUP"], env["GOTRUE_DB_MAX_POOL_SIZE"], env["GOTRUE_JWT_EXP"]) == ("true", "3", "600")
    assert env["GOTRUE_JWT_ADMIN_ROLES"] == "service_role"


@pytest.mark.parametrize(
    ("auth", "confirmed"),
    [
        ({}, "true"),
        ({"settings": {"GOTRUE_SMTP_HOST": "mail.example"}}, "false"),
        ({"env": [{"name": "GOTRUE_SMTP_HOST", "secret": {"name": "mail", "key": "host"}}]}, "false"),
        ({"settings": {"GOTRUE_SMTP_HOST": "mail.example", "GOTRUE_MAILER_AUTOCONFIRM": "true"}}, "true"),
    ],
)
def test_addresses_are_confirmed_where_mail_can_be_sent(auth: dict[str, Any], confirmed: str) -> None:
    assert parts({"auth": auth})["auth"].env["GOTRUE_MAILER_AUTOCONFIRM"] == confirmed


def test_pods_are_rolled_for_what_they_read_only_when_they_start() -> None:
    it = parts(ALL)
    assert it["auth"].rolls == ("kid-2", "kid-1", "kid-2"), "who signs, and all that it verifies with"
    assert it["storage"].rolls == ("3",)
    assert it["storage"].env["JWT_JWKS"] == JWKS
    assert it["functions"].hot


def test_what_lives_does_not_need_the_database() -> None:
    """Liveness and startup are of the process; GoTrue's and storage-api's readiness may look further."""
    for name, path in {"auth": "/settings", "storage": "/status", "functions": "/live"}.items():
        component = parts(ALL)[name]
        assert component.liveness["httpGet"]["path"] == component.startup["httpGet"]["path"] == path
        assert component.readiness["httpGet"]["path"] == "/health"


def test_functions_see_the_variables_that_are_named_for_them() -> None:
    env = [{"name": "MAILGUN_KEY", "secret": {"name": "mail", "key": "key"}}]
    component = parts({"functions": {"configMap": "code", "env": env}})["functions"]
    assert component.args[0] == "--allow-env=FUNCTIONS_*,JWKS_FILE,MAILGUN_KEY,SUPABASE_*"


def test_links_lead_to_the_first_host() -> None:
    assert parts(hosts=["api.shop.example", "x.example"])["auth"].env["API_EXTERNAL_URL"] == "https://api.shop.example/auth/v1"
    assert parts()["auth"].env["GOTRUE_SITE_URL"] == "http://my-shop-gateway.ns.svc:8000"


def test_uploads_are_as_large_as_the_user_says_and_a_form_around_them() -> None:
    it = given({"storage": {"s3": S3, "fileSizeLimit": "2Gi"}})
    (upload,) = [each for each in SUPABASE.routes(it) if each.prefix == "/storage/v1/"]
    assert upload.body_bytes == 2 * 2**30 + 2**20
    assert {each.name: each for each in SUPABASE.components(it)}["storage"].env["UPLOAD_FILE_SIZE_LIMIT"] == str(2 * 2**30)


def test_the_gateway_waits_for_what_a_statement_may_take() -> None:
    made = {each.prefix: each for each in SUPABASE.routes(given({"rest": {"statementSeconds": 120}}))}
    rest = made["/rest/v1/"]
    assert rest.read_try_seconds is not None
    assert 120 < rest.read_try_seconds < rest.timeout_seconds


@pytest.mark.parametrize("said", [
    {"env": [{"name": "GOTRUE_EXTERNAL_EMAIL_ENABLED", "value": "false"}]},
    {"env": [{"name": "GOTRUE_EXTERNAL_EMAIL_ENABLED", "configMap": {"name": "mine", "key": "mail"}}]},
])  # fmt: skip
def test_a_default_gives_way_to_what_the_user_says_whichever_way(said: dict[str, Any]) -> None:
    assert "GOTRUE_EXTERNAL_EMAIL_ENABLED" not in parts({"auth": said})["auth"].env
    assert parts({"auth": {"settings": {"GOTRUE_EXTERNAL_EMAIL_ENABLED": "false"}}})["auth"].env["GOTRUE_EXTERNAL_EMAIL_ENABLED"] == "false"
    assert parts({"auth": {"env": [{"name": "GOTRUE_JWT_AUD", "value": "x"}]}})["auth"].env["GOTRUE_JWT_AUD"] == "authenticated"
