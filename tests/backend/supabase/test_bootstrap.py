"""What the database has after the operator's bootstrap: roles, who owns what, and who may do what. Services have migrated their tables."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from baas_operator.desired.instance import names
from baas_operator.desired.instance.supabase import SUPABASE
from baas_operator.desired.meta import Owner
from tests.backend.harness.backend import NAME, Backend

OWNER, AUTH, STORAGE = (names.service_role(NAME, each) for each in ("owner", "auth", "storage"))
OWNERS = """
SELECT nspname AS what, nspowner::regrole::text AS owner, '' AS body FROM pg_namespace
 WHERE nspname IN ('auth', 'storage', 'public', 'baas_operator')
UNION ALL SELECT format('%s.%s', relnamespace::regnamespace, relname), relowner::regrole::text, relacl::text FROM pg_class
 WHERE relnamespace IN ('auth'::regnamespace, 'storage'::regnamespace, 'public'::regnamespace) AND relkind IN ('r', 'S')
UNION ALL SELECT format('%s.%s', pronamespace::regnamespace, proname), proowner::regrole::text, md5(prosrc) FROM pg_proc
 WHERE pronamespace IN ('auth'::regnamespace, 'storage'::regnamespace, 'public'::regnamespace, 'baas_operator'::regnamespace)
ORDER BY 1, 2, 3"""


async def owners(backend: Backend) -> list[tuple[str, ...]]:
    connection = await backend.connect()
    try:
        return [tuple(each) for each in await connection.fetch(OWNERS)]
    finally:
        await connection.close()


async def test_services_own_their_schemas_and_a_second_run_changes_nothing(backend: Backend) -> None:
    before = await owners(backend)
    found = {what: owner for what, owner, _ in before}
    assert {found[each] for each in ("auth", "auth.users", "auth.uid", "auth.jwt", "auth.role")} == {AUTH}
    assert {found[each] for each in ("storage", "storage.objects", "storage.buckets", "storage.foldername")} == {STORAGE}
    assert {found[each] for each in ("baas_operator", "baas_operator.reload_schema_cache")} == {"postgres"}

    await asyncio.to_thread(backend.bootstrap)

    assert await owners(backend) == before


@pytest.mark.parametrize(
    ("who", "statement"),
    [
        (AUTH, "CREATE ROLE another"),
        (AUTH, "SET ROLE service_role"),
        (AUTH, f"SET ROLE {OWNER}"),
        (AUTH, "CREATE TABLE public.planted ()"),
        (AUTH, "SELECT FROM public.todos"),
        (AUTH, "CREATE SCHEMA planted"),
        (AUTH, "CREATE OR REPLACE FUNCTION baas_operator.reload_schema_cache() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'"),
        (STORAGE, "SELECT FROM auth.users"),
        (STORAGE, "SELECT FROM public.todos"),
        (STORAGE, f"SET ROLE {OWNER}"),
        (STORAGE, "CREATE TABLE public.planted ()"),
        (OWNER, "DROP TABLE auth.users"),
        (OWNER, "UPDATE auth.users SET role = 'service_role'"),
        (OWNER, "DELETE FROM auth.refresh_tokens"),
        (OWNER, "CREATE FUNCTION auth.planted() RETURNS int LANGUAGE sql AS 'select 1'"),
        (OWNER, f"SET ROLE {STORAGE}"),
        (OWNER, "CREATE ROLE another"),
        ("anon", "SELECT FROM auth.users"),
        ("authenticated", "SELECT FROM auth.refresh_tokens"),
        ("service_role", "SELECT FROM auth.users"),
        ("anon", "CREATE TABLE public.planted ()"),
    ],
)
async def test_nobody_may_do_what_is_not_theirs(backend: Backend, who: str, statement: str) -> None:
    connection = await backend.connect("postgres" if who in ("anon", "authenticated", "service_role") else who)
    try:
        if who in ("anon", "authenticated", "service_role"):
            await connection.execute(f"SET SESSION AUTHORIZATION {who}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_service_becomes_who_asks_and_nobody_else_by_itself(backend: Backend) -> None:
    connection = await backend.connect(STORAGE)
    try:
        assert await connection.fetchval("SHOW search_path") == "storage"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT FROM public.todos")
        await connection.execute("SET ROLE service_role")
        assert await connection.fetch("SELECT FROM public.todos") is not None
    finally:
        await connection.close()


async def test_what_an_older_bootstrap_made_is_handed_over_once(backend: Backend) -> None:
    """Before the operator knew of GoTrue, a superuser owned schema `auth`, and the event triggers' function was in it."""
    connection = await backend.connect()
    await connection.execute('CREATE DATABASE "old"')
    await connection.close()
    old = await asyncpg.connect(host="127.0.0.1", port=backend.database.port, user="postgres", database="old")
    await old.execute("""
        CREATE SCHEMA auth;
        CREATE FUNCTION auth.jwt() RETURNS jsonb LANGUAGE sql AS 'select null::jsonb';
        CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql AS 'select null::uuid';
        CREATE FUNCTION auth.role() RETURNS text LANGUAGE sql AS 'select null::text';
        CREATE FUNCTION auth.reload_schema_cache() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER baas_reload_on_ddl ON ddl_command_end EXECUTE FUNCTION auth.reload_schema_cache();
        CREATE EVENT TRIGGER baas_reload_on_drop ON sql_drop EXECUTE FUNCTION auth.reload_schema_cache();
        CREATE TABLE public.kept (id uuid DEFAULT auth.uid())""")
    script = SUPABASE.bootstrap(backend.spec, Owner("BaasInstance", "test", "old")).sql
    file = backend.folder / "old.sql"
    file.write_text(script.replace("/etc/baas/roles", str(backend.folder / "roles")))

    for _ in range(2):
        await asyncio.to_thread(backend.psql, file, user="postgres", database="postgres")

    owned = await old.fetch("SELECT proname, proowner::regrole::text AS owner FROM pg_proc WHERE pronamespace = 'auth'::regnamespace")
    assert {tuple(each) for each in owned} == {(each, "old_auth_admin") for each in ("jwt", "uid", "role")}
    assert await old.fetchval("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'auth'") == "old_auth_admin"
    functions = await old.fetch("SELECT DISTINCT evtfoid::regproc::text AS name FROM pg_event_trigger")
    assert [each["name"] for each in functions] == ["baas_operator.reload_schema_cache"]
    await old.close()


