"""A Job that runs SQL once against a database; its name carries a hash of all that it does, so a change makes a new Job."""

from __future__ import annotations

from baas_operator.desired.meta import Manifest, Owner, checksum
from baas_operator.desired.pods import container_security, pod_security
from baas_operator.desired.secrets import SecretRequest

POSTGRES_UID = 999
"""User of the postgres image (Debian's convention for the role)."""


def build_sql_job(
    owner: Owner, name: str, component: str, *, image: str, sql: str, host: str, superuser_secret: str,
    roles: dict[str, SecretRequest],
) -> list[Manifest]:  # fmt: skip
    """ConfigMap with the SQL and the Job that runs it as superuser; another image alone makes no new Job.

    `roles`: mount folder -> Secret with the role's password. psql retries nothing; the kubelet restarts the container with back-off
    until it has worked once.
    """
    connection = f"host={host} port=5432 user=postgres dbname=postgres sslmode=require connect_timeout=5 target_session_attrs=read-write"
    digest = checksum(sql, connection, superuser_secret, {key: each.name for key, each in roles.items()})
    full = f"{name}-{digest[:8]}"
    volumes = [
        {"name": "sql", "configMap": {"name": full}},
        {"name": "superuser", "secret": {"secretName": superuser_secret, "defaultMode": 0o440}},
        {"name": "tmp", "emptyDir": {}},
    ]
    mounts = [
        {"name": "sql", "mountPath": "/etc/baas/sql", "readOnly": True},
        {"name": "superuser", "mountPath": "/etc/baas/superuser", "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the pod
    ]
    for index, (folder, request) in enumerate(sorted(roles.items())):
        volumes.append({"name": f"role-{index}", "secret": {"secretName": request.name, "defaultMode": 0o440}})
        mounts.append({"name": f"role-{index}", "mountPath": f"/etc/baas/roles/{folder}", "readOnly": True})
    script = (
        "umask 077; printf '*:*:*:*:%s' \"$(cat /etc/baas/superuser/password)\" > /tmp/pgpass; "
        'exec psql --no-psqlrc --quiet --file=/etc/baas/sql/run.sql "$CONNECTION"'
    )
    return [
        owner.child("v1", "ConfigMap", full, component, data={"run.sql": sql}),
        owner.child(
            "batch/v1",
            "Job",
            full,
            component,
            spec={
                "backoffLimit": 100,
                "template": {
                    "metadata": {"labels": owner.labels(component)},
                    "spec": {
                        "restartPolicy": "OnFailure",
                        "automountServiceAccountToken": False,
                        "enableServiceLinks": False,
                        "securityContext": pod_security(POSTGRES_UID),
                        "containers": [
                            {
                                "name": "psql",
                                "image": image,
                                "imagePullPolicy": "IfNotPresent",
                                "command": ["sh", "-ec", script],
                                "env": [
                                    {"name": "PGPASSFILE", "value": "/tmp/pgpass"},  # noqa: S108
                                    {"name": "CONNECTION", "value": connection},
                                    {"name": "PGAPPNAME", "value": full},
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
