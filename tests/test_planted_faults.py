"""The planted faults fit the code, so that `make faults` can run them."""

import pytest
from planted_faults import FAULTS, ROOT


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_code_is_in_its_file_once(fault):
    source = (ROOT / "tfseg" / fault.file).read_text("utf-8")
    assert source.count(fault.code) == 1
    assert fault.faulty != fault.code


def test_there_are_at_least_sixty():
    assert len({fault.name for fault in FAULTS}) >= 60
