"""Passwords of a backend's roles are rotated under load: no request fails, and the password before is refused afterwards."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from baas_operator.desired.instance.logins import OVERLAP_SECONDS
from baas_operator.desired.secrets import NEXT
from baas_operator.observe.view import secret_text
from tests.backend.passwords.harness import Real
from tests.unit.policy.passwords.world import DRAIN_SECONDS, ROLES, Login

LOGGED_IN = "SELECT DISTINCT usename::text FROM pg_stat_activity WHERE datname = 'shop' AND usename LIKE 'shop\\_%'"


async def logged_in(shop: Real) -> set[str]:
    found = set()
    for server in (shop.primary, shop.standby):
        connection = await server.connect()
        found |= {each["usename"] for each in await connection.fetch(LOGGED_IN)}
        await connection.close()
    return found


async def test_all_passwords_are_rotated_twice_under_load_and_no_request_fails(shop: Real) -> None:
    seen = [[shop.says(each) for each in ROLES]]
    async with shop.load() as load:
        await asyncio.sleep(1)
        for _ in range(2):
            await shop.ask()
            await shop.settle()
            seen.append([shop.says(each) for each in ROLES])
            for login in (*seen[-2], *seen[-1]):
                assert not await shop.refused(login), "both count"
            shop.passes(OVERLAP_SECONDS)
            await shop.settle()
            for login in seen[-2]:
                assert await shop.refused(login), login.username
                assert await shop.refused(login, server=shop.standby), login.username
            for login in seen[-1]:
                assert not await shop.refused(login)
            assert await logged_in(shop) == {"shop_authenticator" + ("_alt" if len(seen) == 2 else "")}
        await asyncio.sleep(1)

    print(f"\n{load.done} requests while 3 passwords were rotated twice, {len(load.failed)} failed")
    assert not load.failed, load.failed[:3]
    assert load.done > 300
    assert [[each.username.endswith("_alt") for each in logins] for logins in seen] == [[False] * 3, [True] * 3, [False] * 3]
    assert len({each.password for logins in seen for each in logins}) == 9


async def rotated(shop: Real) -> None:
    await shop.ask()
    await shop.settle()
    shop.passes(DRAIN_SECONDS)


async def test_under_either_name_a_session_is_the_role_whatever_resets_it(shop: Real) -> None:
    before = {each: shop.says(each) for each in ROLES}
    await rotated(shop)
    for role, first in before.items():
        second = shop.says(role)
        for login in (first, second):
            connection = await shop.connect(login)
            for reset in ("SELECT 1", "RESET ROLE", "RESET ALL", "DISCARD ALL", "SET SESSION AUTHORIZATION DEFAULT"):
                await connection.execute(reset)
                assert await connection.fetchval("SELECT current_user::text") == first.username, reset
            await connection.close()
        one, two = await shop.connect(first), await shop.connect(second)
        for setting in ("search_path", "statement_timeout", "idle_in_transaction_session_timeout"):
            assert await one.fetchval(f"SHOW {setting}") == await two.fetchval(f"SHOW {setting}"), (role, setting)
        await one.close()
        await two.close()


async def test_what_is_made_under_the_other_name_is_the_role_s_and_may_be_read_as_before(shop: Real) -> None:
    await rotated(shop)
    assert shop.says("owner").username == "shop_owner_alt"
    owner = await shop.connect(shop.says("owner"))
    await owner.execute("CREATE TABLE later (id int); ALTER TABLE notes ADD COLUMN more text")
    assert await owner.fetchval("SELECT relowner::regrole::text FROM pg_class WHERE relname = 'later'") == "shop_owner"
    await owner.close()
    rest = await shop.connect(shop.says("authenticator"))
    for role in ("anon", "authenticated", "service_role"):
        async with rest.transaction():
            await rest.execute(f"SET LOCAL ROLE {role}")
            assert await rest.fetchval("SELECT current_user::text") == role
            assert await rest.fetch("SELECT * FROM later") == []
        assert await rest.fetchval("SELECT current_user::text") == "shop_authenticator"
    for statement in ("SELECT FROM later", "CREATE ROLE another", "SET ROLE shop_owner", "SET ROLE shop_auth_admin", "SET ROLE postgres"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await rest.execute(statement)
    await rest.close()


@pytest.mark.parametrize("held_off", ["off", "on"])
async def test_a_password_that_counts_on_keeps_its_salt(shop: Real, held_off: str) -> None:
    """A pooler knows a user by it: with another one, its clients have no new connection to the server until somebody logs in anew."""
    verifiers = "SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = ANY($1)"
    postgres = await shop.primary.connect()
    # Of whoever does not ask otherwise, as where a volume is nearly full (policy/storage.py).
    for each in await postgres.fetch("SELECT rolname::text FROM pg_roles WHERE rolname LIKE 'shop\\_%'"):
        await postgres.execute(f"ALTER ROLE {each['rolname']} SET default_transaction_read_only = {held_off}")
    first = [shop.says(each).username for each in ROLES]
    before = dict(await postgres.fetch(verifiers, first))
    await rotated(shop)
    assert len(before) == 3
    assert dict(await postgres.fetch(verifiers, first)) == before

    await postgres.execute(f"ALTER ROLE {first[0]} PASSWORD 'something else'")
    await rotated(shop)
    assert not await shop.refused(shop.says(ROLES[0])), "what somebody else set is put right"
    await postgres.close()


async def test_sessions_of_the_name_before_are_ended_with_its_password(shop: Real) -> None:
    first = shop.says("owner")
    outside = await shop.connect(first)
    await rotated(shop)
    assert await outside.fetchval("SELECT 1") == 1
    await shop.end_overlap()
    await shop.settle()
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.InterfaceError, ConnectionError)):
        await outside.fetchval("SELECT 1")
    assert await shop.refused(first)


async def test_nobody_is_led_to_a_password_that_a_standby_does_not_know(shop: Real) -> None:
    first = shop.says("authenticator")
    standby = await shop.standby.connect()
    await standby.execute("SELECT pg_wal_replay_pause()")
    shop.patience = "1 seconds"
    await shop.ask("authenticator")
    await shop.reconcile()
    second = Login("shop_authenticator_alt", secret_text(shop.live("authenticator"), NEXT) or "")

    assert not await shop.run_jobs()
    assert "a standby has not replayed the new passwords" in shop.said
    assert second.password not in shop.said
    assert not await shop.refused(second), "the primary knows it"
    await shop.reconcile()
    assert shop.says("authenticator") == first

    await standby.execute("SELECT pg_wal_replay_resume()")
    await standby.close()
    await shop.settle()
    assert shop.says("authenticator") == second
    assert not await shop.refused(second, server=shop.standby)


async def test_who_follows_the_log_and_is_no_standby_holds_nothing_up(shop: Real) -> None:
    """A logical subscriber logs in nowhere here, and may lag for ever."""
    source, owner = await shop.primary.connect(), await shop.connect(shop.says("owner"))
    await owner.execute("CREATE PUBLICATION notes FOR TABLE notes")
    await source.execute("CREATE DATABASE elsewhere")
    shops, elsewhere = [
        await asyncpg.connect(host="127.0.0.1", port=shop.primary.port, user="postgres", database=each) for each in ("shop", "elsewhere")
    ]
    await elsewhere.execute("CREATE TABLE notes (id bigint, text text)")
    await shops.execute("SELECT pg_create_logical_replication_slot('elsewhere', 'pgoutput')")
    await shops.close()
    await elsewhere.execute(
        f"CREATE SUBSCRIPTION elsewhere CONNECTION 'host=127.0.0.1 port={shop.primary.port} user=postgres dbname=shop' PUBLICATION notes "
        "WITH (create_slot = false, slot_name = 'elsewhere', copy_data = false)"
    )
    blocking = elsewhere.transaction()
    await blocking.start()
    await elsewhere.execute("LOCK TABLE notes")
    await owner.execute("INSERT INTO notes (text) VALUES ('not taken')")
    await owner.close()
    await asyncio.sleep(1)
    lagging = "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'elsewhere' AND replay_lsn < pg_current_wal_flush_lsn()"
    assert await source.fetchval(lagging) == 1
    shop.patience = "1 seconds"
    await shop.ask()
    await shop.reconcile()
    assert await shop.run_jobs(), shop.said
    await blocking.rollback()
    await elsewhere.close()
    await source.close()


@pytest.mark.parametrize(
    "setting",
    ["password_encryption = md5", "synchronous_commit = off", "debug_print_parse = on", "debug_print_rewritten = on", "role = shop_owner"],
)
async def test_no_setting_of_the_database_s_owner_weakens_what_is_made_known(shop: Real, setting: str) -> None:
    """Settings of a database are its owner's to set, and count for a superuser who works in it, too."""
    owner = await shop.connect(shop.says("owner"))
    await owner.execute(f"ALTER DATABASE shop SET {setting}")
    await owner.close()
    primary = await shop.primary.connect()
    await primary.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
    await primary.execute("SELECT pg_reload_conf()")
    await primary.close()
    await shop.ask()
    await shop.reconcile()
    assert await shop.run_jobs(), shop.said
    for role in ROLES:
        first, following = shop.says(role), secret_text(shop.live(role), NEXT) or ""
        for login in (first, Login(f"{first.username}_alt", following)):
            assert not await shop.refused(login), login.username
            assert not await shop.refused(login, server=shop.standby), f"{login.username} on the standby, once the Job has ended"
            assert login.password not in (shop.primary.folder / "log").read_text()
