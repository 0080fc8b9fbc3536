"""A real Prometheus on loopback, of its own, until the block ends."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from baas_lab import binaries
from baas_lab.cache import Cache
from baas_lab.errors import CommandError, LabError
from baas_lab.process import run, tail
from baas_lab.waiting import wait_until
from tests.jetstream.harness.servers import free_ports

VERSION = "v0.316.0"
"""Of the Go module, whose sum the checksum database knows; Prometheus itself calls it 3.16.0."""
_PACKAGE = "github.com/prometheus/prometheus/cmd/prometheus"
_TAGS = "remove_all_sd,enable_kubernetes_sd"
"""Without the libraries of clouds that it would ask for machines: a third of the time to build it."""
START_SECONDS = 60.0
STOP_SECONDS = 30.0
ANSWER_SECONDS = 60.0


def program(cache: Cache) -> Path:
    """Prometheus; built into the lab's cache when it is not there (minutes, once). Raises MissingError without a Go toolchain."""

    def build(target: Path) -> None:
        binaries.require_go(why="to build Prometheus")
        with TemporaryDirectory() as folder:
            command = ["go", "install", "-trimpath", "-tags", _TAGS, "-ldflags", "-s -w", f"{_PACKAGE}@{VERSION}"]
            run(command, env={"CGO_ENABLED": "0", "GOBIN": folder, "GOFLAGS": ""}, log=cache.log("prometheus"))
            shutil.move(Path(folder) / "prometheus", target)

    return cache.ensure(f"prometheus-{VERSION}/prometheus", build)


@dataclass(frozen=True)
class Prometheus:
    """One that runs."""

    url: str

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:  # noqa: S310  (ours)
                return bool(answer.status == 200)
        except OSError:
            return False

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes: `labels`, `health`, `lastError`, `scrapeUrl` of each."""
        found: list[dict[str, Any]] = self._ask("targets", {"state": "active"})["activeTargets"]
        return found

    def range(self, query: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """A query's matrix: `metric` and `values` of each series. Times are seconds since 1970. Raises LabError."""
        asked = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        found: list[dict[str, Any]] = self._ask("query_range", asked)["result"]
        return found

    def label_values(self, selector: str, label: str, start: float, end: float) -> list[str]:
        """Values of a label of the series of that time, sorted. Raises LabError."""
        asked = {"match[]": selector, "start": f"{start:.3f}", "end": f"{end:.3f}"}
        found: list[str] = self._ask(f"label/{label}/values", asked)
        return sorted(found)

    def _ask(self, what: str, asked: Mapping[str, str]) -> Any:
        url = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310  (ours)
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise LabError(f"Prometheus does not take {dict(asked)}: {error.read().decode(errors='replace')[:500]}") from error
        except (OSError, ValueError) as error:
            raise LabError(f"Prometheus does not answer: {error}") from error


@contextmanager
def running(binary: Path, config: Mapping[str, Any]) -> Iterator[Prometheus]:
    """Have one with that configuration, which may name files, and takes its data with it. Raises LabError."""
    with TemporaryDirectory(prefix="baas-prometheus-") as made:
        folder = Path(made)
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False))
        port = free_ports(1)[0]
        words: Sequence[str | Path] = [
            binary, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
        ]  # fmt: skip
        log = folder / "log"
        with log.open("ab") as file:
            process = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        found = Prometheus(f"http://127.0.0.1:{port}")
        try:

            def up() -> bool:
                if process.poll() is not None:
                    raise CommandError("Prometheus ended.", returncode=process.returncode, output=tail(log.read_text(errors="replace")))
                return found.ready()

            wait_until(up, timeout_seconds=START_SECONDS, what="Prometheus is ready", poll_seconds=0.2)
            yield found
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
