"""What docs/queue.md gives to be applied is what the models take, and the words that it explains are those that the operator says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from baas_operator.api.kinds import OWN_KINDS
from baas_operator.api.queue import EndpointState, EventQueueSpec, OutboxState
from baas_operator.api.streams import DeadLetter, Stream
from baas_operator.api.webhooks import CircuitBreaker, Dispatcher, Webhook
from baas_operator.dead_letters.letter import Reason
from baas_operator.observe.reasons import REASONS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "queue.md").read_text()
MANIFESTS = [yaml.safe_load(each) for each in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.S | re.M)]


def table(heading: str) -> list[str]:
    """First cells of the table under a heading."""
    part = PAGE.split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]
    return [row.split("|")[1].strip() for row in part.splitlines() if row.startswith("| ")][1:]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=range(len(MANIFESTS)))
def test_what_is_to_be_applied_is_understood(manifest: dict[str, object]) -> None:
    models = {kind.name: kind.spec for kind in OWN_KINDS}
    model = models[str(manifest["kind"])] if "kind" in manifest else EventQueueSpec
    assert model.model_validate(manifest["spec"])


def test_each_reason_that_is_explained_can_be_given() -> None:
    told = set(re.findall(r"`([A-Z][A-Za-z]+)`", " ".join(table("When something is wrong"))))
    words = {each.value for each in (*EndpointState, *OutboxState)} | {"ZoneTolerant"}
    assert len(told) > 20
    assert told - words <= set(REASONS)


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    assert set(re.findall(r"`([A-Z][A-Za-z]+)`", " ".join(table("Dead letters")))) == {each.value for each in Reason}


def test_the_defaults_on_the_page_are_the_models() -> None:
    webhook, letters = Webhook.model_fields, DeadLetter()
    told = {
        "duplicateWindowSeconds": Stream.model_fields["duplicate_window_seconds"].default,
        "timeoutSeconds": webhook["timeout_seconds"].default,
        "disableAfterHours": webhook["disable_after_hours"].default,
        "concurrency": webhook["concurrency"].default,
        "dispatcher.replicas": Dispatcher().replicas,
        "maxReplicas": Dispatcher().max_replicas,
    }
    assert {name: re.search(rf"`{re.escape(name)}` \((\d+)\)", PAGE)[1] for name in told} == {  # type: ignore[index]
        name: str(value) for name, value in told.items()
    }
    assert webhook["retry_seconds"].default == [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600]
    assert "5 s, 5 min, 30 min, 2 h, 5 h, 10 h and 10 h" in PAGE
    assert (CircuitBreaker().failures, CircuitBreaker().open_seconds) == (10, 30)
    assert "after 10 failures in a row" in PAGE
    assert "for 30 s nothing is sent" in PAGE
    assert (letters.max_age_hours, letters.alarm_hours) == (30 * 24, 3 * 24)
    assert "`maxAgeHours` (30 days). Three days before" in PAGE
