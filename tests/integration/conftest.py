"""What more than one file of these tests uses."""

import pytest


@pytest.fixture(scope="session")
def settling(tmp_path_factory):
    """A magic that converges after two seconds: a recording is replayed at forty times its pace."""
    path = tmp_path_factory.mktemp("recording") / "steady.csv"
    rows = (f"{at},{60 + at % 3}" for at in range(600))
    path.write_text("\n".join(("t_s,gpu_util_pct", *rows)) + "\n")
    options = "--speed 40 --window 10 --agree 2 --tolerance 20"
    return f"%%gpupredict --source replay --path {path} {options}"
