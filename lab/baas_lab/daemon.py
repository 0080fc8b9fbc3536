"""Which Docker daemon to use, and a private one where none answers.

The private daemon keeps everything in folders of its own (`<cache>/daemon`), so it can neither see nor disturb another
daemon, and stopping it leaves the machine as it was. It outlives the `lab` command that started it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from baas_lab import host_network
from baas_lab.cache import Cache
from baas_lab.docker import Docker, default_docker
from baas_lab.errors import LabError
from baas_lab.process import run, tail
from baas_lab.progress import Progress
from baas_lab.system import find_program, is_root, lacks_sys_resource, require_programs
from baas_lab.waiting import wait_until

START_SECONDS = 40.0
STOP_SECONDS = 40.0  # it gives its containers 10 s to stop, then kills them
SOCKET_PATH_LIMIT = 107  # bytes in a sockaddr_un


@dataclass(frozen=True)
class PrivateDaemon:
    """The lab's own dockerd: its files, and whether it runs."""

    cache: Cache

    @property
    def folder(self) -> Path:
        return self.cache.root / "daemon"

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    @property
    def docker(self) -> Docker:
        return Docker(host=f"unix://{self.socket}", private=True)

    @property
    def log(self) -> Path:
        return self.cache.log("dockerd")

    def pid(self) -> int | None:
        """The process id of the running daemon; None if the pid file is missing, stale, or another program's."""
        return _pid_of(self.folder / "docker.pid", str(self.folder))

    def running(self) -> bool:
        return self.pid() is not None and self.docker.answers()

    def start(self, progress: Progress) -> Docker:
        """Start it and wait until it answers. Raises LabError with the end of its log when it does not."""
        if not is_root():
            raise LabError(
                "No Docker daemon answers, and starting one takes root.",
                hint="Start Docker, set DOCKER_HOST, or run this command as root.",
            )
        if len(str(self.socket)) > SOCKET_PATH_LIMIT:
            raise LabError(f"The path of the Docker socket is too long: {self.socket}", hint="Set XDG_CACHE_HOME to a shorter path.")
        require_programs(["dockerd", "docker", "iptables", "ip"], self.cache, progress, why="the lab starts a Docker daemon of its own")
        with self.cache.lock("daemon"):
            if self.running():
                return self.docker
            with progress.step("Private Docker daemon"):
                if self.pid() is not None:  # someone else's command started it a moment ago
                    wait_until(self.docker.answers, timeout_seconds=START_SECONDS, what="the private Docker daemon answers")
                    return self.docker
                self._forget_dead()
                host_network.remember(self._host_before)
                process = self._spawn()
                wait_until(
                    lambda: self.docker.answers() or process.poll() is not None,
                    timeout_seconds=START_SECONDS,
                    what="the private Docker daemon answers",
                )
                if process.poll() is not None:
                    raise LabError(
                        "The private Docker daemon ended right after its start.",
                        hint=tail(self.log.read_text(errors="replace")),
                        log=self.log,
                    )
        return self.docker

    def _forget_dead(self) -> None:
        """Remove the pid files of processes that were killed: while nobody has waited for those, dockerd waits for them."""
        for path in (self.folder / "docker.pid", self._containerd_pid):
            if _pid_of(path, str(self.folder)) is None:
                path.unlink(missing_ok=True)

    @property
    def _host_before(self) -> Path:
        return self.folder / "host-before.json"

    @property
    def _containerd_pid(self) -> Path:
        return self.folder / "exec/containerd/containerd.pid"

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        dockerd = find_program("dockerd")
        assert dockerd is not None  # require_programs saw it
        words = [dockerd, "--data-root", self.folder / "data", "--exec-root", self.folder / "exec"]
        words += ["--pidfile", self.folder / "docker.pid", "--host", f"unix://{self.socket}", *self._runtime()]
        environment = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"}
        with self.log.open("ab") as sink:
            return subprocess.Popen(  # a session of its own: it must outlive this command
                [str(word) for word in words],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
                env=environment,
            )

    def _runtime(self) -> list[str]:
        """Where no process can have CAP_SYS_RESOURCE, runc refuses privileged containers and exec into them
        ("unable to apply caps"): there, a wrapper takes it out of each container's specification first."""
        if not lacks_sys_resource():
            return []
        wrapper = self.folder / "runc-without-sys-resource"
        python = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
        source = files("baas_lab").joinpath("files/runc_without_sys_resource.py").read_text()
        wrapper.write_text(f"#!{python}\n{source}")
        wrapper.chmod(0o755)
        return ["--add-runtime", f"lab={wrapper}", "--default-runtime", "lab"]

    def stop(self) -> bool:
        """End it, with the containerd it started; its containers stop first. False if it did not run."""
        pid = self.pid()
        containerd = _pid_of(self._containerd_pid, str(self.folder))
        stopped = False
        for process, name in ((pid, "dockerd"), (containerd, "containerd")):
            if process is None or not _alive(process):
                continue
            stopped = True
            os.kill(process, signal.SIGTERM)
            wait_until(
                lambda process=process: not _alive(process),  # type: ignore[misc]
                timeout_seconds=STOP_SECONDS,
                what=f"{name} (process {process}) has ended",
            )
        self._unmount()
        if not Docker().answers() and not others():  # one that has come up since needs what this one would remove
            host_network.restore(self._host_before)
        return stopped

    def _unmount(self) -> None:
        """dockerd leaves its data folder mounted on itself, and what it could not release when it was killed."""
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in sorted((mount for mount in mounts if mount.startswith(f"{self.folder}/")), reverse=True):
            run(["umount", mount])


def connect(cache: Cache, progress: Progress) -> Docker:
    """A Docker daemon that answers: the one that `find` finds, else the lab's own, started now."""
    return find(cache) or PrivateDaemon(cache).start(progress)


def find(cache: Cache) -> Docker | None:
    """A daemon that answers already: the lab's own, or else the machine's. Nothing is started.

    Where a cluster of the lab lives on the lab's own daemon, the machine's is not considered: it would seem lost.
    """
    private = PrivateDaemon(cache)
    if private.running():
        return private.docker
    if not shutil.which("docker") or _has_clusters_on_private(cache):
        return None
    usual = default_docker()
    return usual if usual.host != private.docker.host and usual.answers() else None


def others() -> list[int]:
    """The processes of all Docker daemons of this machine, such as another lab's, whose cache is in another folder."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if comm.read_text().strip() == "dockerd" and _alive(pid := int(comm.parent.name)):
                found.append(pid)
    return found


def _has_clusters_on_private(cache: Cache) -> bool:
    facts = (cache.root / "clusters").glob("*/cluster.json")
    return any(json.loads(path.read_text()).get("private_daemon") for path in facts)


def _pid_of(pid_file: Path, needle: str) -> int | None:
    """The process in a pid file, if it lives and its command line has `needle` in it: numbers are reused."""
    try:
        pid = int(pid_file.read_text())
        command_line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return pid if needle in command_line else None


def _alive(pid: int) -> bool:
    """Whether the process runs. One that ended and was not yet waited for (state Z) does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rsplit(")", 1)[1].split()[0] != "Z"
