"""`--save NAME=PATH` writes what has that name the way its library does, and it loads again."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from jupyter_gpupredict.core.errors import InvalidOption
from tests.export.test_folder import clean, export

KINDS = {
    "torch": ("import torch", "model = torch.nn.Linear(2, 1)", "m.pt"),
    "safetensors": ("import torch", "model = torch.nn.Linear(2, 1)", "deep/m.safetensors"),
    "keras": (
        "import os\nos.environ['KERAS_BACKEND'] = 'torch'\nimport keras",
        "model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])",
        "m.keras",
    ),
    "sklearn": (
        "from sklearn.linear_model import LinearRegression",
        "model = LinearRegression().fit([[0], [1]], [1, 3])",
        "m.joblib",
    ),
}
LOADED = {
    "torch": "import torch; print(sorted(torch.load('m.pt')))",
    "safetensors": "from safetensors.torch import load_file; "
    "print(sorted(load_file('deep/m.safetensors')))",
    "keras": "import keras; print(keras.saving.load_model('m.keras').count_params())",
    "sklearn": "import joblib; print(joblib.load('m.joblib').predict([[2]]).round(3).tolist())",
}
SAID = {
    "torch": "['bias', 'weight']",
    "safetensors": "['bias', 'weight']",
    "keras": "3",
    "sklearn": "[5.0]",
}


def executed(folder, **environment):
    return subprocess.run(
        [sys.executable, "handler.py", "{}"],
        cwd=folder,
        env=clean(**environment),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", KINDS)
def test_what_is_saved_loads_again(tmp_path, name):
    pytest.importorskip(name, reason=f"{name} is not installed: make test-frameworks")
    imports, made, path = KINDS[name]
    cell = f"{imports}\n{made}\nprint('trained')"
    export(tmp_path / "f", cell, save=(("model", path),), tried=False)
    if name == "safetensors":
        assert "safetensors" in (tmp_path / "f" / "requirements.txt").read_text()
    ended = executed(tmp_path / "f", HOME=os.environ.get("HOME", "/"))
    assert ended.returncode == 0, ended.stderr
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED[name]],
        cwd=tmp_path / "f" / "outputs",
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.stdout.strip().endswith(SAID[name]), loaded.stderr


def test_where_nothing_is_known_of_a_kind_it_is_pickled(tmp_path):
    export(tmp_path / "f", "model = {'a': [1, 2]}\nlen(model)", save=(("model", "m.bin"),))
    out = tmp_path / "elsewhere"
    ended = executed(tmp_path / "f", GPUPREDICT_OUTPUTS=str(out))
    assert json.loads(ended.stdout) == {"result": 1}, ended.stderr
    load = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')))"
    if importlib.util.find_spec("joblib"):
        load = "import joblib, sys; print(joblib.load(sys.argv[1]))"
    command = [sys.executable, "-c", load, str(out / "m.bin")]
    assert subprocess.check_output(command, text=True).strip() == "{'a': [1, 2]}"


@pytest.mark.parametrize("given", [("other", "m.bin"), ("model", "../m.bin"), ("model", "/m.bin")])
def test_what_cannot_be_saved_is_refused(tmp_path, given):
    with pytest.raises(InvalidOption, match=r"cannot be saved|leads out of the output folder"):
        export(tmp_path / "f", "model = {'a': 1}\nlen(model)", save=(given,))
