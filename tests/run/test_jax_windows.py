"""The real JAX without a GPU: a window that is asked for costs one line, and nothing else."""

import gzip
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jupyter_gpupredict.sources import tracers
from jupyter_gpupredict.sources.tracers import BUSY, JaxTracer
from tests.run.test_windows import TRACE, Watched, quick  # noqa: F401 - a fixture

jax = pytest.importorskip("jax", reason="jax is not installed; `make test-frameworks`")
pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="there is a GPU")
UNUSED = """
import jax
from jupyter_gpupredict.sources.tracers import JaxTracer
assert JaxTracer().refusal() == "JAX has not used a GPU", JaxTracer().refusal()
from jax._src import xla_bridge
assert not xla_bridge._backends
"""


@pytest.fixture
def on_a_gpu(monkeypatch):
    """A device in JAX's place that would be a GPU; the profiler is the real one."""
    device = SimpleNamespace(compute_capability="8.9", core_count=34)
    monkeypatch.setattr(tracers, "jax_gpus", lambda: [device])


def test_jax_without_a_gpu_is_refused_and_no_backend_starts():
    jax.numpy.ones(4).sum()
    assert JaxTracer().refusal() == "JAX has not used a GPU"
    subprocess.run([sys.executable, "-c", UNUSED], check=True, timeout=300)


def test_a_window_on_the_cpu_holds_no_kernel_and_says_so(on_a_gpu, quick, tmp_path):  # noqa: F811
    run = Watched(JaxTracer())
    while not run.windows._empty:
        jax.numpy.ones(4).sum().block_until_ready()
        assert run.windows._thread.is_alive()
    run.windows.end(60)
    assert not run.needs
    assert run.windows.problem.startswith("kernels were not recorded: none ran in ")
    with jax.profiler.trace(str(tmp_path)):  # the user's works as before
        assert JaxTracer().refusal() == BUSY
        jax.numpy.ones(4).sum().block_until_ready()
    assert list(tmp_path.rglob("*.xplane.pb"))
    assert JaxTracer().refusal() == ""


def test_what_is_asked_of_jax_can_be_asked():
    options = tracers._kernels_alone(jax.profiler)["profiler_options"]
    assert (options.host_tracer_level, options.python_tracer_level) == (0, 0)


def test_what_jaxs_profiler_writes_is_found_and_read(on_a_gpu, quick, monkeypatch):  # noqa: F811
    """The trace that it wrote is replaced by a recorded one, in its place."""
    real, written = jax.profiler.stop_trace, []

    def stop():
        folder = Path(jax._src.profiler._profile_state.log_dir)
        real()
        (place,) = folder.rglob("*.trace.json.gz")
        written.append(folder)
        place.write_bytes(gzip.compress(TRACE.with_name("xla.json").read_bytes()))

    monkeypatch.setattr(jax.profiler, "stop_trace", stop)
    run = Watched(JaxTracer(), sms=None)
    assert run.seen.wait(60)
    run.windows.end()
    assert (run.needs[0].by, run.needs[0].sms, run.needs[0].kernels) == ("jax.profiler", 34, 60)
    assert not any(one.exists() for one in written)
