"""Whether a function does what its cells did: small notebooks, and functions changed by hand."""

import ast
import dataclasses
import json
import os

import pytest

from jupyter_gpupredict.core.errors import CodeRefused, ExportError, InvalidOption, Refused
from jupyter_gpupredict.export import CodeRequest, compare, comparison
from jupyter_gpupredict.export.deployment import Cell
from jupyter_gpupredict.export.differences import different
from jupyter_gpupredict.export.equivalence import changes
from jupyter_gpupredict.frontends import cli
from tests.export.test_folder import export

CHANCE = "import random\nxs = [random.random() for _ in range(3)]"
CHANGED = "xs.append(3.0)"
CELL = "number = int(open('data.txt').read())\ntotal = sum(xs) + number\ntotal"


def code(folder, *sources):
    cells = [Cell(f"In [{n}]", source) for n, source in enumerate(sources, start=1)]
    return CodeRequest(tuple(cells), folder)


def prepared(tmp_path, *sources, edit=None, **options):
    """Export cells, change the function by hand, and return what would be compared."""
    notebook = tmp_path / "notebook"
    notebook.mkdir()
    (notebook / "data.txt").write_text("4")
    export(tmp_path / "f", *sources, tried=False)
    if edit is not None:
        path = tmp_path / "f" / "train_fn.py"
        assert edit[0] in path.read_text()
        path.write_text(path.read_text().replace(*edit))
    return comparison(tmp_path / "f", code(notebook, *sources), **options)


def test_the_same_with_the_same_seeds(tmp_path):
    asked = prepared(tmp_path, CHANCE, "!ls", CHANGED, CELL)
    said = asked.words()
    assert "In [1], In [2], In [3] and In [4]" in said
    assert "WANDB_MODE=offline HF_HUB_OFFLINE=1" in said
    assert "In [2] line 1: !ls was left out" in said
    found = compare(asked)
    assert not found.differences
    assert found.words() == "the same at the end: number, total, xs, the value"


def test_a_silent_difference_in_one_line(tmp_path):
    found = compare(prepared(tmp_path, CHANCE, CHANGED, CELL, edit=("append(3.0)", "append(4.0)")))
    assert "\n" not in found.words()
    assert found.words().startswith("DIFFERENT at the end: total: ")
    assert found.words().count("xs items: 3 in the cell, 4 here") == 1


def test_what_no_run_repeats_says_nothing(tmp_path):
    clock = "import time\nnow = time.perf_counter_ns()\nn = 2\nn"
    found = compare(prepared(tmp_path, CHANCE, clock))
    assert not found.differences
    assert "compared in counts and shapes, as no run repeats it: now" in found.words()


def test_nothing_of_the_notebook_changes(tmp_path):
    cell = "open('data.txt', 'w').write('5')\nopen('new.txt', 'w').write('6')\nn = 1"
    compare(prepared(tmp_path, CHANCE, cell))
    kept = {one.name: one.read_text() for one in (tmp_path / "notebook").iterdir()}
    assert kept == {"data.txt": "4"}


def test_an_endless_cell_is_stopped_and_compared_in_shapes(tmp_path):
    cell = "seen = [0] * 7\nn = 0.0\nwhile True:\n    n += 1"
    found = compare(prepared(tmp_path, CHANCE, cell, limit_s=0.5))
    assert found.ended == "time"
    assert not found.differences
    assert "in counts and shapes" in found.words()
    (tmp_path / "2").mkdir()
    other = prepared(tmp_path / "2", CHANCE, cell, edit=("* 7", "* 8"), limit_s=0.5)
    assert "seen length: 7 in the cell, 8 here" in compare(other).words()


