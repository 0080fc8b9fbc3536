"""What a dispatcher is told, and that one broken webhook harms no other."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from baas_operator.dispatcher.config import ConfigError, NatsFiles, read

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()


def _write(folder: Path, *webhooks: dict[str, Any], **more: Any) -> Path:
    path = folder / "dispatcher.json"
    path.write_text(json.dumps({"queue": "jobs", "namespace": "shop", "host": "jobs", "webhooks": webhooks} | more))
    return path


def _secret(folder: Path, name: str, text: str | bytes, file: str = "secret", kind: str = "webhook") -> None:
    (folder / kind / name).mkdir(parents=True, exist_ok=True)
    (folder / kind / name / file).write_bytes(text if isinstance(text, bytes) else text.encode())


def _hook(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "stream": "orders", "url": "https://a.example/hook"} | more


@pytest.mark.parametrize(
    ("more", "secret", "why"),
    [
        ({}, None, "key `secret`"), ({}, "", "empty"), ({}, "no", "whsec_"), ({}, b"\xff\xfe", "text"),
        ({"url": "http://127.0.0.1/"}, SECRET, "this machine"), ({"ca": {"name": "mine"}}, SECRET, "ca.crt"),
        ({"allowNetworks": ["10.0.0.0/99"]}, SECRET, "allowNetworks"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_one_is_said_and_harms_no_other(
    tmp_path: Path, more: dict[str, Any], secret: str | bytes | None, why: str
) -> None:
    path = _write(tmp_path, _hook("bad", **more), _hook("good"))
    _secret(tmp_path, "good", SECRET)
    if secret is not None:
        _secret(tmp_path, "bad", secret)
    bad, good = read(path, tmp_path).webhooks
    assert why in (bad.trouble or "")
    assert good.trouble is None
    assert good.keys == (b"s" * 32,)


def test_the_authority_is_looked_at(tmp_path: Path) -> None:
    path = _write(tmp_path, _hook("a", ca={"name": "mine"}))
    _secret(tmp_path, "a", SECRET)
    _secret(tmp_path, "a", "no certificate", "ca.crt")
    assert "PEM" in (read(path, tmp_path).webhooks[0].trouble or "")


def test_the_rate_is_shared(tmp_path: Path) -> None:
    path = _write(tmp_path, _hook("a", ratePerSecond=10, maxPayload="1Ki"), replicas=4)
    _secret(tmp_path, "a", SECRET)
    (told,) = read(path, tmp_path).webhooks
    assert (told.rate, told.max_payload) == (2.5, 1024)
    assert SECRET not in repr(told)
    assert "ssss" not in repr(told)


def test_the_rate_of_one_with_an_order_is_its_holders_alone(tmp_path: Path) -> None:
    path = _write(tmp_path, _hook("a", ratePerSecond=10, ordering={"by": "subject"}), replicas=4)
    _secret(tmp_path, "a", SECRET)
    assert [each.rate for each in read(path, tmp_path).webhooks] == [10]


@pytest.mark.parametrize("text", ["", "{", '{"queue": "a"}', '{"queue": "a", "namespace": "b", "host": "c", "more": 1}'])
def test_what_can_not_be_understood_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "dispatcher.json").write_text(text)
    with pytest.raises(ConfigError, match=r"dispatcher\.json is not"):
        read(tmp_path / "dispatcher.json", tmp_path)


def test_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can not be read"):
        read(tmp_path / "dispatcher.json", tmp_path)


def test_a_new_password_is_read_with_the_next_connection(tmp_path: Path) -> None:
    files = NatsFiles(tmp_path / "nats")
    assert (files.user(), files.password(), files.tls()) == ("", "", None)
    _secret(tmp_path, "nats", "dispatcher\n", "username", kind="")
    _secret(tmp_path, "nats", "one", "password", kind="")
    assert (files.user(), files.password()) == ("dispatcher", "one")
    _secret(tmp_path, "nats", "two", "password", kind="")
    assert files.password() == "two"


def test_an_outbox_that_can_not_be_understood_harms_nothing_else(tmp_path: Path) -> None:
    outboxes = [
        {"name": "a", "host": "db", "database": "shop", "user": "shop", "stream": "orders"}, {"name": "b", "host": "db"},
        {"name": "c", "trouble": "There is no DatabaseReplica db."},
    ]  # fmt: skip
    loaded = read(_write(tmp_path, _hook("good"), outboxes=outboxes, deadLetters={"orders": "workqueue"}), tmp_path)
    good, broken, told = loaded.outboxes
    assert good.config
    assert good.config.secrets == tmp_path / "outbox" / "a"
    assert (broken.config, "database" in broken.trouble) == (None, True)
    assert (told.config, told.trouble) == (None, "There is no DatabaseReplica db.")
    assert loaded.config.dead_letters == {"orders": "workqueue"}
