"""Keys of the kind that costs nothing to make: some thousand are drawn here, and one of RSA takes a tenth of a second."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from baas_operator.engine import signing


@pytest.fixture(autouse=True, scope="package")
def cheap_keys() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing, "draw", lambda: ec.generate_private_key(ec.SECP256R1()))
        yield
