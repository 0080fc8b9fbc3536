"""The programs, as the lab's images have them; fetched into the lab's cache where they are not there yet (a minute or two, once)."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path

from baas_lab.cache import Cache
from baas_lab.operand_recipes import fetch
from baas_lab.operands import DENO, IMAGES, RECIPES, REPOSITORY

FUNCTIONS = REPOSITORY / "images/functions/src"
CLIENTS = REPOSITORY / "tests/clients"


def program(image: str, name: str) -> Path:
    """A program of an image."""
    return IMAGES[image].programs[name].get(Cache())


@cache
def deno() -> Path:
    """What functions run in."""
    return DENO.get(Cache())


@cache
def standin_libraries() -> Path:
    """Folder with the stand-ins' libraries for this Python, in the versions of their images."""
    requirements = RECIPES / "standins/requirements.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]

    def build(target: Path) -> None:
        command = [fetch.UV, "pip", "install", "--quiet", "--python", sys.executable, "--target", target, "--no-deps"]
        subprocess.run([*command, "--require-hashes", "--requirements", requirements], check=True)

    return Cache().ensure(f"standins-{digest}", build)


@cache
def postgres_meta() -> Path:
    """Folder of postgres-meta."""
    return fetch.node_modules(Cache(), RECIPES / "postgres-meta") / "@supabase/postgres-meta"


@cache
def client_folder() -> Path:
    """Folder of the clients, with their packages."""
    lock, installed = CLIENTS / "package-lock.json", CLIENTS / "node_modules/.package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=CLIENTS, check=True, timeout=300)
    return CLIENTS
