"""The verbs of `kubectl baas rotate`, as a user types them."""

from __future__ import annotations

from typing import Annotated

import typer

from baas_operator.api.operation import Action
from kubectl_baas.dlq_cli import Context, Namespace, Wait
from kubectl_baas.show import sentences

app = typer.Typer(name="rotate", no_args_is_help=True, help="Give a backend other keys or passwords.")


@app.callback()
def verbs() -> None:
    """Give a backend other keys or passwords."""


Instance = Annotated[str, typer.Argument(help="The BaasInstance.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for people who read the Operation.")]
Timeout = Annotated[int, typer.Option("--timeout", min=600, max=3600, help="Seconds after which it is not waited for.")]


@app.command()
def keys(
    instance: Instance, wait: Wait = True, reason: Reason = None, timeout: Timeout = 1800, namespace: Namespace = None,
    context: Context = None,
) -> None:  # fmt: skip
    """Have another key sign, and issue the API keys anew.

    Creates an Operation. It takes minutes: all who verify tokens know the next key before it signs. Tokens and API keys of the
    one before count until the overlap is over (spec.keys.overlapHours). A key that leaked is revoked in the spec instead.

    Exit code: 0 when it succeeded (with --no-wait: when the Operation was created), 1 when it was refused or failed, 2 when
    there is no answer.
    """
    _rotate(Action.ROTATE_KEYS, instance, wait, reason, timeout, namespace, context)


@app.command()
def passwords(
    instance: Instance, wait: Wait = True, reason: Reason = None, timeout: Timeout = 1800, namespace: Namespace = None,
    context: Context = None,
) -> None:  # fmt: skip
    """Give the roles of a backend's database other passwords.

    Creates an Operation. It takes minutes: the database knows the next passwords before pods are led to them, one after another.
    Those of before count for a day more. No request fails.

    Exit code: 0 when it succeeded (with --no-wait: when the Operation was created), 1 when it was refused or failed, 2 when
    there is no answer.
    """
    _rotate(Action.ROTATE_PASSWORDS, instance, wait, reason, timeout, namespace, context)


def _rotate(
    action: Action, instance: str, wait: bool, reason: str | None, timeout: int, namespace: str | None, context: str | None
) -> None:  # fmt: skip
    from kubectl_baas import rotate
    from kubectl_baas.cluster import Cluster
    from kubectl_baas.watched import watched

    with sentences():
        made = rotate.operation(instance, action, reason=reason, timeout_seconds=timeout)
        api = Cluster(context)
        watched(api, rotate.create(api, namespace or api.namespace, made), wait=wait)