def test_steps_count_from_the_measured_cell(tmp_path):
    """A stand-in for PyTorch counts one step before the cell, and stops both after three."""
    notebook = tmp_path / "notebook"
    notebook.mkdir()
    hook = "hooks = []\ndef register_optimizer_step_post_hook(hook):\n    hooks.append(hook)\n"
    hook += "def step():\n    [one(None) for one in hooks]\n"
    for place in (notebook, tmp_path):  # the export copies what stands beside the notebook
        (place / "torch" / "optim").mkdir(parents=True)
        (place / "torch" / "__init__.py").write_text("from torch.optim import optimizer\n")
        (place / "torch" / "optim" / "__init__.py").write_text("")
        (place / "torch" / "optim" / "optimizer.py").write_text(hook)
    cells = (
        "import torch\nstate = [0]",
        "torch.optim.optimizer.step(); state.append(0)",
        "for n in range(10):\n    torch.optim.optimizer.step(); state.append(n)\nstate",
    )
    export(tmp_path / "f", *cells, tried=False)
    found = compare(comparison(tmp_path / "f", code(notebook, *cells), steps=3))
    assert (found.ended, found.steps, found.differences) == ("steps", 3, ())
    assert found.words() == "the same after 3 training steps: n, state"


def test_frozen_layers_of_pytorch_that_the_function_trains_are_a_difference(tmp_path):
    """Of Linear(4, 8) and Linear(8, 2) the second alone is trained: 8 x 2 weights and 2 biases."""
    pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")
    cells = (
        "import torch\nbase = torch.nn.Linear(4, 8)\n"
        "model = torch.nn.Sequential(base, torch.nn.Linear(8, 2))\n"
        "optimizer = torch.optim.SGD(model.parameters(), lr=0.1)",
        "for p in base.parameters():\n    p.requires_grad = False",
        "for _ in range(9):\n    model(torch.ones(2, 4)).sum().backward()\n    optimizer.step()",
    )
    asked = prepared(tmp_path, *cells, steps=3)
    assert compare(asked).words().startswith("the same after 3 training steps: ")
    path = tmp_path / "f" / "train_fn.py"
    path.write_text(path.read_text().replace("p.requires_grad = False", "pass"))
    assert "model trained: 18 in the cell, 58 here" in compare(asked).words()


def test_the_value_of_a_cell_that_is_one_function(tmp_path):
    cells = (CHANCE, "def fit(scale=2):\n    return [scale * x for x in xs]\nmodel = fit(scale=3)")
    assert compare(prepared(tmp_path, *cells)).words() == "the same at the end: model, xs"


def test_what_the_caller_gives_has_to_be_given(tmp_path):
    cells = ("n = int(input())", "total = n + 1\ntotal")
    export(tmp_path / "f", *cells, params=("n",), tried=False)
    given = code(tmp_path, *cells)
    with pytest.raises(InvalidOption, match="caller gives n"):
        comparison(tmp_path / "f", given)
    asked = comparison(tmp_path / "f", given, params={"n": 1})
    said = "cells failed: NameError: name 'n' is not defined; before it, cell 1: EOFError"
    with pytest.raises(ExportError, match=said):
        compare(asked)


def test_a_process_that_ends_itself_is_told(tmp_path):
    asked = prepared(tmp_path, CHANCE, "import os\nprint('no luck', flush=True)\nos._exit(3)")
    with pytest.raises(ExportError, match="cells ended their process: no luck"):
        compare(asked)


@pytest.mark.parametrize(
    "line",
    [
        "model.push_to_hub('me/model')",
        "import os; os.remove('data.txt')",
        "import shutil; shutil.rmtree('runs')",
        "import requests; requests.post('http://x', data=xs)",
        "import os; os.system('aws s3 cp a s3://b')",
        "arguments = dict(push_to_hub=True)",
        "from pathlib import Path; Path('a').unlink()",
    ],
)
def test_what_uploads_or_deletes_is_refused(tmp_path, line):
    cells = ("xs, model = [1], None", f"if False:\n    {line}", "sum(xs)")
    with pytest.raises(Refused, match=r"not run, as it uploads or deletes: In \[2\] line 2"):
        prepared(tmp_path, *cells)


def test_what_only_sounds_so_is_not():
    source = (
        "xs.remove(3)\nnumpy.delete(a, 0)\ndel xs\nrequests.get(u)\nos.system('ls')\nf(delete=0)"
    )
    assert list(changes(ast.parse(source))) == []


