"""The Debian base images, under their upstream names, so that ordinary Dockerfiles build unchanged.

Pulled where a registry can be reached. Elsewhere debootstrap makes them from Debian's packages, slimmed as upstream
slims them (no manuals, no translations), and the archive is kept in the cache.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from baas_lab.cache import Cache
from baas_lab.docker import Docker
from baas_lab.errors import LabError
from baas_lab.process import run
from baas_lab.progress import Progress
from baas_lab.system import is_root, require_programs
from baas_lab.versions import DEBIAN_SUITES

RECIPE = 1  # raise it when what follows makes another image than before
MIRROR = "http://deb.debian.org"

# What upstream's slim images leave out too; packages installed later obey it as well.
SLIM = """\
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/info/*
path-exclude /usr/share/lintian/*
path-exclude /usr/share/groff/*
"""
REMOVED = (
    "var/cache/apt/archives/*.deb",
    "var/cache/apt/*.bin",
    "var/lib/apt/lists/*",
    "var/log/*.log",
    "var/log/apt/*",
    "usr/share/man/*",
    "usr/share/locale/*",
    "usr/share/info/*",
    "usr/share/lintian/*",
    "usr/share/doc/*/changelog*",
    "usr/share/doc/*/NEWS*",
)


def reference(suite: str) -> str:
    """`bookworm` → `debian:bookworm-slim`."""
    return f"debian:{suite}-slim"


def sources(suite: str) -> str:
    """Where the image's apt finds packages and security updates."""
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    return "\n".join(
        [
            f"Types: deb\nURIs: {MIRROR}/debian\nSuites: {suite} {suite}-updates\nComponents: main\nSigned-By: {keyring}\n",
            f"Types: deb\nURIs: {MIRROR}/debian-security\nSuites: {suite}-security\nComponents: main\nSigned-By: {keyring}\n",
        ]
    )


def ensure(docker: Docker, cache: Cache, progress: Progress, suite: str) -> str:
    """Make sure that the daemon has the suite's base image; returns its reference."""
    name = reference(suite)
    if docker.image_exists(name):
        return name
    with progress.step(f"Base image {name}"):
        if docker.pull(name):
            return name
        archive = cache.ensure(f"bases/{suite}-slim-{RECIPE}.tar", lambda target: bootstrap(suite, target, cache, progress))
        docker.import_root(archive, name, changes=['CMD ["bash"]'])
    return name


def ensure_all(docker: Docker, cache: Cache, progress: Progress) -> list[str]:
    """All base images that the lab's own images and the operands start from."""
    return [ensure(docker, cache, progress, suite) for suite in DEBIAN_SUITES]


def bootstrap(suite: str, target: Path, cache: Cache, progress: Progress) -> None:
    """Write the root file system of a minimal Debian to the archive `target`. Needs root."""
    if not is_root():
        raise LabError(
            f"The image {reference(suite)} can neither be pulled nor made: making it takes root.",
            hint=f"Run this command as root, or give the daemon an image named {reference(suite)}.",
        )
    require_programs(["debootstrap"], cache, progress, why=f"{reference(suite)} cannot be pulled")
    with tempfile.TemporaryDirectory(prefix="baas-lab-", dir=target.parent) as folder:
        root = Path(folder) / "root"
        run(["debootstrap", "--variant=minbase", suite, root, f"{MIRROR}/debian"], log=cache.log(f"debootstrap-{suite}"))
        (root / "etc/dpkg/dpkg.cfg.d/docker-slim").write_text(SLIM)
        (root / "etc/apt/sources.list").unlink(missing_ok=True)
        (root / "etc/apt/sources.list.d/debian.sources").write_text(sources(suite))
        (root / "etc/apt/apt.conf.d/docker-no-languages").write_text('Acquire::Languages "none";\n')
        (root / "etc/resolv.conf").unlink(missing_ok=True)  # the machine's own, of no use in an image
        (root / "etc/hostname").unlink(missing_ok=True)
        for pattern in REMOVED:
            run(["rm", "-rf", *root.glob(pattern)])
        run(["tar", "--numeric-owner", "-C", root, "-cf", target, "."])
