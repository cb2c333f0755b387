"""Requests made up from the OpenAPI document, sent to a real server."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.lab import TOKEN
from tests.e2e.test_routes import post
from tests.frontends.server import traces

pytestmark = pytest.mark.e2e
RUN = traces.session_id(77)
CONFIG = """
[parameters]
"path.kernel" = "{kernel}"
"path.run" = "{run}"
"path.session" = "{run}"
"query.path" = "{recording}"
"query.wait" = 0
"query.stream" = 0
"""


def test_the_routes_do_what_the_document_says(lab, tmp_path, steady_recording):
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists():
        pytest.skip("schemathesis is not installed")
    kernel = post(lab, "api/kernels")[1]["id"]
    store = Path(lab.environ["JUPYTER_DATA_DIR"]) / "gpupredict" / "sessions"
    changes = {"kernel_id": kernel, "host": socket.gethostname(), "pid": os.getpid()}
    path = traces.whole_run(store, RUN, **changes)
    config = tmp_path / "schemathesis.toml"
    recording = lab.folder / "steady.csv"
    shutil.copy(steady_recording, recording)
    config.write_text(CONFIG.format(kernel=kernel, run=RUN, recording=recording.name))
    command = [
        *(program, "--config-file", str(config), "run", f"{lab.url}gpupredict/v1/openapi.json"),
        *("--header", f"Authorization: token {TOKEN}", "--seed", "1", "--no-color"),
        *("--phases", "coverage,fuzzing", "--max-examples", "10", "--request-timeout", "30"),
        # the one wants 401 where Jupyter Server answers 403; the other knows nothing of the rules
        # that no schema can say, such as which name fits which cluster
        *("--exclude-checks", "missing_required_header,positive_data_acceptance"),
        # they take away the one run that the other routes are asked for
        *("--exclude-path-regex", "/(delete|restore)$"),
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path
        )
    finally:
        post(lab, f"api/kernels/{kernel}", method="DELETE")
        path.unlink()
        recording.unlink()
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Missing test data" not in done.stdout
