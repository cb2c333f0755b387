"""Records real training on a GPU, by NVML and by GPM at the same time, as traces to keep.

Each model is small and real: PyTorch, synthetic data, epochs with a validation, some minutes. The
traces go to examples/traces; device, driver, date and command are in the file that -o names.

Run: python -m benchmarks.hardware.record_training --model mlp cnn transformer --minutes 5
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.hardware.clients import Client, alone, started
from benchmarks.hardware.loops import work
from benchmarks.hardware.record import Lacking, main
from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.core.progress import Mark
from jupyter_gpupredict.run import SessionConfig, build_session, progress_hub, store_dir

MODELS = ("mlp", "cnn", "transformer", "spin")
"""`spin` is no model: one kernel of known width and duty, which needs no framework."""
SOURCES = ("nvml", "gpm")
TRACES = Path(__file__).resolve().parents[2] / "examples" / "traces"
_TEXT = """
import time
import torch
from torch import nn
from jupyter_gpupredict import epoch, phase


def _mlp():
    body = nn.Sequential(nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 10))
    return body, (256, 784), 10


def _cnn():
    layers, width = [], 3
    for channels in (64, 128, 256):
        layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        width = channels
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]
    return nn.Sequential(*layers), (128, 3, 64, 64), 10


def _transformer():
    layer = nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 6), nn.Linear(512, 64)), (16, 256, 512), 64


def train(params):
    torch.manual_seed(0)
    model, shape, classes = {{"mlp": _mlp, "cnn": _cnn, "transformer": _transformer}}[{model!r}]()
    device = torch.device("cuda")
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    until_s = time.monotonic() + {seconds}
    while time.monotonic() < until_s:
        for _ in range({steps}):
            loss = _loss(model, shape, classes, device)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with phase("validation"), torch.no_grad():
            for _ in range({steps} // 5):
                _loss(model, shape, classes, device).item()
        epoch()
    return {{"loss": float(loss)}}


def _loss(model, shape, classes, device):
    batch = torch.randn(shape).to(device)  # made on the CPU, as a loader does
    said = model(batch).reshape(-1, classes)
    wanted = torch.randint(classes, (said.shape[0],), device=device)
    return nn.functional.cross_entropy(said, wanted)
"""


class Trained(Client):
    """A child whose progress the sessions of this process hear."""

    def _mark(self, mark: Mark) -> None:
        super()._mark(mark)
        progress_hub().relay(mark)


@dataclass(frozen=True)
class Watched:
    """The child as a session takes it: a process, and no client of MPS."""

    pid: int
    share: Any = None


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Train each model in a child and keep what each source saw of it."""
    if importlib.util.find_spec("torch") is None and set(options.model) != {"spin"}:
        raise Lacking("PyTorch is not installed: --model spin does without")
    return {name: _recorded(name, options) for name in options.model}


def _recorded(model: str, options: argparse.Namespace) -> dict[str, Any]:
    seconds = 60.0 * options.minutes
    if model == "spin":  # 60 blocks of 1024 threads for about 6 ms, then as long nothing
        text = work(60, cycles=10_000_000, idle_s=0.006, steps=round(seconds / 0.012))
    else:
        text = _TEXT.format(model=model, seconds=seconds, steps=options.steps)
    client = Trained(text, alone())
    found: dict[str, Any] = {}
    with started(client), contextlib.ExitStack() as ended:
        sessions = {}
        for source in SOURCES:
            asked = SessionConfig(source=source, device=options.device)
            session = build_session(asked, subscribers=(), child=Watched(client.child.pid))
            try:
                session.start()
            except GpuPredictError as error:
                found[source] = str(error)
                continue
            ended.callback(session.stop, "stopped")
            sessions[source] = session
        if not sessions:
            raise Lacking("no source can be opened")
        told = client.child.wait(time.monotonic() + 2.0 * seconds + 300.0)
        if told is None or told.error is not None:
            raise Lacking(f"{model} was not trained: {told.error if told else 'no end'}")
        for source, session in sessions.items():
            found[source] = _kept(model, source, session.stop("completed").session_id, options)
    return found


def _kept(model: str, source: str, session_id: str, options: argparse.Namespace) -> str:
    """Copy a run's trace out of the session store."""
    folder = Path(options.traces)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model}-{source}.jsonl"
    shutil.copy(store_dir() / f"{session_id}.jsonl", path)
    return path.name


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=300, help="training steps of an epoch")
    parser.add_argument("--traces", default=str(TRACES))


if __name__ == "__main__":
    raise SystemExit(main("traces: real training", measure, needs_mps=False, more=_options))
