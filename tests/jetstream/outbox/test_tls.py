"""The relay and the database as they are in a cluster: TLS, a password, and the operator's own certificates."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.desired.database.certificates import database_certificates
from baas_operator.desired.meta import Owner
from baas_operator.engine.certificates import draw
from baas_operator.outbox.status import State
from tests.jetstream.outbox.conftest import Lab, eventually, insert, once_each

pytestmark = pytest.mark.asyncio
PASSWORD = "pass word"
HOW: dict[str, Any] = {"host": "localhost", "user": "shop", "tls": True}
SAYS = {"another authority": "unable to get local issuer", "another name": "IP address mismatch", "no TLS": "rejected SSL upgrade"}


def drawn() -> tuple[str, tuple[str, str]]:
    """An authority's certificate, and certificate and key of a database's members, as the operator makes them."""
    requests = database_certificates(DatabaseReplicaSpec(), Owner("DatabaseReplica", "prod", "shop-db", "uid"))
    authority, server = (each.certificate for each in requests[:2])
    assert authority
    assert server
    now = int(time.time())
    ca, _ = draw(authority, None, now)
    made, _ = draw(server, (ca["ca.crt"], ca["ca.key"]), now)
    return ca["ca.crt"], (made["tls.crt"], made["tls.key"])


async def test_rows_are_relayed_over_tls_that_is_verified(lab: Lab) -> None:
    ca, certificate = drawn()
    await lab.postgres.take_logins("shop", PASSWORD, tls=certificate)
    (lab.secrets / "password").write_text(PASSWORD)
    (lab.secrets / "ca.crt").write_text(ca)
    await lab.stream()
    connection = await lab.postgres.connect()
    async with lab.relaying(**HOW):
        await eventually(lab.table_made)
        ids = {await insert(connection, str(number)) for number in range(5)}
        await eventually(lambda: _has(lab, 5))
        over = await connection.fetch("SELECT ssl, usename FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'shop'")
        assert over
        assert all(each["ssl"] for each in over)

    await connection.close()
    once_each(await lab.messages(), ids)


async def _has(lab: Lab, messages: int) -> bool:
    return len(await lab.messages()) == messages


@pytest.mark.parametrize("server", SAYS)
async def test_who_is_not_the_database_is_not_told_the_password_and_nothing_is_relayed(lab: Lab, server: str) -> None:
    ca, certificate = drawn()
    await lab.postgres.take_logins("shop", PASSWORD, tls=None if server == "no TLS" else certificate)
    (lab.secrets / "password").write_text(PASSWORD)
    (lab.secrets / "ca.crt").write_text(drawn()[0] if server == "another authority" else ca)
    await lab.stream()
    how = HOW | ({"host": "127.0.0.1"} if server == "another name" else {})
    async with lab.relaying(**how) as status:
        await asyncio.sleep(3)
        assert status.state is State.FAILING
        assert SAYS[server] in status.message
        assert PASSWORD not in status.message
        assert not await lab.table_made()
        if server == "another authority":  # what was wrong is put right, and needs no restart
            (lab.secrets / "ca.crt").write_text(ca)
            await eventually(lab.table_made)
