"""Certificates: verified as a client of PostgreSQL would, and renewed without anybody noticing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from baas_operator.api.database import DatabaseReplicaSpec
from baas_operator.api.kinds import DATABASE_REPLICA, EVENT_QUEUE, SECRET, OwnKind
from baas_operator.api.queue import EventQueueSpec
from baas_operator.desired.database.certificates import database_certificates
from baas_operator.desired.meta import Owner
from baas_operator.desired.queue.certificates import queue_certificates
from baas_operator.desired.secrets import CONTENT_ANNOTATION, EXPIRES_ANNOTATION, Certificate, SecretRequest
from baas_operator.engine import applier
from baas_operator.engine import store as engine_store
from baas_operator.engine.certificates import CannotSignError, draw
from baas_operator.engine.client import Client
from baas_operator.engine.errors import Refused
from baas_operator.engine.generate import build_secret, outline
from baas_operator.observe.view import secret_text
from tests.unit.engine.api import StandInApi
from tests.unit.engine.reconciling import Operator
from tests.unit.objects import NAMESPACE, owner, secret

NOW = 1_800_000_000
DB = owner(DATABASE_REPLICA, "db")
CA, SERVER, CLIENT = (each.certificate for each in database_certificates(DatabaseReplicaSpec(), DB))
assert CA
assert SERVER
assert CLIENT


def authority(certificate: Certificate = CA, *, now: int = NOW) -> tuple[str, str]:
    drawn, _ = draw(certificate, None, now)
    return drawn["ca.crt"], drawn["ca.key"]


def loaded(pem: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem.encode())


def verified_as(name: str, leaf: str, ca: str, *, at: int = NOW) -> None:
    """As a client does with sslmode=verify-full."""
    policy = PolicyBuilder().store(Store([loaded(ca)])).time(datetime.fromtimestamp(at, UTC))
    policy.build_server_verifier(x509.DNSName(name)).verify(loaded(leaf), [])


@pytest.mark.parametrize(
    "name",
    [
        "db-rw", "db-rw.prod", "db-rw.prod.svc", "db-ro.prod.svc.cluster.local", "db-r.prod.svc", "db-pooler", "db-pooler.prod.svc",
        "db-0.db-pods.prod.svc", "db-2.db-pods.prod.svc.cluster.local", "localhost",
    ],
)  # fmt: skip
def test_whatever_a_client_calls_the_server_it_is_verified(name: str) -> None:
    ca = authority()
    drawn, _ = draw(SERVER, ca, NOW)

    verified_as(name, drawn["tls.crt"], drawn["ca.crt"])


@pytest.mark.parametrize("name", ["other-rw", "db-rw.other.svc", "db-pods.prod.svc", "a.b.db-pods.prod.svc"])
def test_it_is_no_other_server(name: str) -> None:
    ca = authority()
    drawn, _ = draw(SERVER, ca, NOW)

    with pytest.raises(VerificationError):
        verified_as(name, drawn["tls.crt"], ca[0])


def test_the_authority_of_another_database_vouches_for_nothing_here() -> None:
    drawn, _ = draw(SERVER, authority(), NOW)

    with pytest.raises(VerificationError):
        verified_as("db-rw", drawn["tls.crt"], authority()[0])


def test_standbys_are_the_replicator_and_no_server_and_servers_are_no_client() -> None:
    ca = authority()
    client, server = (loaded(draw(each, ca, NOW)[0]["tls.crt"]) for each in (CLIENT, SERVER))

    assert [each.value for each in client.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["replicator"]
    assert list(client.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert list(server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    client.verify_directly_issued_by(loaded(ca[0]))


def test_keys_are_new_each_time_and_of_p256() -> None:
    ca = authority()
    first, second = (draw(SERVER, ca, NOW)[0] for _ in range(2))
    key = serialization.load_pem_private_key(first["tls.key"].encode(), None)

    assert first["tls.key"] != second["tls.key"]
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    assert key.public_key() == loaded(first["tls.crt"]).public_key()
    assert set(first) == set(SERVER.keys)


def test_they_live_as_long_as_they_say_and_a_clock_that_is_a_little_behind_takes_them() -> None:
    drawn, ends = draw(SERVER, authority(), NOW)

    assert ends == datetime.fromtimestamp(NOW, UTC) + timedelta(days=90)
    assert loaded(drawn["tls.crt"]).not_valid_after_utc == ends
    verified_as("db-rw", drawn["tls.crt"], drawn["ca.crt"], at=NOW - 600)


def test_a_renewed_authority_vouches_for_what_the_old_one_signed_and_the_other_way_round() -> None:
    before = authority()
    drawn, _ = draw(CA, before, NOW + 1000)
    after = drawn["ca.crt"], drawn["ca.key"]

    assert after[0] != before[0]
    verified_as("db-rw", draw(SERVER, before, NOW)[0]["tls.crt"], after[0])
    verified_as("db-rw", draw(SERVER, after, NOW)[0]["tls.crt"], before[0])


def with_a_password(key: str) -> str:
    encrypted = serialization.BestAvailableEncryption(b"secret")
    loaded_key = cast(ec.EllipticCurvePrivateKey, serialization.load_pem_private_key(key.encode(), None))
    return loaded_key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encrypted).decode()


@pytest.mark.parametrize(
    "wrong",
    [("", ""), ("no", "pem"), (authority()[0], authority()[1]), ((mine := authority())[0], with_a_password(mine[1]))],
    ids=["empty", "no-pem", "not-a-pair", "password"],
)
def test_what_can_not_sign_is_refused(wrong: tuple[str, str]) -> None:
    with pytest.raises(CannotSignError):
        draw(SERVER, wrong, NOW)


@pytest.mark.parametrize(
    ("kind", "certificates"),
    [
        (DATABASE_REPLICA, lambda owner: database_certificates(DatabaseReplicaSpec(), owner)),
        (EVENT_QUEUE, lambda owner: queue_certificates(EventQueueSpec(), owner)),
    ],
    ids=["database", "queue"],
)
def test_the_longest_names_have_certificates_too(kind: OwnKind, certificates: Callable[[Owner], list[SecretRequest]]) -> None:
    """RFC 5280, A.1: a common name has at most 64 characters. A namespace has up to 63."""
    ca, *leaves = certificates(replace(owner(kind, "n" * 40), namespace="s" * 63))
    source = build_secret(ca, source=None, now=NOW)

    for each in leaves:
        made = build_secret(each, source=source, now=NOW)
        assert set(made["data"]) == set(outline(each)["data"])


def test_a_certificate_can_be_replaced_and_says_when_it_ends() -> None:
    ca, server, _ = database_certificates(DatabaseReplicaSpec(), DB)
    source = build_secret(ca, source=None, now=NOW)
    made = build_secret(server, source=source, now=NOW)

    assert "immutable" not in made
    assert made["type"] == "kubernetes.io/tls"
    assert made["metadata"]["annotations"][EXPIRES_ANNOTATION] == "2027-04-15T08:00:00+00:00"
    assert made["metadata"]["annotations"][CONTENT_ANNOTATION] == SERVER.content
    assert "ownerReferences" not in made["metadata"], "it is kept with the data"


# --- in a reconcile -------------------------------------------------------------------------------------------------------

NAMES = ("db-ca", "db-server-tls", "db-replication-tls")


@pytest.fixture
async def database() -> Operator:
    """A database that was reconciled once."""
    op = Operator(DATABASE_REPLICA, "db")
    await op.reconcile()
    return op


def edited(op: Operator, name: str, **annotations: str | None) -> None:
    """Annotations as if they had been written so, and the watch had told."""
    live = op.live("Secret", name)
    assert live
    live["metadata"]["annotations"] = {k: v for k, v in (live["metadata"]["annotations"] | annotations).items() if v is not None}
    live["metadata"]["resourceVersion"] = str(int(live["metadata"]["resourceVersion"]) + 1000)
    op.api._version += 2000
    op.store.put(live)


def text(op: Operator, name: str, key: str) -> str:
    return secret_text(op.live("Secret", name), key) or ""


async def test_they_are_drawn_with_the_rest_and_not_again(database: Operator) -> None:
    assert all(database.live("Secret", each) for each in NAMES)
    bundle = database.live("ConfigMap", "db-ca")
    assert bundle
    assert bundle["data"]["ca.crt"] == text(database, "db-ca", "ca.crt")
    verified_as("db-rw.prod.svc", text(database, "db-server-tls", "tls.crt"), bundle["data"]["ca.crt"], at=int(datetime.now().timestamp()))

    assert await database.reconcile() == []


async def test_what_is_due_is_replaced_in_one_write_and_once(database: Operator) -> None:
    before = text(database, "db-server-tls", "tls.crt")
    soon = (datetime.now(UTC) + timedelta(days=29)).isoformat()
    edited(database, "db-server-tls", **{EXPIRES_ANNOTATION: soon})

    assert await database.reconcile() == [("merge", "Secret/db-server-tls")]
    assert await database.reconcile() == []

    assert text(database, "db-server-tls", "tls.crt") != before
    assert text(database, "db-server-tls", "ca.crt") == text(database, "db-ca", "ca.crt")


async def test_another_authority_signs_the_others_anew(database: Operator) -> None:
    edited(database, "db-ca", **{EXPIRES_ANNOTATION: datetime.now(UTC).isoformat()})

    writes = [*await database.reconcile(), *await database.reconcile()]

    assert [each for each in writes if each[1].startswith("Secret")] == [("merge", f"Secret/{each}") for each in NAMES]
    assert ("apply", "ConfigMap/db-ca") in writes
    assert text(database, "db-replication-tls", "ca.crt") == text(database, "db-ca", "ca.crt")
    assert await database.reconcile() == []


async def test_one_that_was_deleted_comes_back_with_its_end(database: Operator) -> None:
    before = database.live("Secret", "db-server-tls")
    assert before
    database.delete_by_hand("Secret", "db-server-tls")

    assert await database.reconcile() == [("create", "Secret/db-server-tls")]
    after = database.live("Secret", "db-server-tls")
    assert after
    assert after["data"] == before["data"]
    assert after["metadata"]["annotations"] == before["metadata"]["annotations"]
    assert await database.reconcile() == []


async def test_one_that_a_hand_emptied_and_deleted_is_drawn_anew(database: Operator) -> None:
    live = database.live("Secret", "db-server-tls")
    assert live
    live["data"] = {}
    live["metadata"]["resourceVersion"] = "9000"
    database.api._version = 9100
    database.store.put(live)
    database.delete_by_hand("Secret", "db-server-tls")

    await database.reconcile()

    assert text(database, "db-server-tls", "tls.key")


async def test_an_authority_that_can_not_sign_is_told_in_a_sentence() -> None:
    api, store = StandInApi(), engine_store.Store()
    _, server, _ = database_certificates(DatabaseReplicaSpec(), DB)
    by_hand = secret(DB, "db-ca", "postgresql", **{"ca.crt": "mine", "ca.key": "mine"})
    store.put(await api.create(SECRET, by_hand))

    with pytest.raises(Refused, match="'db-ca' can not sign"):
        await applier.ensure_secret(cast(Client, api), store, server)


async def test_one_that_lacks_its_key_is_told_in_a_sentence_and_left_alone(database: Operator) -> None:
    live = database.live("Secret", "db-server-tls")
    assert live
    del live["data"]["tls.key"]
    edited(database, "db-server-tls", **{EXPIRES_ANNOTATION: datetime.now(UTC).isoformat()})

    assert [each for each in await database.reconcile() if "Secret" in each[1]] == []
    stalled = next(each for each in database.api.objects[database.key]["status"]["conditions"] if each["type"] == "Stalled")
    assert stalled["reason"] == "SecretIncomplete"
    assert "tls.key" in stalled["message"]


@pytest.mark.parametrize("name", NAMES)
async def test_of_two_leaders_one_renews(database: Operator, name: str) -> None:
    """Both judged the same version; the later one finds another, and leaves it."""
    edited(database, name, **{EXPIRES_ANNOTATION: datetime.now(UTC).isoformat()})
    due = database.live("Secret", name)
    assert due
    (request,) = (each for each in database_certificates(DatabaseReplicaSpec(), database_owner()) if each.name == name)
    request = _due(request, due["metadata"]["resourceVersion"])
    await applier.ensure_secret(cast(Client, database.api), database.store, request)
    first: Any = database.live("Secret", name)

    await applier.ensure_secret(cast(Client, database.api), database.store, request)

    assert database.live("Secret", name) == first


def database_owner() -> Any:
    return owner(DATABASE_REPLICA, "db")


def _due(request: SecretRequest, version: str) -> SecretRequest:
    return SecretRequest(**{**request.__dict__, "replaces": version})


def test_namespace_is_in_the_names() -> None:
    assert f"db-rw.{NAMESPACE}.svc" in SERVER.dns_names
