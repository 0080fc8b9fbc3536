"""Odd characters, from a spec and from Secrets that were written by hand: servers read a configuration as a whole or not at all, so one
that they do not read would leave every new user and password unknown, and would keep servers from starting."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.queue.remotes import Credentials, impossible, links
from baas_operator.desired.queue.users import Login
from tests.jetstream.streams.driver import spec_of
from tests.jetstream.users.secured import Secured

ODD = "".join(map(chr, range(1, 0x120))) + "\u2028\u200b\ufeff²½𝄞"
"""Every character of Latin and what ends lines, quotes or escapes anywhere."""


@pytest.mark.asyncio
async def test_servers_start_and_let_in_who_has_an_odd_password(tmp_path: Path) -> None:
    queue = {"url": "tls://nowhere.invalid:7422", "domain": "elsewhere", "credentials": {"name": "theirs"}}
    spec = spec_of(
        streams=[{"name": "orders", "subjects": ["bestellt.größe.\u200b𝄞.>"]}, {"name": "copy", "mirror": {"stream": "x", "queue": queue}}],
        users=[{"name": "shop", "publish": ['bestellt."größe".{}\\x.#$.*', "a\u00ad.b"]}],
    )
    servers = Secured(tmp_path, spec)
    odd = {user: (Login(user, ODD),) for user in ("app", "shop", "route")}
    servers.logins |= odd
    servers.credentials = {link: Credentials(ODD, ODD) for link in links(spec, "prod")}
    try:
        for name in servers.names:
            servers.start(name)
        await servers.wait_whole()
        for user in ("app", "shop"):
            # A client library sends what it is given as JSON, so it may be anything.
            connection = await servers.connect(user, allow_reconnect=False, max_reconnect_attempts=0)
            assert connection.is_connected
            await connection.close()
    finally:
        servers.stop()


@pytest.mark.parametrize("subject", ["orders.\x01", "orders\x7f.new", "a\x00"])
def test_a_subject_has_no_control_characters(subject: str) -> None:
    for spec in ({"users": [{"name": "u", "publish": [subject]}]}, {"streams": [{"name": "s", "subjects": [subject]}]}):
        with pytest.raises(ValidationError, match="pattern"):
            EventQueueSpec.model_validate(spec)


@pytest.mark.parametrize(
    ("url", "good"),
    [("tls://[:::::]:7422", False), ("tls://[12345::]", False), ("tls://a:99999", False), ("tls://[::1]:7422", True), ("nats://a", False)],
)
def test_an_address_that_is_none_is_told_and_not_given_to_servers(url: str, good: bool) -> None:
    queue = {"url": url, "domain": "d", "credentials": {"name": "s"}}
    why = impossible(links(spec_of(streams=[{"name": "m", "mirror": {"stream": "x", "queue": queue}}]), "prod"), "prod_nats")
    assert (why is None) is good
    assert good or (why and url in why)
