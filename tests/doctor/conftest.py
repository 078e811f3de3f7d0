"""Fixtures for the tests of the doctor."""

import pytest
from clean_folder import write_clean


@pytest.fixture
def clean(tmp_path):
    """A dataset folder of six samples without findings."""
    return write_clean(tmp_path)
