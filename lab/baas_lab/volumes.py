"""Each node's volumes on a file system of their own, so that a node can lose power.

Killing processes or containers never loses what the page cache holds. A loop-mounted ext4 can be shut down without its
journal being written, which loses what was not synced, and nothing else.
"""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path

from baas_lab.errors import LabError
from baas_lab.process import run
from baas_lab.system import find_program, is_root

SIZE_BYTES = 8 * 1024**3  # sparse: it takes what is written
FS_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), linux/fs.h; what xfstests' godown uses
WITHOUT_LOG_FLUSH = 2  # FS_SHUTDOWN_FLAGS_NOLOGFLUSH


def supported() -> bool:
    """Whether this machine can mount files: root, and a kernel with loop devices."""
    return is_root() and Path("/dev/loop-control").exists() and find_program("mkfs.ext4") is not None


@dataclass(frozen=True)
class Volume:
    """One node's volume folder. `path` is what the node gets; with `image`, a file system of its own is mounted there."""

    path: Path
    image: Path | None

    @property
    def mounted(self) -> bool:
        """Whether its content is in place; always, for a plain folder."""
        return self.image is None or os.path.ismount(self.path)

    def mount(self) -> None:
        """Make the file system if there is none, and mount it if it is not."""
        self.path.mkdir(parents=True, exist_ok=True)
        if self.image is None or self.mounted:
            return
        if not self.image.exists():
            staged = self.image.with_suffix(".new")
            staged.parent.mkdir(parents=True, exist_ok=True)
            with staged.open("wb") as handle:
                handle.truncate(SIZE_BYTES)
            run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", staged])
            staged.rename(self.image)
        run(["mount", "-o", "loop", self.image, self.path])

    def unmount(self) -> None:
        if os.path.ismount(self.path):
            run(["umount", self.path])

    def try_unmount(self) -> bool:
        """Unmount unless something still uses it; whether it is unmounted now. A container that was killed may take
        a moment to let go."""
        return not os.path.ismount(self.path) or run(["umount", self.path], check=False).returncode == 0

    def remount(self) -> bool:
        """Mount anew what had its power cut; whether it is whole. As long as anything holds on to the old mount (a node that is not quite
        dead, a mount namespace that somebody made meanwhile), the kernel gives the same file system once more, with its power still cut."""
        if not self.try_unmount():
            return False
        self.mount()
        try:
            with tempfile.TemporaryFile(dir=self.path):
                return True
        except OSError:
            return False

    def require_own_file_system(self) -> None:
        """Raises LabError when the folder has no file system of its own."""
        if self.image is None or not self.mounted:
            raise LabError(
                f"{self.path} has no file system of its own: a power cut cannot be made there.",
                hint="It takes root and loop devices when the cluster is made.",
            )

    def cut_power(self) -> None:
        """Stop the file system where it is: nothing that was not synced reaches the disk any more.

        Everything on it fails with EIO from here on, until it was unmounted and mounted again. Raises LabError when
        the folder has no file system of its own.
        """
        self.require_own_file_system()
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, FS_IOC_SHUTDOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def used_bytes(self) -> int:
        """What is stored on the file system of its own, in bytes; 0 for a plain folder."""
        if not os.path.ismount(self.path):
            return 0
        usage = os.statvfs(self.path)
        return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


def self_test(volume: Volume) -> None:
    """Prove on an unused volume that a power cut loses what was not synced and keeps what was. Raises LabError."""
    volume.mount()
    try:
        kept, lost = volume.path / "synced", volume.path / "not-synced"
        with kept.open("wb") as handle:
            handle.write(b"x" * 4096)
            handle.flush()
            os.fsync(handle.fileno())
        folder = os.open(volume.path, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)
        lost.write_bytes(b"x" * 4096)
        volume.cut_power()
        volume.unmount()
        volume.mount()
        if not kept.exists() or kept.stat().st_size != 4096:
            raise LabError("The power cut lost a file that was synced.")
        if lost.exists() and lost.stat().st_size:
            raise LabError("The power cut kept a file that was not synced.")
    finally:
        volume.unmount()
