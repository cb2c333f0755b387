import pytest

from benchmarks import leaks

pytestmark = pytest.mark.integration


def test_starting_and_stopping_leaves_nothing():
    threads, descriptors, mib = leaks.left(turns=5, warm_up=3)
    assert (threads, descriptors) == (0, 0)
    assert mib < 4.0  # a turn that kept a run would be no more; `benchmarks/leaks.py` counts MiB
