"""A password that is replaced in place, by us or by hand, and all that is said of it."""

from __future__ import annotations

import base64
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from baas_operator.api.kinds import DATABASE_REPLICA, SECRET
from baas_operator.desired.meta import Manifest
from baas_operator.desired.secrets import EXPIRES_ANNOTATION, SecretRequest, password
from baas_operator.engine import applier
from baas_operator.engine.errors import ApiError, Refused
from baas_operator.engine.store import Store
from baas_operator.observe.view import secret_text
from tests.unit.engine.api import StandInApi
from tests.unit.objects import NAMESPACE, owner

DB = owner(DATABASE_REPLICA, "db")
ROLE = password(
    DB, "db-role-shop", "postgresql", "shop", owned=False, rotates=True, host="db-rw", uri="postgresql://{username}:{password}@db-rw/shop",
    extra={"pooler_uri": "postgresql://{username}:{password}@db-pooler/shop"},
)  # fmt: skip
SUPERUSER = password(DB, "db-role-postgres", "postgresql", "postgres", owned=False, rotates=True, remembers=True)


class World:
    def __init__(self) -> None:
        self.api, self.store = StandInApi(), Store()

    async def ensure(self, request: SecretRequest) -> None:
        await applier.ensure_secret(self.api, self.store, request)  # type: ignore[arg-type]

    async def live(self, request: SecretRequest) -> Manifest:
        found = await self.api.get(SECRET, NAMESPACE, request.name)
        assert found is not None
        return found

    async def password(self, request: SecretRequest) -> str:
        return secret_text(await self.live(request), "password") or ""

    async def edit(self, request: SecretRequest, *, annotations: dict[str, str] | None = None, **data: str) -> None:
        """By hand, and the watch brings it."""
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        patch = {"metadata": {"annotations": annotations or {}}, "data": encoded}
        self.store.put(await self.api.merge(SECRET, NAMESPACE, request.name, patch))

    async def due(self, request: SecretRequest) -> SecretRequest:
        return replace(request, replaces=(await self.live(request))["metadata"]["resourceVersion"])


@pytest.fixture
async def world() -> World:
    made = World()
    for each in (ROLE, SUPERUSER):
        await made.ensure(each)
    return made


async def test_one_write_has_the_new_password_wherever_it_is_said_and_ends_the_wish(world: World) -> None:
    await world.edit(ROLE, annotations={EXPIRES_ANNOTATION: "2020-01-01T00:00:00Z"})
    before = await world.password(ROLE)
    world.api.writes.clear()

    await world.ensure(await world.due(ROLE))

    after = await world.live(ROLE)
    drawn = secret_text(after, "password")
    assert world.api.writes == [("merge", "Secret/db-role-shop")]
    assert drawn not in (None, before)
    assert urlsplit(secret_text(after, "uri") or "").password == urlsplit(secret_text(after, "pooler_uri") or "").password == drawn
    assert EXPIRES_ANNOTATION not in (after["metadata"].get("annotations") or {})
    assert "immutable" not in after
    assert secret_text(after, "previous") is None, "nobody needs it"


async def test_of_two_leaders_one_rotates(world: World) -> None:
    due = await world.due(ROLE)
    other = Store()
    other.put(await world.live(ROLE))
    await world.ensure(due)
    first = await world.password(ROLE)

    with pytest.raises(ApiError, match="modified"):
        await applier.ensure_secret(world.api, other, due)  # type: ignore[arg-type]

    assert await world.password(ROLE) == first


async def test_the_superusers_one_before_is_kept_beside_it(world: World) -> None:
    before = await world.password(SUPERUSER)

    await world.ensure(await world.due(SUPERUSER))

    assert secret_text(await world.live(SUPERUSER), "previous") == before


async def test_what_is_said_beside_a_password_follows_one_that_was_written_by_hand(world: World) -> None:
    await world.edit(ROLE, password="p@ss/w:rd %")

    await world.ensure(ROLE)

    found = await world.live(ROLE)
    assert secret_text(found, "password") == "p@ss/w:rd %"
    assert secret_text(found, "uri") == "postgresql://shop:p%40ss%2Fw%3Ard%20%25@db-rw/shop"
    world.api.writes.clear()
    await world.ensure(ROLE)
    assert world.api.writes == []


async def test_one_that_was_brought_needs_the_password_alone() -> None:
    world = World()
    data = {"password": base64.b64encode(b"mine").decode()}
    await world.api.create(SECRET, DB.child("v1", "Secret", ROLE.name, "postgresql", owned=False, data=data))

    await world.ensure(ROLE)

    assert secret_text(await world.live(ROLE), "uri") == "postgresql://shop:mine@db-rw/shop"


async def test_one_that_was_brought_without_a_password_is_told() -> None:
    world = World()
    await world.api.create(SECRET, DB.child("v1", "Secret", ROLE.name, "postgresql", owned=False, data={"username": "c2hvcA=="}))

    with pytest.raises(Refused, match="lacks password"):
        await world.ensure(ROLE)


async def test_an_immutable_one_is_left_as_it_is(world: World) -> None:
    """One that was made before passwords could be rotated."""
    await world.edit(ROLE, uri="postgresql://elsewhere@db-rw/shop")
    world.api.objects[next(key for key in world.api.objects if key.name == ROLE.name)]["immutable"] = True
    store = Store()
    world.api.writes.clear()

    await applier.ensure_secret(world.api, store, ROLE)  # type: ignore[arg-type]

    assert world.api.writes == []
