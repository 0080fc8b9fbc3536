"""The client of transactions: what it makes of answers, good ones and others."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from baas_operator.prober.client import Answer, Client, Gateway
from baas_operator.prober.config import ConfigError, read
from baas_operator.prober.failure import Failure, quoted
from tests.unit.prober.doors import backend, raw, tell


async def of(answer: bytes, *, hold: bool = False) -> Answer:
    async with raw(answer, hold=hold) as client:
        return await client.ask("GET", "/thing", {})


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;ext=1\r\ni\r\n0\r\n\r\n", b"hi"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200\r\ncontent-length:2\r\n\r\nhi", b"hi"),
    ],
)
async def test_an_answer_is_whole_though_the_connection_stays_open(answer: bytes, body: bytes) -> None:
    assert (await of(answer, hold=True)).body == body


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    assert (await of(b"HTTP/1.0 200 OK\r\n\r\nhi")).body == b"hi"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nhi",
        b"HTTP/1.1 OK\r\n\r\n",
        b"220 mail.example ESMTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhi\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)  # fmt: skip
async def test_what_is_no_whole_answer_is_a_failure(answer: bytes) -> None:
    with pytest.raises(Failure, match="GET /thing: ") as caught:
        await of(answer)
    assert caught.value.kind in ("broken", "unreachable")


async def test_who_does_not_listen_is_told_in_a_sentence_without_the_query() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = Client(Gateway("127.0.0.1", taken.getsockname()[1], "shop.example"))
        with pytest.raises(Failure, match=r"^POST /rest/v1/beats: ") as caught:
            await client.ask("POST", "/rest/v1/beats?secret=1", {}, {"a": 1})
    assert caught.value.kind == "unreachable"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"message": "no healthy upstream"}', "GET /thing: 503: no healthy upstream"),
        (b'{"code": 503, "msg": "away"}', "GET /thing: 503: away"),
        (b"upstream connect error\nsecond line", "GET /thing: 503: upstream connect error"),
        (b"", "GET /thing: 503"),
    ],
)
async def test_a_refusal_is_quoted_and_cut(body: bytes, said: str) -> None:
    async with raw(b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)) as client:
        with pytest.raises(Failure) as caught:
            await client.expect("GET", "/thing", {})
    assert caught.value.kind == "503"
    assert str(caught.value) == said


def test_what_is_quoted_is_short_and_can_be_shown_anywhere() -> None:
    said = quoted(b"\n\n\x1b[31m" + b"y" * 5000 + b"\nmore")
    assert len(said) == 160
    assert said.isprintable()
    assert said.endswith("y…")


async def test_a_key_with_a_line_break_puts_no_header_of_its_own_into_a_request() -> None:
    async with backend() as there:
        client = Client(Gateway("127.0.0.1", there.port, "shop.example"))
        with pytest.raises(Failure):
            await client.ask("GET", "/thing", {"apikey": "good\r\nX-Other: 1"})
        assert there.asked == []


async def test_over_tls_the_very_certificate_of_the_gateway_is_trusted_for_its_host_alone(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    _certificate(folder, "shop.example")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(folder / "tls.crt", folder / "tls.key")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    try:
        for host, well in (("shop.example", True), ("shop.example:8443", True), ("other.example", False)):
            gateway = {"address": "127.0.0.1", "port": port, "host": host, "tls": str(folder), "named": True}
            config, _ = tell(tmp_path, port, gateway=gateway)
            client = Client(read(config).gateway)
            if well:
                assert (await client.ask("GET", "/", {})).status == 204
            else:
                with pytest.raises(Failure) as caught:
                    await client.ask("GET", "/", {})
                assert caught.value.kind == "tls"
        assert (await Client(read(tell(tmp_path, port, gateway=gateway | {"named": False})[0]).gateway).ask("GET", "/", {})).status == 204
        _certificate(folder, "shop.example")  # another one, which the gateway does not have
        with pytest.raises(Failure, match="CERTIFICATE_VERIFY_FAILED"):
            await Client(read(tell(tmp_path, port, gateway=gateway | {"host": "shop.example"})[0]).gateway).ask("GET", "/", {})
        for wrong, why in (("nonsense", "tls.crt of the Secret .* is no certificate"), (None, "tls.crt of the Secret .* No such file")):
            (folder / "tls.crt").write_text(wrong) if wrong else (folder / "tls.crt").unlink()
            with pytest.raises(ConfigError, match=why):
                read(config)
    finally:
        server.close()


def _certificate(folder: Path, host: str) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=x",
         "-addext", f"subjectAltName=DNS:{host}", "-keyout", folder / "tls.key", "-out", folder / "tls.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
