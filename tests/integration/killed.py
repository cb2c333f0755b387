"""What a measured process that is killed in the middle has lost; shared with `benchmarks.kills`."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from benchmarks.stand_in import environ
from jupyter_gpupredict.core.events import SamplesTaken, SessionStarted
from jupyter_gpupredict.run.store import Store

CHILD = """
import sys, time
from jupyter_gpupredict.run import SessionConfig, build_session
run = build_session(SessionConfig(source="nvml"), live=sys.argv[1] == "view")
run.start()
print(flush=True)
time.sleep(600)
"""
IN_A_WINDOW = """
import gzip, sys, time, types
from pathlib import Path
from jupyter_gpupredict.run import SessionConfig, build_session, emitter, windows

way, samples = sys.argv[1], Path(sys.argv[2])
windows.FIRST_ACTIVE_S, windows.WINDOW_S, windows.LEAST_S, windows.DUTY_RATIO = 0.3, 0.05, 0.01, 1e9
emitter.FULL_UPDATE_S = 0.2
opened = []

def opens(*_):
    opened.append(time.time())
    if len(opened) == 2:
        print(opened[-1], flush=True)

def written(folder):
    place = Path(folder, "plugins", "profile", "2026")
    place.mkdir(parents=True)
    text = (samples / "xla.json").read_bytes()
    (place / "host.trace.json.gz").write_bytes(gzip.compress(text))

if way == "torch.profiler":
    torch = sys.modules["torch"] = types.ModuleType("torch")
    torch.cuda = types.SimpleNamespace(is_initialized=lambda: True, device_count=lambda: 0)
    torch.autograd = types.SimpleNamespace(
        profiler=types.SimpleNamespace(_is_profiler_enabled=False))
    torch.profiler = types.SimpleNamespace(
        ProfilerActivity=types.SimpleNamespace(CUDA="cuda"),
        profile=lambda activities: types.SimpleNamespace(
            start=opens, stop=lambda: None,
            export_chrome_trace=lambda path: Path(path).write_bytes(
                (samples / "kineto.json").read_bytes())))
elif way == "jax.profiler":
    jax = sys.modules["jax"] = types.ModuleType("jax")
    device = types.SimpleNamespace(
        compute_capability="8.9", core_count=34, memory_stats=lambda: None)
    backend = types.SimpleNamespace(local_devices=lambda: [device])
    bridge = sys.modules["jax._src.xla_bridge"] = types.ModuleType("jax._src.xla_bridge")
    bridge._backends = {"cuda": backend}
    begun = []
    jax.profiler = types.SimpleNamespace(
        start_trace=lambda folder: (begun.append(folder), opens()),
        stop_trace=lambda: written(begun[-1]))
else:
    from tests.run.test_windows import Cupti
    from jupyter_gpupredict.sources import tracers
    package, fake = types.ModuleType("cupti"), Cupti()
    package.__spec__ = types.SimpleNamespace(name="cupti")
    sys.modules["cupti"], sys.modules["cupti.cupti"] = package, fake
    fake.activity_register_callbacks = lambda requested, completed: (
        setattr(fake, "completed", completed), opens())
    tracers.cuda.supported_version = lambda: (13, 0)
    tracers.cuda.compute_capability = lambda: (8, 0)

run = build_session(SessionConfig(source="nvml", kernels=True), live=True)
run.start()
while run.recommendation is None or run.recommendation.geometry is None:
    time.sleep(0.01)
windows.WINDOW_S = 600.0
time.sleep(600)
"""
"""Takes a window, opens a second one that does not end, and says when."""

MOST_S = {"view": 1.0, "none": 2.0}
"""View -> how old the newest stored reading may be when the process is killed."""


def newest_age_s(home: Path, view: str, after_s: float) -> float:
    """Kill a measured process so long after its start; return its newest stored reading's age.

    Args:
        home: An empty folder of its own.
        view: `view` or `none`: whether one is attached.
        after_s: When.
    """
    command = [sys.executable, "-c", CHILD, view]
    with subprocess.Popen(command, env=environ(str(home)), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(after_s)
        killed_s = time.time()
        process.kill()
    return killed_s - newest_at_s(home)


def newest_at_s(home: Path) -> float:
    """Return when the newest reading was taken that is stored in a folder of one run."""
    store = Store(home / "gpupredict" / "sessions")
    newest_s = began_s = 0.0
    for event in store.events(store.ids()[0]):
        if isinstance(event, SessionStarted):
            began_s = newest_s = datetime.fromisoformat(event.started_at).timestamp()
        elif isinstance(event, SamplesTaken):
            for one in event.readings:
                newest_s = max(newest_s, began_s + one.times_s[-1])
    return newest_s
