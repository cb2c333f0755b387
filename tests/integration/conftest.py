"""What more than one file of these tests uses."""

import pytest


@pytest.fixture(scope="session")
def settling(steady_recording):
    """A magic that converges after two seconds: a recording is replayed at forty times its pace."""
    options = "--speed 40 --window 10 --agree 2 --tolerance 20"
    return f"%%gpupredict --source replay --path {steady_recording} {options}"
