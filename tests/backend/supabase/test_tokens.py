"""Who verifies a token goes by its key, and not by what the token says of itself: without the gateway before it."""

from __future__ import annotations

import aiohttp
import pytest

from tests.backend.harness.backend import Backend

PATHS = {"rest": "/", "auth": "/admin/users", "storage": "/bucket"}


@pytest.mark.parametrize("component", PATHS)
async def test_the_public_key_signs_nothing(backend: Backend, component: str) -> None:
    url = backend.urls(component)[0] + PATHS[component]
    for what, token in {"the key itself": backend.service, **backend.keys.confused("service_role")}.items():
        async with aiohttp.request("GET", url, headers={"Authorization": f"Bearer {token}"}) as answer:
            told = f"{what}: {answer.status} {await answer.text()}"
            assert answer.status == 200 if what == "the key itself" else answer.status in (400, 401, 403), told
