"""No way of writing an address, and no name, leads a webhook inside. A real listener on loopback counts who comes."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterable
from ipaddress import ip_address
from itertools import cycle

import pytest
import pytest_asyncio
from aiohttp import ThreadedResolver, web
from aiohttp.abc import AbstractResolver, ResolveResult

from baas_operator.api.webhooks import Webhook
from baas_operator.dispatcher.addresses import Guard, Network, networks
from baas_operator.dispatcher.config import MakeGuard, Told
from baas_operator.dispatcher.outcome import Outcome, Verdict
from baas_operator.dispatcher.request import Message
from baas_operator.dispatcher.sender import Sender
from tests.unit.dispatcher.messages import message

LITERALS = (
    "127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "127.255.255.254", "0177.0.0.1", "0177.1", "0x7f.1", "0x7f.0.0.1", "0X7F.0.0.1",
    "2130706433", "0x7f000001", "017700000001", "0", "0.0.0.0", "1２7.0.0.1", "１２７.０.０.１", "127。0。0。1", "①②⑦.⓪.⓪.①",
    "localhost", "LOCALHOST", "localhost.", "LocalHost.", "a.localhost",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "[fe80::1%25lo]", "[::1%25lo]",
)  # fmt: skip
"""Ways to write this machine's address; what has the listener's port added has to fail before it gets there."""
REFUSED = (
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "100.64.0.1", "100.127.255.255", "169.254.169.254", "169.254.0.1", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1",
    "198.19.255.255", "198.51.100.1", "203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "100.100.100.200", "168.63.129.16",
    "::", "::1", "::2", "::10.0.0.1", "::ffff:10.0.0.1", "::ffff:0:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:a00:1::", "2002:c0a8:101::1", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "2001:db8::1",
    "3fff::1", "100::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254", "fd12:3456::1", "fe80::1", "febf::1", "fec0::1", "ff02::1", "5f00::1",
    "fe80::1%eth0", "8.8.8.8%eth0", "127.1", "", "example.com",
)  # fmt: skip
PUBLIC = ("1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "192.0.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")


class Answers(AbstractResolver):
    """A name server that says something else each time."""

    def __init__(self, *each_time: tuple[str, ...]) -> None:
        self._answers = cycle(each_time)
        self.asked = 0

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC) -> list[ResolveResult]:
        self.asked += 1
        return [
            ResolveResult(
                hostname=host, host=each, port=port, proto=0, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET if ip_address(each).version == 4 else socket.AF_INET6,
            )
            for each in next(self._answers)
        ]  # fmt: skip

    async def close(self) -> None: ...


class Blind(Guard):
    """Finds nothing wrong with what a name leads to, as if the resolver were not ours, but judges what is dialled."""

    def refusal(self, text: str) -> str | None:
        return None

    def socket(self, info: object) -> socket.socket:
        return Guard().socket(info)  # type: ignore[arg-type]


class Open(Guard):
    """Lets everything pass."""

    def refusal(self, text: str) -> str | None:
        return None


class Listener:
    """Something on this machine that nobody must reach."""

    def __init__(self) -> None:
        self.port = 0
        self.hits: list[str] = []

    async def hit(self, request: web.Request) -> web.Response:
        self.hits.append(str(request.url))
        return web.Response(status=204)


@pytest_asyncio.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", made.hit)
    runner = web.AppRunner(app)
    await runner.setup()
    both = socket.socket(socket.AF_INET6)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    both.bind(("::", 0))
    await web.SockSite(runner, both).start()
    made.port = both.getsockname()[1]
    yield made
    await runner.cleanup()


async def post(
    url: str, *, make_guard: MakeGuard = Guard, resolver: AbstractResolver | None = None, allow: Iterable[Network] = (), times: int = 1
) -> list[Outcome]:
    """What comes of posting to a URL, which nobody looked at before."""
    webhook = Webhook.model_construct(
        **(Webhook(name="a", stream="orders", url="https://a.example", timeout_seconds=1).__dict__ | {"url": url})
    )
    sender = Sender(Told(webhook, (b"k" * 24,), None, tuple(allow)), where=("shop", "jobs"), make_guard=make_guard,
                    resolver=resolver or ThreadedResolver())  # fmt: skip
    try:
        return [await sender.post(_message(), (b"k" * 24,), 1) for _ in range(times)]
    finally:
        await sender.close()


def _message() -> Message:
    return message(payload=b"{}")


async def test_the_listener_can_be_reached(listener: Listener) -> None:
    (outcome,) = await post(f"http://127.0.0.1:{listener.port}/", make_guard=Open)
    assert outcome.taken
    assert len(listener.hits) == 1


@pytest.mark.parametrize("host", LITERALS)
async def test_this_machine_is_not_reached_however_it_is_written(listener: Listener, host: str) -> None:
    (outcome,) = await post(f"http://{host}:{listener.port}/")
    assert outcome.verdict in (Verdict.REFUSED, Verdict.UNREACHABLE)
    assert listener.hits == []
    assert Guard().url_refusal(f"http://{host}:{listener.port}/"), "its configuration says so before anything is sent"


@pytest.mark.parametrize("host", ["127.0.0.1", "１２７.０.０.１", "localhost", "[::ffff:7f00:1]"])
async def test_what_resolves_is_refused_and_not_just_unreachable(listener: Listener, host: str) -> None:
    (outcome,) = await post(f"http://{host}:{listener.port}/")
    assert outcome.verdict is Verdict.REFUSED
    assert "this machine" in outcome.detail


@pytest.mark.parametrize("answer", [("127.0.0.1",), ("::1",), ("::ffff:127.0.0.1",), ("1.1.1.1", "127.0.0.1"), ("127.0.0.1", "1.1.1.1")])
async def test_a_name_that_leads_here_is_refused(listener: Listener, answer: tuple[str, ...]) -> None:
    (outcome,) = await post(f"http://evil.example:{listener.port}/", resolver=Answers(answer))
    assert outcome.verdict is Verdict.REFUSED
    assert "evil.example" in outcome.detail
    assert listener.hits == []


async def test_a_name_that_changes_its_answer_is_refused_when_it_does(listener: Listener) -> None:
    resolver = Answers(("127.0.0.1",), ("::1",), ("10.0.0.1",))
    outcomes = await post(f"http://evil.example:{listener.port}/", resolver=resolver, times=6)
    assert {each.verdict for each in outcomes} == {Verdict.REFUSED}
    assert resolver.asked == 6, "what was refused is not remembered as good"
    assert listener.hits == []


@pytest.mark.parametrize("answer", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.9.9.9"])
async def test_what_is_dialled_is_judged_even_if_the_resolver_was_fooled(listener: Listener, answer: str) -> None:
    (outcome,) = await post(f"http://evil.example:{listener.port}/", make_guard=Blind, resolver=Answers((answer,)))
    assert not outcome.taken
    assert "this machine" in outcome.detail
    assert listener.hits == []


async def test_redirects_are_not_followed(listener: Listener) -> None:
    async def away(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"http://127.0.0.1:{listener.port}/inside"})

    app = web.Application()
    app.router.add_post("/", away)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (outcome,) = await post(f"http://127.0.0.1:{runner.addresses[0][1]}/", make_guard=Open)
    await runner.cleanup()
    assert outcome.verdict is Verdict.FAILED
    assert outcome.status == 307
    assert listener.hits == []


async def test_a_proxy_of_the_environment_is_not_asked(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listener.port}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{listener.port}")
    (outcome,) = await post("http://evil.example/", resolver=Answers(("10.0.0.1",)))
    assert outcome.verdict is Verdict.REFUSED
    assert listener.hits == []


@pytest.mark.parametrize("address", REFUSED)
def test_refused(address: str) -> None:
    assert Guard().refusal(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert Guard().refusal(address) is None


def test_private_networks_are_let_in_by_name_and_nothing_else() -> None:
    guard = Guard(networks(["10.96.0.0/12", "fd12::/16"]))
    assert guard.refusal("10.96.0.1") is None
    assert guard.refusal("::ffff:10.96.0.1") is None
    assert guard.refusal("fd12::1") is None
    assert guard.refusal("10.0.0.1")
    assert guard.refusal("fd13::1")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "fd00:ec2::254", "0.0.0.0", "224.0.0.1", "::ffff:127.0.0.1"]
)
def test_some_stay_refused_whatever_is_allowed(address: str) -> None:
    assert Guard(networks(["0.0.0.0/0", "::/0"])).refusal(address)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://user:secret@example.com/", "user"), ("http://user@example.com/", "user"), ("ftp://example.com/", "https"),
        ("https://", "host"),
        ("http://example.com:99999/", "none"), ("http://[::1", "none"), ("http://127.0.0.1#@example.com/", "this machine"),
        ("http://example.com@127.0.0.1/", "user"), ("http://300.1.1.1/", "address"),
    ],
)  # fmt: skip
def test_urls_that_are_refused(url: str, why: str) -> None:
    refusal = Guard().url_refusal(url)
    assert refusal
    assert why in refusal
    assert "secret" not in refusal


@pytest.mark.parametrize(
    "url", ["https://example.com/hook?x=1", "http://EXAMPLE.com:8080", "https://xn--bcher-kva.example/", "https://1.1.1.1/"]
)
def test_urls_that_may_be(url: str) -> None:
    assert Guard().url_refusal(url) is None
