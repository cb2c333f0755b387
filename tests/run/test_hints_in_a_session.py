"""Each library in a process of its own: imported and used inside the measured block."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AROUND = """
import json, logging, sys, warnings
warnings.simplefilter("ignore")
import jupyter_gpupredict as gp
from jupyter_gpupredict.run import read_events, shutdown
from jupyter_gpupredict.core.events import ProgressMade
before = list(sys.meta_path)
{prepare}
with gp.measure(source="synthetic", quiet=True) as run:
{train}
shutdown()
assert [f for f in sys.meta_path if f not in before and "gpupredict" in type(f).__module__] == []
events = read_events(run.result.run.session_id)
epochs = [[e.hint, e.done, e.total] for e in events
          if isinstance(e, ProgressMade) and e.unit == "epoch"]
print(json.dumps({{"errors": list(run.result.run.errors), "epochs": epochs}}))
"""
TQDM = """
import io, time
from tqdm.auto import trange
for _ in trange(2, unit="epoch", file=io.StringIO()):
    time.sleep(1.5)
"""
KERAS = """
import keras, numpy
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
model.compile(optimizer="sgd", loss="mse")
model.fit(numpy.ones((4, 1)), numpy.ones((4, 1)), epochs=2, verbose=0)
"""
LIGHTNING = """
import torch, {library} as pl
class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def training_step(self, batch, index):
        return self.layer(batch).sum()
    def train_dataloader(self):
        return torch.utils.data.DataLoader(torch.ones(4, 1))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
pl.Trainer(max_epochs=2, logger=False, enable_progress_bar=False, enable_checkpointing=False,
           enable_model_summary=False, accelerator="cpu").fit(Model())
"""
TRANSFORMERS = """
import torch
from transformers import Trainer, TrainingArguments
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def forward(self, x):
        return {"loss": self.layer(x).sum()}
args = TrainingArguments(output_dir=".", num_train_epochs=2, use_cpu=True, report_to=[],
                         disable_tqdm=True, save_strategy="no")
Trainer(model=Model(), args=args, train_dataset=[{"x": torch.ones(1)}] * 4).train()
"""
LIBRARIES = {
    "tqdm": ("tqdm", TQDM, ["tqdm"]),
    "keras": ("keras", KERAS, ["keras", "torch"]),
    "lightning": ("lightning", LIGHTNING.format(library="lightning"), ["lightning", "torch"]),
    "pytorch_lightning": (
        "lightning",
        LIGHTNING.format(library="pytorch_lightning"),
        ["pytorch_lightning", "torch"],
    ),
    "transformers": ("transformers", TRANSFORMERS, ["transformers", "accelerate", "torch"]),
}


def measured(tmp_path, prepare, train):
    indented = "".join(f"    {line}\n" for line in train.splitlines())
    ran = subprocess.run(
        [sys.executable, "-c", AROUND.format(prepare=prepare, train=indented)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("imported", ["inside", "before"])
@pytest.mark.parametrize("name", sorted(LIBRARIES))
def test_it_is_found_whenever_it_is_imported(tmp_path, name, imported):
    says, train, needs = LIBRARIES[name]
    for library in needs:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed; `make test-frameworks`")
    found = measured(tmp_path, f"import {needs[0]}" if imported == "before" else "", train)
    assert found["errors"] == []
    assert [n for hint, n, total in found["epochs"] if hint == says] == [0.0, 1.0, 2.0]


def test_nothing_is_imported_that_the_cell_does_not_import(tmp_path):
    heavy = ["tqdm", "keras", "lightning", "pytorch_lightning", "torch", "transformers"]
    check = f"import sys\nassert not [m for m in {heavy} if m in sys.modules]\n"
    assert measured(tmp_path, "", check) == {"errors": [], "epochs": []}
