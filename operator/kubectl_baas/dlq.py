"""`kubectl baas dlq`: dead letters of a queue. They are read where a dispatcher runs, by `kubectl exec`, so that no password leaves the
cluster; replaying and purging are Operations, which the operator carries out.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from baas_operator.api.kinds import EVENT_QUEUE, OPERATION, POD
from baas_operator.api.operation import Action, HeaderMatch, LetterFilter, OperationSpec, Parameters, Target, TargetKind
from baas_operator.desired.meta import COMPONENT_LABEL, KIND_LABEL, NAME_LABEL
from baas_operator.observe.view import is_ready
from kubectl_baas.cluster import Api
from kubectl_baas.errors import PluginError
from kubectl_baas.operation import manifest, queue_spec

DISPATCHER = "dispatcher"
"""Component of the pods, and name of their container."""
SHOWN_BYTES = 4096
_SECONDS = 120
_HEX_WIDTH = 16


def letter_filter(
    *, consumer: str | None = None, reason: str | None = None, subject: str | None = None, since: str | None = None,
    until: str | None = None, sequences: str | None = None, headers: Sequence[str] = (),
) -> LetterFilter:  # fmt: skip
    """The filter that options stand for; `sequences` is `5`, `5-9`, `5-` or `-9`, a header `NAME=VALUE`.

    Raises:
        PluginError: one of them is not to be understood.
    """
    from pydantic import ValidationError

    first, last = _range(sequences)
    made = []
    for each in headers:
        name, equals, value = each.partition("=")
        if not equals:
            raise PluginError(f"--header {each!r} is not NAME=VALUE.")
        made.append(HeaderMatch(name=name, value=value))
    try:
        return LetterFilter(
            consumer=consumer, reason=reason, subject=subject, since=since, until=until, first_sequence=first, last_sequence=last,
            headers=made,
        )  # fmt: skip
    except ValidationError as error:
        wrong = error.errors()[0]
        raise PluginError(f"--{wrong['loc'][0]} can not be {wrong['input']!r}: {wrong['msg']}.") from error


def _range(text: str | None) -> tuple[int | None, int | None]:
    if text is None:
        return None, None
    first, dash, last = text.partition("-")
    try:
        return (int(first) if first else None), (int(last) if last else None) if dash else int(first)
    except ValueError:
        raise PluginError(f"--sequence {text!r} is no range: give 5, 5-9, 5- or -9.") from None


def operation(
    queue: str, stream: str, action: Action, wanted: LetterFilter, *, rate: int | None, limit: int | None, timeout_seconds: int
) -> dict[str, Any]:
    """The Operation that asks for it.

    Raises:
        PluginError: a name is none that an object can have.
    """
    return manifest(
        lambda: OperationSpec(
            target=Target(kind=TargetKind.EVENT_QUEUE, name=queue),
            action=action,
            parameters=Parameters(stream=stream, letters=wanted if wanted != LetterFilter() else None, rate_per_second=rate, limit=limit),
            timeout_seconds=timeout_seconds,
        ),
        action.value.partition("-")[0], "a queue or a stream",
    )  # fmt: skip


def create(api: Api, namespace: str, made: dict[str, Any]) -> dict[str, Any]:
    """Create it, once it is sure that there is such a queue and stream: an Operation on a typing error helps nobody."""
    check_queue(api, namespace, made["spec"]["target"]["name"], made["spec"]["parameters"]["stream"])
    return api.post(OPERATION.path(namespace), made)


def check_queue(api: Api, namespace: str, queue: str, stream: str) -> None:
    """Whether there is such a queue, with such a stream that keeps dead letters.

    Raises:
        PluginError: there is not.
    """
    spec = queue_spec(api, namespace, queue)
    declared = {each["name"] for each in spec.get("streams") or [] if "deadLetter" in each}
    keeping = sorted(declared | {each["stream"] for each in spec.get("webhooks") or []})
    if stream not in keeping:
        known = f"those that have are {', '.join(keeping)}" if keeping else "none has"
        raise PluginError(f"{queue} has no stream {stream} with deadLetter or a webhook; {known}.")


def dispatcher_pod(api: Api, namespace: str, queue: str) -> str:
    """A dispatcher's pod that is ready.

    Raises:
        PluginError: there is none.
    """
    selector = f"{KIND_LABEL}={EVENT_QUEUE.name},{NAME_LABEL}={queue},{COMPONENT_LABEL}={DISPATCHER}"
    pods = api.get(POD.path(namespace), {"labelSelector": selector}).get("items") or []
    ready = sorted(each["metadata"]["name"] for each in pods if is_ready(each) and not each["metadata"].get("deletionTimestamp"))
    if not ready:
        raise PluginError(f"no dispatcher of {queue} is ready in namespace {namespace}, and dead letters are read there: see its pods.")
    return str(ready[0])


def read(namespace: str, pod: str, context: str | None, arguments: Sequence[str], *, kubectl: str = "kubectl") -> Iterator[dict[str, Any]]:
    """What `baas-operator dlq` says in a pod, as it says it.

    Raises:
        PluginError: it did not answer; its own sentence.
    """
    command = [kubectl, *(["--context", context] if context else []), "exec", "-n", namespace, pod, "-c", DISPATCHER, "--"]
    command += ["python", "-m", "baas_operator", "dlq", *arguments]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise PluginError("kubectl is not on PATH, and dead letters are read through it.") from error
    except subprocess.TimeoutExpired as error:
        raise PluginError(f"pod {pod} did not answer within {_SECONDS} s.") from error
    if said.returncode:
        lines = [each for each in said.stderr.strip().splitlines() if not each.startswith("command terminated with exit code")]
        raise PluginError(f"pod {pod}: {lines[-1] if lines else f'exit code {said.returncode}.'}")
    for line in said.stdout.splitlines():
        try:
            letter: Any = json.loads(line)
        except ValueError as error:
            raise PluginError(f"pod {pod} answered with something that is no dead letter: is it of another version?") from error
        yield dict(letter)


def payload_text(letter: dict[str, Any], most: int = SHOWN_BYTES) -> str:
    """A letter's payload as text, or in hex where it is none; at most so many bytes of it."""
    if not letter.get("complete", True):
        return "(gone before it could be copied)"
    data = base64.b64decode(letter.get("payload") or "")
    shown = data[:most]
    try:
        text = shown.decode() if len(data) <= most else shown.decode("utf-8", "ignore")
        if not data or (all(each.isprintable() or each in "\n\t\r" for each in text) and (len(data) <= most or len(text) > most // 5)):
            return text + _rest(len(data), most)
    except UnicodeDecodeError:
        pass
    rows = [shown[at : at + _HEX_WIDTH] for at in range(0, len(shown), _HEX_WIDTH)]
    lines = [f"{at * _HEX_WIDTH:08x}  {row.hex(' '):{_HEX_WIDTH * 3 - 1}}" for at, row in enumerate(rows)]
    return "\n".join(each.rstrip() for each in lines) + _rest(len(data), most)


def _rest(size: int, most: int) -> str:
    return f"\n(the first {most} of {size} bytes; -o json has all)" if size > most else ""
