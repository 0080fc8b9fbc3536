"""A Job that runs SQL once against a database; its name carries a hash of all that it does, so a change makes a new Job."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from baas_operator.desired.meta import Manifest, Owner, checksum
from baas_operator.desired.pods import container_security, pod_security
from baas_operator.desired.secrets import SecretRequest

POSTGRES_UID = 999
"""User of the postgres image (Debian's convention for the role)."""
REFUSED = "/tmp/refused"  # noqa: S108 - a path inside the pod
"""Where the SQL notes what PostgreSQL refused, a line each, when the rest is to go on."""
SAID = "/tmp/said"  # noqa: S108 - a path inside the pod
"""What the psql that works inside one database said last."""
REFUSED_CODE = 3
"""The container's exit code when PostgreSQL refused something: psql's own for an error in a script (its manual, "Exit Status")."""
_OPTIONS = {
    # Writes may be held off for all who do not ask otherwise (policy/storage.py).
    "default_transaction_read_only": "off",
    # Any role may hold a lock that this needs: it says so and goes on.
    "lock_timeout": "10s",
    # None of the others ends a session that works, or one that waits for another. Of a database they are its owner's to set, as are
    # libraries to load, without which nobody gets in.
    "statement_timeout": "0", "transaction_timeout": "0", "idle_session_timeout": "0",
    "session_preload_libraries": "", "local_preload_libraries": "",
    # Nor who works there, how a password is kept (as MD5, it lets nobody in who has to show it as SCRAM), and whether it is kept at all
    # once the Job has ended.
    "role": "none", "password_encryption": "scram-sha-256", "synchronous_commit": "on",
    # A statement holds a password. None of these may show it: the server's log, pg_stat_activity, pg_stat_statements.
    "log_statement": "none", "log_min_error_statement": "panic", "log_min_duration_statement": "-1", "log_min_duration_sample": "-1",
    "debug_print_parse": "off", "debug_print_rewritten": "off",
    "log_transaction_sample_rate": "0", "track_activities": "off", "pg_stat_statements.track_utility": "off", "pgaudit.log": "none",
}  # fmt: skip
"""Settings of the session from its first moment, whatever the server's, the database's or the role's are (libpq's PGOPTIONS)."""
_PATIENCE = "connect_timeout=5 keepalives_idle=10 keepalives_interval=3 keepalives_count=3 tcp_user_timeout=11000"
"""A server whose node is gone answers no more, and says nothing: by the kernel's own keepalives it is waited for for two hours."""
_DIGEST = 16
DATABASE_ANNOTATION = "baas-operator.io/database-uid"
"""On a Job: the uid of the object whose database it works in."""
_MESSAGE_BYTES = 2000
"""Kubernetes takes 4096 of a container's last words."""


def digest(superuser: str, passwords: Iterable[str]) -> str:
    """A hash of the superuser's password and those of roles, in the order of their folders: `passwords` of `build_sql_job`. Who does not
    know the superuser's can guess no other with it."""
    return hashlib.sha256("".join([superuser, *passwords]).encode()).hexdigest()[:_DIGEST]


def _script(roles: list[str], passwords: str) -> str:
    """What the container runs. `previous` is the superuser's password before a rotation, which PostgreSQL has until this has run."""
    files = " ".join(["superuser/password", *(f"roles/{folder}/password" for folder in roles)])
    check = (
        f'[ "$(cat {files} | sha256sum | cut -c1-{len(passwords)})" = {passwords} ] || '
        "{ echo 'This node has older passwords than the Secrets: waiting for the new ones.' >&2; exit 4; }; "
    )
    return (
        "umask 077; cd /etc/baas; "
        + (check if passwords else "")
        + "as() { printf '*:*:*:*:%s' \"$(sed 's/[\\\\:]/\\\\&/g' superuser/$1)\" > /tmp/pgpass; }; "
        "as password; "
        'if [ -e superuser/previous ] && ! psql --no-psqlrc --command= "$CONNECTION" 2> /dev/null; then as previous; fi; '
        f"rm -f {REFUSED}; "  # of a run before, in the same pod
        # Terse: an error must not quote the statement, which may hold a password.
        'psql --no-psqlrc --quiet --variable=VERBOSITY=terse --file=sql/run.sql "$CONNECTION" || exit $?; '
        f"[ ! -s {REFUSED} ] || {{ head -c {_MESSAGE_BYTES} {REFUSED} | tee /dev/termination-log; exit {REFUSED_CODE}; }}"
    )


def build_sql_job(
    owner: Owner, name: str, component: str, *, image: str, sql: str, host: str, superuser_secret: str,
    roles: Mapping[str, SecretRequest], keys: Mapping[str, str] = MappingProxyType({}), passwords: str = "",
    again_seconds: int | None = None, more: Mapping[str, str] | None = None, where: Mapping[str, Any] | None = None,
    database_uid: str = "",
) -> list[Manifest]:  # fmt: skip
    """ConfigMap with the SQL and the Job that runs it as superuser; another image alone makes no new Job.

    `roles`: folder -> Secret with the role's password; `keys`: folder -> its key there, where that is not `password`. `passwords`: their
    `digest`; nothing is done while the pod has others. psql retries nothing; the kubelet restarts the container with back-off until it has
    worked once. `again_seconds`: the Job is deleted so long after it has. `more`: files that the SQL calls, beside it. `where`: more of the
    pod's spec; a Job's can not be changed, so another makes a new Job. `database_uid`: of the object that the database belongs to; one that
    was begun anew under its name, with the passwords that were kept, is another.
    """
    connection = f"host={host} port=5432 user=postgres dbname=postgres sslmode=require target_session_attrs=read-write {_PATIENCE}"
    folders = sorted(roles)
    script = _script(folders, passwords)
    options = " ".join(f"-c {key}={value}" for key, value in _OPTIONS.items())
    where = dict(where or {})
    files = {"run.sql": sql, **(more or {})}
    done = (files, script, connection, options, superuser_secret, {key: each.name for key, each in roles.items()})
    full = f"{name}-{checksum(*done, *(each for each in (where, dict(keys), database_uid) if each))[:8]}"
    volumes: list[dict[str, Any]] = [
        {"name": "sql", "configMap": {"name": full}},
        {"name": "superuser", "secret": {"secretName": superuser_secret, "defaultMode": 0o440}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts = [
        {"name": "sql", "mountPath": "/etc/baas/sql", "readOnly": True},
        {"name": "superuser", "mountPath": "/etc/baas/superuser", "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the pod
    ]
    if folders:
        sources = [
            {"secret": {"name": roles[folder].name, "items": [{"key": keys.get(folder, "password"), "path": f"{folder}/password"}]}}
            for folder in folders
        ]
        volumes.append({"name": "roles", "projected": {"defaultMode": 0o440, "sources": sources}})
        mounts.append({"name": "roles", "mountPath": "/etc/baas/roles", "readOnly": True})
    return [
        owner.child("v1", "ConfigMap", full, component, data=files),
        owner.child(
            "batch/v1",
            "Job",
            full,
            component,
            annotations={DATABASE_ANNOTATION: database_uid} if database_uid else None,
            spec={
                "backoffLimit": 100,
                **({"ttlSecondsAfterFinished": again_seconds} if again_seconds else {}),
                "template": {
                    "metadata": {"labels": owner.labels(component)},
                    "spec": where
                    | {
                        "restartPolicy": "OnFailure",
                        "terminationGracePeriodSeconds": 1,  # one that was replaced must not go on beside its successor
                        "automountServiceAccountToken": False,
                        "enableServiceLinks": False,
                        "securityContext": pod_security(POSTGRES_UID),
                        "containers": [
                            {
                                "name": "psql",
                                "image": image,
                                "imagePullPolicy": "IfNotPresent",
                                "command": ["sh", "-ec", script],
                                "terminationMessagePolicy": "FallbackToLogsOnError",
                                "env": [
                                    {"name": "PGPASSFILE", "value": "/tmp/pgpass"},  # noqa: S108
                                    {"name": "CONNECTION", "value": connection},
                                    {"name": "PGAPPNAME", "value": full},
                                    {"name": "PGOPTIONS", "value": options},
                                ],
                                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
                                "securityContext": container_security(),
                                "volumeMounts": mounts,
                            }
                        ],
                        "volumes": volumes,
                    },
                },
            },
        ),
    ]
