"""The verbs of `kubectl baas webhook`, as a user types them."""

from __future__ import annotations

from typing import Annotated

import typer

from kubectl_baas.dlq_cli import Context, Namespace, Queue, Wait
from kubectl_baas.show import sentences

app = typer.Typer(name="webhook", no_args_is_help=True, help="Enable webhooks again.")


@app.callback()
def verbs() -> None:
    """Enable webhooks again."""


@app.command()
def enable(
    queue: Queue, webhook: Annotated[str, typer.Argument(help="The webhook.")], wait: Wait = True,
    timeout: Annotated[int, typer.Option("--timeout", min=5, max=3600, help="Seconds after which it is given up.")] = 120,
    namespace: Namespace = None, context: Context = None,
) -> None:  # fmt: skip
    """Enable a webhook that was disabled, once its endpoint works.

    Creates an Operation, which forgets what it was disabled for: 410, or nothing taken for too long. What waits is sent within
    seconds; an endpoint that answers 410 again is disabled again.

    Exit code: 0 when it succeeded (with --no-wait: when the Operation was created), 1 when it was refused or failed, 2 when
    there is no answer.
    """
    from kubectl_baas import webhook as webhooks
    from kubectl_baas.cluster import Cluster
    from kubectl_baas.watched import watched

    with sentences():
        made = webhooks.operation(queue, webhook, timeout_seconds=timeout)
        api = Cluster(context)
        watched(api, webhooks.create(api, namespace or api.namespace, made), wait=wait)
