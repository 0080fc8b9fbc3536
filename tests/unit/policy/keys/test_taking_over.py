"""Secrets as they were made before there were sets: immutable, with one key. That key goes on, whatever happens on the way."""

from __future__ import annotations

import base64

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from baas_operator.api.kinds import SECRET
from baas_operator.desired.meta import Manifest
from baas_operator.engine import applier, key_material, signing
from baas_operator.engine.errors import Refused, Waiting
from baas_operator.engine.store import Key
from baas_operator.observe.view import secret_text
from tests.unit.objects import NAMESPACE

from .world import PUBLIC, SHOP, SIGNING, World


def encoded(**texts: str) -> dict[str, str]:
    return {key.replace("__", "."): base64.b64encode(text.encode()).decode() for key, text in texts.items()}


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()  # fmt: skip


async def old(world: World) -> tuple[str, str, str]:
    """The Secrets as the recipes before drew them; kid, anon key, private key."""
    await world.draw()
    kid, anon, private = world.held.current.kid, world.text(PUBLIC, "anon"), world.text(SIGNING, "private.pem")
    for name, keys in ((SIGNING, ("private.pem",)), (PUBLIC, ("anon", "service_role", "jwks.json"))):
        live = world.live(name)
        live["data"] = {key: live["data"][key] for key in keys}
        live["immutable"] = True
        del live["metadata"]["annotations"]
        live["metadata"] |= {"uid": f"old-{name}", "resourceVersion": "1"}
    world.restart()
    return kid, anon, private


@pytest.mark.parametrize("writes", [None, *range(12)])
async def test_it_goes_on_with_its_key_wherever_the_operator_is_killed(writes: int | None) -> None:
    world = World()
    kid, anon, private = await old(world)
    before = world.text(PUBLIC, "service_role")

    await world.reconcile(writes=writes)
    secrets = {key.name for key in world.api.objects}
    assert secrets & {SIGNING, f"{SIGNING}-copy"}, "the key is somewhere at any moment"
    await world.settle()

    assert world.held.kids == (kid,)
    assert world.text(SIGNING, "private.pem") == private
    assert (world.text(PUBLIC, "anon"), world.text(PUBLIC, "service_role")) == (anon, before)
    assert world.taken(anon) == {True}
    assert {key.name for key in world.api.objects} == {SIGNING, PUBLIC}, "no copy is left"
    assert not any(world.live(name).get("immutable") for name in (SIGNING, PUBLIC))
    await world.ask()
    await world.settle()
    assert world.held.next, "and it can be rotated"


async def test_somebody_elses_secret_in_the_place_of_the_copy_keeps_it_as_it_is() -> None:
    world = World()
    await old(world)
    theirs = SHOP.child("v1", "Secret", f"{SIGNING}-copy", "instance", owned=False, data=encoded(private__pem="x"))
    await world.api.create(SECRET, theirs)
    request = world.plan().requests[0]
    with pytest.raises(Waiting, match="is no copy of it: delete that"):
        await applier.ensure_secret(world.api, world.store, request)  # type: ignore[arg-type]
    assert world.live(SIGNING)["immutable"]


@pytest.mark.parametrize("kind", ["ES256", "RS256"])
async def test_a_key_that_was_brought_is_the_first_and_gives_way_to_one_of_any_kind(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "draw", key_material.draw)
    own = ec.generate_private_key(ec.SECP256R1()) if kind == "ES256" else rsa.generate_private_key(65537, 3072)
    world, mine = World(), pem(own)
    await world.api.create(SECRET, brought(private__pem=mine))
    world.restart()
    await world.settle()
    assert len(world.held.keys) == 1
    assert world.text(SIGNING, "private.pem") == mine
    token = jwt.encode({"role": "anon"}, mine, algorithm=kind, headers={"kid": world.held.current.kid})
    assert world.taken(token) == {True}

    anon = world.text(PUBLIC, "anon")
    await world.ask()
    for _ in range(4):
        await world.settle()
        world.passes(400)
    assert [jwt.get_unverified_header(each)["alg"] for each in (anon, world.text(PUBLIC, "anon"))] == [kind, "RS256"]
    assert [world.taken(each) for each in (token, anon, world.text(PUBLIC, "anon"))] == [{True}] * 3


def brought(**texts: str) -> Manifest:
    return SHOP.child("v1", "Secret", SIGNING, "instance", owned=False, data=encoded(**texts))


USELESS = {
    "text": "nonsense", "small": pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - it is refused
    "p384": pem(ec.generate_private_key(ec.SECP384R1())),
}  # fmt: skip


@pytest.mark.parametrize("text", USELESS.values(), ids=USELESS)
async def test_one_that_was_brought_and_is_of_no_use_is_told(text: str) -> None:
    world = World()
    await world.api.create(SECRET, brought(private__pem=text))
    world.restart()
    with pytest.raises(Refused, match="can not sign tokens: it does not hold an RSA key of 2048 to 4096 bits") as refused:
        await world.draw()
    assert text.strip().splitlines()[0] not in str(refused.value)
    assert secret_text(world.api.objects[Key(SECRET.name, NAMESPACE, SIGNING)], "private.pem") == text