@pytest.mark.parametrize("planted", [
    "CREATE SCHEMA baas_operator AUTHORIZATION old2_owner",
    """CREATE SCHEMA baas_operator; GRANT CREATE ON SCHEMA baas_operator TO old2_owner; SET ROLE old2_owner;
       CREATE FUNCTION baas_operator.reload_schema_cache() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'""",
])  # fmt: skip
async def test_a_schema_of_the_operator_that_somebody_else_made_is_refused(backend: Backend, planted: str) -> None:
    """Its function would run as whoever changes a schema, a superuser too."""
    connection = await backend.connect()
    await connection.execute('DROP DATABASE IF EXISTS "old2"')
    await connection.execute("DO $$ BEGIN CREATE ROLE old2_owner; EXCEPTION WHEN duplicate_object THEN END $$")
    await connection.execute('CREATE DATABASE "old2"')
    await connection.close()
    old = await asyncpg.connect(host="127.0.0.1", port=backend.database.port, user="postgres", database="old2")
    await old.execute(planted)
    file = backend.folder / "old2.sql"
    file.write_text(
        SUPABASE.bootstrap(backend.spec, Owner("BaasInstance", "test", "old2")).sql.replace(
            "/etc/baas/roles", str(backend.folder / "roles")
        )
    )

    with pytest.raises(AssertionError, match="Schema baas_operator is not the operator's own: rename it or drop it"):
        await asyncio.to_thread(backend.psql, file, user="postgres", database="postgres")

    assert await old.fetch("SELECT FROM pg_event_trigger") == []
    await old.close()
