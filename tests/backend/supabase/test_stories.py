"""What an application does, with supabase-js as it comes: each story of tests/clients/backend.mjs."""

from __future__ import annotations

import asyncio

import pytest

from tests.backend.harness.backend import Backend
from tests.harness import stories


@pytest.mark.parametrize("story", stories.SUPABASE)
async def test_supabase_js(backend: Backend, story: str) -> None:
    said = await asyncio.to_thread(backend.node, story)
    assert said.returncode == 0, f"{story}:\n{said.stderr}"


async def test_every_story_is_told(backend: Backend) -> None:
    said = await asyncio.to_thread(backend.node)
    assert said.stdout.splitlines() == stories.SUPABASE, said.stderr
