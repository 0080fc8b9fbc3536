"""The names that roles of a backend log in with, which take turns when a password is rotated.

PostgreSQL knows one password a role. So each role that somebody logs in as has a second name, a member of it whose sessions begin as the
role itself (`ALTER ROLE … SET role`): what they make is the role's, and they may become whom it may become. While one of the two is in
use the other is given its next password; pods are led to it one after another; then the first has none any more.

What a pod logs in with it reads when it starts. A kubelet may give a pod an older version of a Secret than its Deployment was made for
(kubernetes#131589), and such a pod would be cut off once that password counts no more. So a rotation puts an empty key into the Secret
that is named after who logs in since (`secrets.marker`), and pods ask for that key: a container is not started before its node has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from baas_operator.desired.instance import names
from baas_operator.desired.instance.component import Component, Mount
from baas_operator.desired.meta import Owner
from baas_operator.desired.secrets import SecretRequest, password

LOGINS_ANNOTATION = "baas-operator.io/database-logins"
"""On a pod, and its template: the names that it logs in to the database with, with commas between them."""
OVERLAP_SECONDS = 24 * 3600
"""How long a password still counts, at the least, after another took its place: as long as one of a queue's users."""


@dataclass(frozen=True)
class RoleLogin:
    """How somebody logs in as a role. `username`: the name that the Secret says now; `slots`: name -> key of the Secret with its password,
    of the names whose password counts; `marker`: key of the Secret that is there since `username` is the one, None before the first
    rotation."""

    role: str
    username: str
    slots: Mapping[str, str]
    marker: str | None = None

    @classmethod
    def first(cls, role: str) -> RoleLogin:
        """That of a role whose password was never rotated."""
        return cls(role, role, {role: "password"})

    @property
    def names(self) -> tuple[str, str]:
        """Both names, whether they count or not."""
        return self.role, names.alternate(self.role)

    @property
    def other(self) -> str:
        """The name that the Secret does not say."""
        return self.names[self.username == self.role]

    @property
    def both(self) -> bool:
        """Whether both count, as from when the next one is made known until the one before is taken away."""
        return len(self.slots) > 1

    def folders(self, who: str) -> dict[str, str]:
        """Name -> the folder of its password in the bootstrap's pod, of the names that count. `who`: the role, as its Secret is named."""
        return {name: who if name == self.role else f"{who}-alt" for name in self.slots}


def role_password(owner: Owner, who: str, *, owned: bool, extra: dict[str, str] | None = None, **fixed: str) -> SecretRequest:
    """The Secret of a role, with a password that can be rotated."""
    role = names.service_role(owner.name, who)
    return password(
        owner, names.role_secret(owner.name, who), names.SECRETS, role, owned=owned, extra=extra, rotates=True, remembers=True,
        alternate=names.alternate(role), overlap_seconds=OVERLAP_SECONDS, retires=True, **fixed,
    )  # fmt: skip


def roles_of(instance: str, logins: Mapping[str, RoleLogin]) -> dict[str, RoleLogin]:
    """How to log in as each role (`names.SERVICE_ROLES`): as is known, and as at first where nothing is."""
    return {who: logins.get(who) or RoleLogin.first(names.service_role(instance, who)) for who in names.SERVICE_ROLES}


def with_logins(component: Component, instance: str, logins: Mapping[str, RoleLogin]) -> Component:
    """A component whose pods say which names they log in with, and do not start before what those are in has arrived."""
    by_secret = {names.role_secret(instance, who): login for who, login in logins.items()}
    from_env = sorted({secret for secret, _ in component.secret_env.values()} & set(by_secret))
    used = sorted({*from_env, *(each.secret for each in component.mounts if each.secret in by_secret)} - {None})
    if not used:
        return component
    said = ",".join(by_secret[each].username for each in used if each)
    markers = [(each, marker) for each in from_env if (marker := by_secret[each].marker)]
    return replace(
        component,
        annotations={**component.annotations, LOGINS_ANNOTATION: said},
        secret_env={**component.secret_env, **{f"BAAS_LOGIN_{index}": each for index, each in enumerate(markers)}},
        mounts=tuple(_marked(each, by_secret) for each in component.mounts),
    )


def _marked(mount: Mount, logins: Mapping[str, RoleLogin]) -> Mount:
    """All files of a mount are of one version of its Secret, so one that has this key has what came with it."""
    login = logins.get(mount.secret or "")
    return replace(mount, items={**mount.items, login.marker: "login"}) if login and login.marker and mount.items else mount
