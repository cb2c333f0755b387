"""A notebook on a stand-in A100: recorded kernels, their curve, a Job with a share of the SMs."""

import json
from pathlib import Path

import pytest

from tests.fake_nvml.build import library_dir
from tests.fake_nvml.scenario import FakeGpu, Script
from tests.integration.kernels import Kernel

pytestmark = pytest.mark.integration
TRACE = Path(__file__).parents[1] / "data" / "recordings" / "kineto.json"
PROFILER = f"""
import sys, types
from pathlib import Path
from jupyter_gpupredict.run import emitter, windows

trace = Path({str(TRACE)!r}).read_text()

def profile(activities):
    return types.SimpleNamespace(
        start=lambda: None, stop=lambda: None,
        export_chrome_trace=lambda path: Path(path).write_text(trace),
    )

torch = types.ModuleType("torch")
torch.cuda = types.SimpleNamespace(
    is_initialized=lambda: True, device_count=lambda: 0, current_device=lambda: 0,
    memory_allocated=lambda _: 1, memory_reserved=lambda _: 1,
    max_memory_allocated=lambda _: 1, max_memory_reserved=lambda _: 1,
)
torch.autograd = types.SimpleNamespace(profiler=types.SimpleNamespace(_is_profiler_enabled=False))
torch.profiler = types.SimpleNamespace(
    ProfilerActivity=types.SimpleNamespace(CUDA="cuda"), profile=profile
)
sys.modules["torch"] = torch
windows.FIRST_ACTIVE_S, windows.WINDOW_S, windows.LEAST_S, windows.DUTY_RATIO = 0.5, 0.1, 0.01, 1e9
emitter.FULL_UPDATE_S = 0.2
"""


def test_kernels_become_a_share_of_the_sms_in_a_job(tmp_path):
    script = tmp_path / "script.txt"
    card = FakeGpu(name="NVIDIA A100-SXM4-40GB", total_mib=40960, cores=(6912, "8.0"), depth=600)
    script.write_text(Script([card]).text())
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "profiler.py").write_text(PROFILER)
    folder = tmp_path / "train"
    with Kernel(
        JUPYTER_DATA_DIR=str(tmp_path / "data"),
        IPYTHONDIR=str(tmp_path / "ipython"),
        LD_LIBRARY_PATH=str(library_dir()),
        FAKE_NVML_SCRIPT=str(script),
        FAKE_NVML_CONTROL=str(tmp_path / "control.txt"),
    ) as kernel:
        magic = "%%gpupredict --source nvml --interval 0.1 --kernels -o run"
        assert kernel.run(f"{magic}\nimport time\ntime.sleep(6)").status == "ok"
        reply = kernel.run("import json; print(json.dumps([run.to_dict(), run.to_curve_svg()]))")
        found, curve = json.loads(reply.text("stdout"))
        need = found["geometry"]
        # what is replayed lasts 14 ms, whatever the window
        assert [
            one for one in found["errors"] if "of their windows, and by the driver" not in one
        ] == []
        assert (need["sms"], need["by"]) == (108, "torch.profiler")
        assert need["windows"] >= 1
        assert found["answer"]["figure"]["method"] == "geometry"
        assert "of the GPU's SMs" in found["answer"]["headline"]
        assert "<polygon" in curve
        request = f"name='train', output={str(folder)!r}, workload='job', sharing='mps'"
        more = "node_selector={'example.com/mps': 'true'}, memory_mib=4096, force=True"
        exported = kernel.run(f"run.export({request}, {more})")
        assert exported.status == "ok", exported.tracebacks
        manifest = (folder / "deploy" / "job.yaml").read_text()
        assert "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE" in manifest
        assert "share-method: geometry" in manifest
        checked = kernel.run(f"%gpupredict validate {folder}")
        assert "error" not in checked.text("stdout")