def test_a_line_that_is_marked_is_not_run(tmp_path):
    cells = ("xs = [1]", "import os\nos.remove('data.txt')  # gpupredict: ignore", "sum(xs)")
    assert compare(prepared(tmp_path, *cells)).words() == "the same at the end: xs, the value"


def test_another_notebook_is_refused(tmp_path):
    asked = ("xs = [1]", "sum(xs)")
    export(tmp_path / "f", *asked, tried=False)
    with pytest.raises(CodeRefused, match="no cell has the code"):
        comparison(tmp_path / "f", code(tmp_path, "xs = [1]", "sum(xs) + 1"))
    with pytest.raises(InvalidOption, match="holds no function"):
        comparison(tmp_path / "nothing", code(tmp_path, *asked))


@pytest.mark.parametrize(
    ("one", "two", "exact", "said"),
    [
        ({"trained": 18, "sum": [1.0]}, {"trained": 58, "sum": [2.0]}, True, "m trained: 18"),
        ({"trained": 18, "sum": [1.0]}, {"trained": 58, "sum": [2.0]}, False, "m trained: 18"),
        ({"shape": [2], "sum": 1.0}, {"shape": [2], "sum": 2.0}, True, "m sum: 1 in the cell"),
        ({"shape": [2], "sum": 1.0}, {"shape": [2], "sum": 2.0}, False, ""),
        ({"shape": [2], "sum": 1.0}, {"shape": [2], "sum": 1.000001}, True, ""),
        ({"a": 1}, {"b": 1}, False, "m has"),
        (3, 4, True, "m: 3 in the cell, 4 here"),
        (3, "3", False, "m: 3 in the cell"),
        ("Scheduler", "Other", True, ""),
    ],
)
def test_differences_in_counts_come_first(one, two, exact, said):
    runs = [{"names": {"m": value}, "value": None, "ended": ""} for value in (one, two)]
    found = [words for _, _, words in different(*runs, exact=exact)]
    assert [words[: len(said)] for words in found] == ([said] if said else [])


def test_on_the_command_line_nothing_runs_unasked(tmp_path, capsys):
    cells = (CHANCE, CELL)
    asked = prepared(tmp_path, *cells)
    notebook = asked.notebook_folder / "n.ipynb"
    found = [{"cell_type": "code", "source": one, "execution_count": None} for one in cells]
    notebook.write_text(json.dumps({"cells": found}))
    words = ["verify-export", str(tmp_path / "f"), "--notebook", str(notebook)]
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert "runs cell 1 and cell 2" in out
    assert "agree with --yes" in err
    assert cli.main([*words, "--yes"]) == 0
    assert "the same at the end: number, total, xs, the value" in capsys.readouterr().out
    path = tmp_path / "f" / "train_fn.py"
    path.write_text(path.read_text().replace("sum(xs) +", "sum(xs) -"))
    assert cli.main([*words, "--yes"]) == 1
    assert cli.main(words[:2]) == 2
    assert "--notebook FILE" in capsys.readouterr().err


def test_what_is_no_file_is_not_copied(tmp_path, monkeypatch):
    """Links to nothing, pipes, and what another program takes away meanwhile."""
    asked = prepared(tmp_path, "xs = [1]", "sum(xs)")
    (asked.notebook_folder / "link").symlink_to(tmp_path / "nothing")
    os.mkfifo(asked.notebook_folder / "pipe")
    assert compare(asked).words() == "the same at the end: xs, the value"
    gone = [(tmp_path / "gone", "gone")], []
    monkeypatch.setattr("jupyter_gpupredict.export.equivalence._copied", lambda _: gone)
    assert compare(asked).words() == "the same at the end: xs, the value"


def test_a_copy_has_a_bound(tmp_path, monkeypatch):
    monkeypatch.setattr("jupyter_gpupredict.export.equivalence.COPY_MIB", 0)
    asked = dataclasses.replace(prepared(tmp_path, "xs = [1]", "sum(xs)"))
    assert "not in the copies, which hold 0 MiB: data.txt" in compare(asked).words()
