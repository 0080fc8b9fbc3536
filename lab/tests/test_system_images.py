"""kind's storage class is read out of its source: the test shows what form of it is understood."""

from __future__ import annotations

import pytest

from baas_lab import system_images
from baas_lab.errors import LabError

SOURCE = """
const storageProvisionerImage = "example/provisioner:1"
const storageHelperImage = "example/helper:2"

const defaultStorageManifest = `
image: ` + storageProvisionerImage + `
helper: ` + storageHelperImage + `
path: /var/local-path-provisioner
`
"""


def test_images_are_put_into_the_manifest() -> None:
    found = system_images.parse_storage(SOURCE)
    assert found.provisioner_image == "example/provisioner:1"
    assert found.helper_image == "example/helper:2"
    assert found.manifest.split() == [
        "image:",
        "example/provisioner:1",
        "helper:",
        "example/helper:2",
        "path:",
        "/var/local-path-provisioner",
    ]


def test_another_form_is_refused_with_advice() -> None:
    with pytest.raises(LabError, match=r"system_images\.py"):
        system_images.parse_storage("package nodeimage")


def test_a_single_program_can_be_started_by_path_and_by_name() -> None:
    dockerfile = system_images.single_program("etcd")
    assert 'ENTRYPOINT ["/etcd"]' in dockerfile
    assert "ENV PATH=/" in dockerfile
