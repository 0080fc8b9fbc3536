"""What an engine is: components, ways through the gateway, secrets, and what its database has to have, all as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from baas_operator.api.instance.spec import BaasInstanceSpec
from baas_operator.desired.images import Images
from baas_operator.desired.instance import names
from baas_operator.desired.instance.component import Component
from baas_operator.desired.instance.gateway.model import Route, Upstream
from baas_operator.desired.instance.logins import RoleLogin, roles_of
from baas_operator.desired.meta import Owner
from baas_operator.desired.secrets import SecretRequest


@dataclass(frozen=True)
class Given:
    """What an engine goes by. `jwks`: the public key set as JSON, and `kids` the ids in it; `signing_kids` and `signer`: the same of the
    Secret that tokens are signed with, and the key that signs; `versions`: versions of ConfigMaps and Secrets
    of the user's that pods read only when they start, by name; `gateways`: pods of the gateway where an autoscaler says how many;
    `standby_schema`: the state of the schema that PostgREST on standbys has to be started for, None for any; `logins`: the names that roles
    log in with, by role, as far as they are known; `pooled`: whether the database has a pooler, and who goes by it knows where; `https`:
    whether clients are led to HTTPS, where the spec asks for it."""

    owner: Owner
    spec: BaasInstanceSpec
    images: Images
    jwks: str
    kids: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    signing_kids: tuple[str, ...] = ()
    signer: str | None = None
    gateways: int | None = None
    standby_schema: str | None = None
    logins: Mapping[str, RoleLogin] = field(default_factory=dict)
    pooled: bool = True
    https: bool = True


@dataclass(frozen=True)
class Bootstrap:
    """SQL that makes a backend's database and roles; `roles` are those whose passwords it sets, as their Secrets are named. `files`: folder
    of a password -> the role and the key of its Secret."""

    sql: str
    roles: tuple[str, ...]
    files: Mapping[str, tuple[str, str]]

    @classmethod
    def of(cls, sql: str, roles: Iterable[str], logins: Mapping[str, RoleLogin]) -> Bootstrap:
        """One that sets the passwords of `roles`, of all names that count."""
        found = tuple(roles)
        return cls(sql, found, {
            folder: (who, logins[who].slots[name]) for who in found for name, folder in logins[who].folders(who).items()
        })  # fmt: skip


@dataclass(frozen=True)
class ProgramKeys:
    """What the user's programs ask the gateway with: file -> (Secret, key). `service`: keys for which the rules for rows do not count."""

    plain: Mapping[str, tuple[str, str]]
    service: Mapping[str, tuple[str, str]]


def api_keys(owner: Owner) -> ProgramKeys:
    """The API keys that every backend has."""
    secret = names.api_keys_secret(owner.name)
    return ProgramKeys(plain={"anon": (secret, "anon")}, service={"service_role": (secret, "service_role")})


@dataclass(frozen=True)
class EngineDefinition:
    """An engine. `components` without the gateway, in the order in which they are made."""

    components: Callable[[Given], list[Component]]
    upstreams: Callable[[Given], list[Upstream]]
    routes: Callable[[Given], list[Route]]
    secrets: Callable[[BaasInstanceSpec, Owner], list[SecretRequest]]
    bootstrap_with: Callable[[BaasInstanceSpec, Owner, Mapping[str, RoleLogin]], Bootstrap]
    program_keys: Callable[[Owner], ProgramKeys] = api_keys

    def bootstrap(self, spec: BaasInstanceSpec, owner: Owner, logins: Mapping[str, RoleLogin] = MappingProxyType({})) -> Bootstrap:
        """What the database has to have. `logins`: see `Given`."""
        return self.bootstrap_with(spec, owner, roles_of(owner.name, logins))
