"""What the lab needs of the machine itself: privileges, and a few Debian packages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from baas_lab.cache import Cache
from baas_lab.errors import MissingError
from baas_lab.process import run
from baas_lab.progress import Progress

CAP_SYS_RESOURCE = 24  # its number in linux/capability.h

# program → the Debian package that has it
PACKAGES = {
    "dockerd": "docker.io",
    "docker": "docker.io",
    "iptables": "iptables",
    "ip": "iproute2",
    "debootstrap": "debootstrap",
    "mkfs.ext4": "e2fsprogs",
    "mount": "mount",
}


# Each kubelet and containerd takes several; at the usual 128 per user the last nodes of a cluster do not start
# ("inotify_init: too many open files"). 512 is what kind's documentation advises.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 1024
INOTIFY_BEFORE = "inotify-before"  # in the cache: the limit that the machine had


def is_root() -> bool:
    return os.geteuid() == 0


def lacks_sys_resource(status: Path = Path("/proc/self/status")) -> bool:
    """Whether CAP_SYS_RESOURCE is missing from the bounding set, so that no program here can ever have it."""
    if not status.exists():  # not Linux: Docker runs in a machine of its own, which has everything
        return False
    for line in status.read_text().splitlines():
        if line.startswith("CapBnd:"):
            return not int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1
    return False


def find_program(name: str) -> str | None:
    """Its path; the sbin folders count too, which not every user has on PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")


def require_programs(names: list[str], cache: Cache, progress: Progress, *, why: str) -> None:
    """Make sure that the programs exist; install their Debian packages if that is possible here. Raises MissingError."""
    missing = [name for name in names if not find_program(name)]
    if not missing:
        return
    packages = sorted({PACKAGES[name] for name in missing})
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if not (is_root() and shutil.which("apt-get")):
        raise MissingError(f"{', '.join(missing)} must be installed: {why}.", hint=f"On Debian, as root: {command}")
    with progress.step(f"Debian packages: {' '.join(packages)}"), cache.lock("apt"):
        # RUNLEVEL=1 keeps the packages' scripts from starting services of their own (a second Docker daemon).
        env = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        log = cache.log("apt")
        if run(command.split(), env=env, log=log, check=False).returncode != 0:
            run(["apt-get", "update"], env=env, log=log)
            run(command.split(), env=env, log=log)


def allow_inotify(cache: Cache, progress: Progress) -> None:
    """Raise the kernel's limit of inotify instances if it is too low for a cluster; without root, say so."""
    if not INOTIFY.exists():
        return
    before = INOTIFY.read_text().strip()
    if int(before) >= INOTIFY_INSTANCES:
        return
    if not is_root():
        progress.note(f"Nodes may fail to start: as root, run `sysctl fs.inotify.max_user_instances={INOTIFY_INSTANCES}`")
        return
    cache.root.mkdir(parents=True, exist_ok=True)
    (cache.root / INOTIFY_BEFORE).write_text(before)
    INOTIFY.write_text(str(INOTIFY_INSTANCES))


def restore_inotify(cache: Cache) -> None:
    """Set the limit back to what it was before the lab raised it."""
    saved = cache.root / INOTIFY_BEFORE
    if saved.exists():
        INOTIFY.write_text(saved.read_text())
        saved.unlink()
