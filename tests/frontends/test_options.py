"""What a `%%gpupredict` line may ask for at once."""

import argparse
from pathlib import Path

import pytest

from jupyter_gpupredict.core.cells import CodeRequest
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.frontends.options import add_export_options, given_options, parse_magic


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


@pytest.mark.parametrize("given", [[], ["--secrets", "env"], ["--secrets", "param"]])
def test_who_gives_credentials(given):
    parser = argparse.ArgumentParser()
    add_export_options(parser)
    arguments = parser.parse_args(["--name", "x", "-o", "f", *given])
    options = CodeRequest((), Path(), **given_options(arguments, CodeRequest))
    assert (options.secrets, options.allow_secrets) == ("".join(given[1:]), False)
