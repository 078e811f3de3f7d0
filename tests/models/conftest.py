import pytest
from plain_encoder import PLAIN

from tfseg.models.encoders import ENCODERS


@pytest.fixture(scope="module")
def plain_encoders():
    """The encoders of `plain_encoder`, in the registry for one file of tests."""
    ENCODERS.update(PLAIN)
    yield
    for name in PLAIN:
        del ENCODERS[name]
