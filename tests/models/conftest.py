import pytest
from plain_encoder import PLAIN

from tfseg.models.encoders import ENCODERS


@pytest.fixture(scope="module")
def plain_encoders():
    """Register the encoders of `plain_encoder` for one test module."""
    ENCODERS.update(PLAIN)
    yield
    for name in PLAIN:
        del ENCODERS[name]
