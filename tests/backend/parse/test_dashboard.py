"""Parse Dashboard in several pods: who logged in at one is known at the others, and who did not sees nothing."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPRedirectHandler, OpenerDirector, Request, build_opener

import pytest

from tests.backend.parse.harness import KEYS, LOGIN, DashboardPod, Valkey


@pytest.fixture
def pods() -> Iterator[list[DashboardPod]]:
    """Two pods with two caches."""
    with tempfile.TemporaryDirectory(prefix="baas-dashboard-") as made:
        folder = Path(made)
        caches = [Valkey(folder, f"cache{number}") for number in range(2)]
        for cache in caches:
            cache.start()
        dashboards = [DashboardPod(folder, f"dashboard{number}", [each.port for each in caches]) for number in range(2)]
        try:
            for each in dashboards:
                each.start()
            for each in dashboards:
                each.wait()
            yield dashboards
        finally:
            for process in [*dashboards, *caches]:
                process.kill()


class _WhereItIs(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """A redirect is an answer."""


def browser() -> OpenerDirector:
    return build_opener(HTTPCookieProcessor(CookieJar()), _WhereItIs())


def read(who: OpenerDirector, url: str, form: dict[str, str] | None = None) -> tuple[int, str]:
    """A page as a browser behind the gateway asks for it."""
    headers = {"Host": "api.shop.example", "X-Forwarded-Proto": "https"}
    request = Request(url, data=urlencode(form).encode() if form else None, headers=headers)  # noqa: S310 - loopback
    try:
        with who.open(request, timeout=10) as response:
            return response.status, response.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


def log_in(who: OpenerDirector, pod: DashboardPod, password: str) -> None:
    page = read(who, f"{pod.url}/login")[1]
    token = re.search(r'id="csrf"[^>]*>"([^"]+)"', page)
    assert token, page
    assert read(who, f"{pod.url}/login", {"username": LOGIN["username"], "password": password, "_csrf": token[1]})[0] == 302


def test_a_login_counts_at_every_pod(pods: list[DashboardPod]) -> None:
    someone = browser()

    log_in(someone, pods[0], LOGIN["password"])

    for pod in pods:
        status, text = read(someone, f"{pod.url}/parse-dashboard-config.json")
        assert status == 200, text
        (app,) = json.loads(text)["apps"]
        assert app["masterKey"] == KEYS["masterKey"]
        assert app["serverURL"] == "https://api.shop.example/parse"


def test_nobody_else_sees_a_key(pods: list[DashboardPod]) -> None:
    stranger, guesser = browser(), browser()
    log_in(guesser, pods[0], "wrong")

    for who in (stranger, guesser):
        for pod in pods:
            status, text = read(who, f"{pod.url}/parse-dashboard-config.json")
            assert status == 401
            assert not any(key in text for key in KEYS.values())
    assert not any(key in pod.said for key in [*KEYS.values(), *LOGIN.values()] for pod in pods if key != "admin")
