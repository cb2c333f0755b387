"""What a `%%gpupredict` line may ask for at once."""

import pytest

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.frontends.options import parse_magic


@pytest.mark.parametrize(
    ("line", "defaults"),
    [
        ("--cluster auto --mps", {}),
        ("--cluster auto --isolate", {}),
        ("--cluster auto --isolate --mps-percentage 50", {}),
        ("--isolate", {"cluster": "auto"}),
        ("--cluster auto", {"mps": True}),
    ],
)
def test_a_cluster_goes_with_neither_mps_nor_isolation(line, defaults):
    with pytest.raises(InvalidOption, match="--cluster") as caught:
        parse_magic(line.split(), defaults)
    assert "\n" not in str(caught.value)
    assert caught.value.hint == "leave one of them out"


def test_a_cluster_alone_is_fine():
    assert parse_magic(["--cluster", "auto"]).config.cluster == "auto"
