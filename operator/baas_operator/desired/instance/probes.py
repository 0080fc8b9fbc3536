"""What probers do, by engine, as data: which transactions, with which keys. What each one is, is in prober/transactions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from baas_operator.api.common import DeletionPolicy
from baas_operator.api.instance.parse import Server
from baas_operator.api.instance.spec import BaasInstanceSpec, Engine
from baas_operator.api.instance.supabase import Auth, Reads, Rest, Storage
from baas_operator.desired.instance import names
from baas_operator.desired.instance.publishing import publishes
from baas_operator.desired.meta import Owner
from baas_operator.desired.secrets import SecretRequest, password
from baas_operator.desired.text import render

ROLE = "baas_probe"
"""The role, the schema and the claim of the key that rows are probed with (templates/probe.sql.j2)."""
KEY = "probe"
"""The API key of that role, in the Secret of the others."""
SCHEMA_VIEW = "schema_state"
"""View in that schema: a number for what PostgREST keeps of the database's schema (templates/probe.sql.j2)."""
EMPTY_SCHEMA = "0"
"""What it says while there is nothing to keep."""
READS = "reads"
"""Component: PostgREST on standbys, which hears of no change of the schema."""
SCHEMA_ANNOTATION = "baas-operator.io/schema-state"
"""On its pods: what the view said of the schema that they were started for."""
_SELDOM = 10
"""Rounds between two transactions that leave something behind that only grows: GoTrue notes each sign-in for good, an object store may bill
each request."""


@dataclass(frozen=True)
class Transaction:
    """One. `every`: it is part of every so many rounds, of which `after` are before the first; `vital`: without it the backend does not
    serve."""

    name: str
    every: int = 1
    after: int = 0
    vital: bool = True


_PUBLISH = Transaction("publish", every=_SELDOM, after=1)
"""Not in the first round, before which no prober is ready: their Service would lead the webhook nowhere."""


@dataclass(frozen=True)
class Probes:
    """What is probed. `secrets`: Secret -> its keys that are needed; `settings`: see prober/transactions; `standby_schema`: component whose
    pods are asked for the schema of the standbys behind them (prober/standby_schema.py)."""

    transactions: tuple[Transaction, ...]
    secrets: Mapping[str, tuple[str, ...]]
    settings: Mapping[str, str] = field(default_factory=dict)
    standby_schema: str | None = None


def user_secret(instance: str) -> str:
    """Secret with the name and the password of the user that signs in."""
    return f"{instance}-probe-user"


def probe_secrets(spec: BaasInstanceSpec, owner: Owner) -> list[SecretRequest]:
    """That Secret. The name is a mail address that can be nobody's (RFC 2606, 2)."""
    owned = spec.deletion_policy is DeletionPolicy.DELETE
    user = password(owner, user_secret(owner.name), names.SECRETS, "prober@baas-operator.invalid", owned=owned)
    return [user] if spec.prober.enabled else []


def probes_of(spec: BaasInstanceSpec, owner: Owner) -> Probes | None:
    """What is probed of a backend; None for nothing."""
    if not spec.prober.enabled:
        return None
    found = _ENGINES[spec.engine](spec, owner)
    return replace(found, transactions=(*found.transactions, _PUBLISH)) if publishes(spec) else found


def probe_schemas(spec: BaasInstanceSpec) -> tuple[str, ...]:
    """Schemas that the data API has to show for probers, beside the user's; the first is not among them, which is the default one."""
    return (ROLE,) if spec.prober.enabled else ()


def probe_sql(spec: BaasInstanceSpec, owner: Owner) -> str:
    """SQL that makes what rows are probed in, to be run inside the backend's database after its own. It is the same whether there are
    probers or not: to switch them on and off makes nothing and drops nothing."""
    if spec.engine is not Engine.SUPABASE:
        return ""
    rest = spec.components.rest or Rest()
    authenticator = f"{names.sql_name(owner.name)}_authenticator"
    return render("probe.sql.j2", role=ROLE, authenticator=authenticator, schema_view=SCHEMA_VIEW, schemas=rest.schemas)


def _supabase(spec: BaasInstanceSpec, owner: Owner) -> Probes:
    auth, storage = spec.components.auth or Auth(), spec.components.storage or Storage()
    made = [Transaction("read"), Transaction("write")]
    keys = [KEY]
    signs_in = auth.enabled and _lets_in(auth)
    if signs_in:
        made.append(Transaction("sign-in", every=_SELDOM))
        keys.append("anon")
    if storage.s3:
        made.append(Transaction("upload", every=_SELDOM))
    if signs_in or storage.s3:
        keys.append("service_role")  # the user and the bucket are made with it
    secrets = {names.api_keys_secret(owner.name): tuple(keys)}
    if signs_in:
        secrets[user_secret(owner.name)] = ("username", "password")
    return Probes(tuple(made), secrets, standby_schema=READS if (spec.components.reads or Reads()).enabled else None)


def _lets_in(auth: Auth) -> bool:
    """Whether GoTrue lets anybody in who has nothing but a password, by what is said in plain text: a prober reads no mails, and solves no
    riddles. What a Secret says instead, it finds out (prober/transactions/supabase.py)."""
    said = {each.name: each.value for each in auth.env if each.value is not None} | auth.settings
    by_mail, riddles = (said.get(f"GOTRUE_{name}", "").lower() for name in ("EXTERNAL_EMAIL_ENABLED", "SECURITY_CAPTCHA_ENABLED"))
    return by_mail not in ("false", "f", "0") and riddles not in ("true", "t", "1")  # as Go's strconv.ParseBool has them


def _parse(spec: BaasInstanceSpec, owner: Owner) -> Probes:
    server = spec.components.server or Server()
    return Probes(
        (Transaction("read"), Transaction("write"), Transaction("sign-in", every=_SELDOM)),
        {
            names.api_keys_secret(owner.name): (KEY,),
            f"{owner.name}-parse-keys": ("masterKey", "restAPIKey"),
            user_secret(owner.name): ("username", "password"),
        },
        settings={"appId": server.app_id or owner.name},
    )


_ENGINES: Mapping[Engine, Callable[[BaasInstanceSpec, Owner], Probes]] = {Engine.SUPABASE: _supabase, Engine.PARSE: _parse}
