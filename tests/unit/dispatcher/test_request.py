"""What is sent with a message, and that others can verify it."""

from __future__ import annotations

import base64
import json
import time
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from baas_operator.api.webhooks import CloudEvents, Webhook
from baas_operator.dispatcher.request import Requests, content_type, identity, request_id
from baas_operator.dispatcher.signing import SecretError, keys_of
from tests.unit.dispatcher.messages import message

OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 64).decode()
HOOK = Webhook(name="a", stream="orders", url="https://a.example")


def _headers(text: str = NEW, payload: bytes = b'{"a":1}', hook: Webhook = HOOK, **more: str) -> dict[str, str]:
    return Requests(hook, ("shop", "jobs")).headers(message(payload=payload, **more), keys_of(text), now=time.time(), attempt=2)


def test_one_that_was_replayed_has_the_id_that_it_had() -> None:
    assert identity(message(nats_msg_id="replay:op:1", baas_original_nats_msg_id="mine.1")) == "mine%2E1"
    assert identity(message(nats_msg_id="replay:op:1", baas_original_nats_msg_id="orders:7")) == "orders:7"


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_the_library_verifies_what_we_sign(value: object) -> None:
    payload = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    assert Verifier(NEW).verify(payload, _headers(payload=payload)) == json.loads(payload)


def test_while_secrets_overlap_who_knows_either_can_verify() -> None:
    headers = _headers(f"{NEW} {OLD}")
    assert len(headers["webhook-signature"].split()) == 2
    for secret in (OLD, NEW):
        Verifier(secret).verify(b'{"a":1}', headers)
    with pytest.raises(WebhookVerificationError):
        Verifier("whsec_" + base64.b64encode(b"x" * 24).decode()).verify(b'{"a":1}', headers)


@pytest.mark.parametrize("payload", [b'{"a":2}', b"", b'{"a":1} '])
def test_another_payload_does_not_verify(payload: bytes) -> None:
    with pytest.raises(WebhookVerificationError):
        Verifier(NEW).verify(payload, _headers(), json_parse=False)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"), (" \n", "empty"), ("hello", "whsec_"), ("whsec_", "0 bytes"), ("whsec_!!!", "base64"),
        ("whsec_" + base64.b64encode(b"s" * 23).decode(), "23 bytes"), ("whsec_" + base64.b64encode(b"s" * 65).decode(), "65 bytes"),
        (NEW + " " + "whsec_c2hvcnQ", "5 bytes"),
    ],
)  # fmt: skip
def test_what_is_no_secret_is_said_without_it(text: str, why: str) -> None:
    with pytest.raises(SecretError) as caught:
        keys_of(text)
    assert why in str(caught.value)
    assert "c2hvcnQ" not in str(caught.value)
    assert "hello" not in str(caught.value)


def test_a_secret_without_its_padding_is_one() -> None:
    assert keys_of("whsec_" + base64.b64encode(b"s" * 25).decode().rstrip("=")) == (b"s" * 25,)


@pytest.mark.parametrize(
    ("given_id", "sent"),
    [
        ("", "orders:7"), ("order-17", "order-17"), ("a:b/c=d", "a:b/c=d"), ("order.17", "order%2E17"), ("a b\tc", "a%20b%09c"),
        ("ü\r\nx: y", "%C3%BC%0D%0Ax:%20y"),
    ],
)  # fmt: skip
def test_the_id_is_the_publishers_or_the_place_and_safe(given_id: str, sent: str) -> None:
    assert identity(message(nats_msg_id=given_id)) == sent


@given(st.text(min_size=1), st.text(min_size=1))
def test_ids_are_as_different_as_they_were_and_fit_into_a_header(one: str, other: str) -> None:
    made = [identity(message(nats_msg_id=each.encode("utf-8", "replace").decode())) for each in (one, other)]
    assert (made[0] == made[1]) == (one.encode("utf-8", "replace") == other.encode("utf-8", "replace"))
    assert all(each.isascii() and each.isprintable() and " " not in each and "." not in each and len(each) <= 200 for each in made)


@pytest.mark.parametrize(
    ("payload", "header", "sent"),
    [
        (b'{"a":1}', "", "application/json"), (b"[1]", "", "application/json"), (b"\xff\x00", "", "application/octet-stream"),
        (b"hello", "", "application/octet-stream"), (b"", "", "application/octet-stream"), (b"[" * 100_000, "", "application/octet-stream"),
        (b"<a/>", "text/xml; charset=utf-8", "text/xml; charset=utf-8"), (b"{}", "text/xml\r\nx: y", "application/json"),
    ],
)  # fmt: skip
def test_content_type(payload: bytes, header: str, sent: str) -> None:
    assert content_type(message(payload=payload, content_type=header)) == sent


def test_cloud_events_in_binary_mode() -> None:
    headers = _headers(subject="orders.nëw")
    assert headers["ce-specversion"] == "1.0"
    assert headers["ce-id"] == headers["webhook-id"]
    assert headers["ce-source"] == "/namespaces/shop/eventqueues/jobs/streams/orders"
    assert headers["ce-type"] == headers["ce-subject"] == "orders.n%C3%ABw"
    assert datetime.fromisoformat(headers["ce-time"]).year == 2026
    own = HOOK.model_copy(update={"cloud_events": CloudEvents(source="//shop", type="shop.order")})
    headers = _headers(hook=own)
    assert (headers["ce-source"], headers["ce-type"], headers["ce-subject"]) == ("//shop", "shop.order", "orders.new")


def test_what_a_message_is_followed_by_is_passed_on_or_made() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = _headers(traceparent=trace, x_request_id="r-1")
    assert (headers["traceparent"], headers["x-request-id"]) == (trace, "r-1")
    headers = _headers(traceparent="no\r\nx: y", x_request_id="no\r\nx: y")
    assert "traceparent" not in headers
    assert headers["x-request-id"] == request_id(message()) == _headers()["x-request-id"], "the same for every attempt"
