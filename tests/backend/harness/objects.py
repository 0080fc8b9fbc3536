"""A real object store: SeaweedFS, as one process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.backend.harness.process import Process
from tests.backend.harness.programs import program
from tests.jetstream.harness.servers import free_ports

BUCKET = "files"
ACCESS_KEY = "storage-access-key"
SECRET_KEY = "storage-secret-key"


class ObjectStore(Process):
    """SeaweedFS with an S3 door."""

    def __init__(self, folder: Path) -> None:
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, self.port, grpc = free_ports(8)
        self._master, self._filer = f"127.0.0.1:{master}.{master_grpc}", f"127.0.0.1:{filer}.{filer_grpc}"
        config, data = folder / "s3.json", folder / "objects"
        data.mkdir()
        credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
        config.write_text(
            json.dumps({"identities": [{"name": "all", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}]})
        )
        super().__init__(
            "seaweedfs",
            [
                program("seaweedfs", "weed"), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}",
                f"-master.port.grpc={master_grpc}", f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", "-filer",
                f"-filer.port={filer}", f"-filer.port.grpc={filer_grpc}", "-s3", f"-s3.port={self.port}",
                "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.port.grpc={grpc}",
                f"-s3.config={config}", "-volume.max=20", "-master.volumeSizeLimitMB=64",
            ],
            folder, environment={"HOME": str(folder)}, ready=f"http://127.0.0.1:{self.port}/healthz",
        )  # fmt: skip

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def make_bucket(self) -> None:
        """Make the bucket that files are in."""
        command = [program("seaweedfs", "weed"), "shell", f"-master={self._master}", f"-filer={self._filer}"]
        done = subprocess.run(command, input=f"s3.bucket.create -name {BUCKET}\n", capture_output=True, text=True, timeout=60, check=False)
        assert "create bucket" in done.stdout + done.stderr, done.stdout + done.stderr
