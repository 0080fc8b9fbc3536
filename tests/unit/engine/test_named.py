"""What a backend names of its user's is asked for several at a time, and not all at once."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.kinds import BAAS_INSTANCE, DATABASE_REPLICA, SECRET, Kind
from baas_operator.desired.database.certificates import database_certificates
from baas_operator.desired.meta import Manifest
from baas_operator.engine import several
from baas_operator.engine.certificates import draw
from baas_operator.engine.client import Client
from baas_operator.engine.errors import ApiError
from baas_operator.engine.named import referred_by_backend
from tests.unit.engine.api import StandInApi
from tests.unit.objects import own, owner, secret

OWNER = owner(BAAS_INSTANCE, "shop")
CA = database_certificates(DatabaseReplicaSpec(), owner(DATABASE_REPLICA, "db"))[0].certificate
assert CA


class SlowApi:
    """An API server that answers when `go` is set, and has everything but what is `missing`; `asked` at a time."""

    def __init__(self) -> None:
        self.go, self.full = asyncio.Event(), asyncio.Event()
        self.asked = self.most = self.answered = 0
        self.missing: set[str] = set()
        self.wrong: set[str] = set()

    async def get(self, kind: Kind, _namespace: str | None, name: str) -> Manifest | None:
        self.asked += 1
        self.most = max(self.most, self.asked)
        if self.asked == several.AT_A_TIME:
            self.full.set()
        await self.go.wait()
        await asyncio.sleep(0)
        self.asked -= 1
        self.answered += 1
        if name in self.wrong:
            raise ApiError(403, "Forbidden", f"{name} is forbidden")
        return None if name in self.missing else {"metadata": {"resourceVersion": f"{kind.name[0]}{name[-2:]}"}}


def backend() -> Manifest:
    """One with a job that reads 40 Secrets and as many ConfigMaps, of which one has the name of a Secret."""
    names = [f"n-{number}" for number in range(10, 49)]
    env: list[dict[str, Any]] = [{"name": f"S{name[-2:]}", "secret": {"name": name, "key": "k"}} for name in [*names, "n-99"]]
    env += [{"name": f"C{name[-2:]}", "configMap": {"name": f"c{name}", "key": "k"}} for name in names]
    env += [{"name": "BOTH", "configMap": {"name": "n-99", "key": "k"}}]
    return own(BAAS_INSTANCE, "shop", {"jobs": [{"name": "clean", "image": "clean:1", "schedule": "0 3 * * *", "env": env}]})


async def test_so_many_at_a_time_and_no_more() -> None:
    api = SlowApi()
    api.missing = {"n-20"}
    asking = asyncio.create_task(referred_by_backend(cast(Client, api), backend()))
    await asyncio.wait_for(api.full.wait(), 5.0)
    api.go.set()
    found = await asyncio.wait_for(asking, 5.0)

    assert api.most == several.AT_A_TIME
    assert api.answered == 80
    assert len(found) == 79, "one is not there"
    assert (found["Secret", "n-10"].version, found["ConfigMap", "cn-10"].version) == ("S10", "C10")
    assert ("Secret", "n-20") not in found
    assert list(found) == list(await referred_by_backend(cast(Client, api), backend())), "in the same order every time"


async def test_one_that_fails_is_raised_when_all_are_over() -> None:
    api = SlowApi()
    api.go.set()
    api.wrong = {"n-11", "cn-30"}
    with pytest.raises(ApiError, match="n-11 is forbidden"):
        await referred_by_backend(cast(Client, api), backend())
    assert (api.asked, api.answered) == (0, 80)


async def test_none_goes_on_when_a_reconcile_is_cut_off() -> None:
    api = SlowApi()
    before = asyncio.all_tasks()
    asking = asyncio.create_task(referred_by_backend(cast(Client, api), backend()))
    await asyncio.wait_for(api.full.wait(), 5.0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asyncio.all_tasks() <= before


PEM = {key.replace("ca", "tls"): text for key, text in draw(CA, None, 1_800_000_000)[0].items()}
OTHER = {key.replace("ca", "tls"): text for key, text in draw(CA, None, 1_800_000_000)[0].items()}


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (PEM, None),
        (PEM | {"tls.crt": "nonsense"}, "its tls.crt is no certificate in PEM"),
        (PEM | {"tls.key": "nonsense"}, "its tls.key is no private key in PEM, or has a password"),
        (PEM | {"tls.key": OTHER["tls.key"]}, "its tls.key is not the key of its tls.crt"),
    ],
)
async def test_whether_gateways_can_use_their_certificate_is_known(data: dict[str, str], flaw: str | None) -> None:
    api = StandInApi()
    await cast(Client, api).create(SECRET, secret(OWNER, "tls", "gateway", **data))
    shop = own(BAAS_INSTANCE, "shop", {"components": {"gateway": {"tls": {"secretName": "tls"}}}})
    named = await referred_by_backend(cast(Client, api), shop)
    (found,) = named.values()
    assert (found.flaw, found.keys) == (flaw, {"tls.crt", "tls.key"})
    assert not found.at_start, "the gateway follows its files"
