"""What a kernel can ask of an export, the command line can, and the other way round."""

from types import SimpleNamespace

import pytest

from jupyter_gpupredict.core.options import options_of
from jupyter_gpupredict.export import CodeRequest
from jupyter_gpupredict.frontends import executed
from jupyter_gpupredict.mps.isolation import isolate, subject_of_notebook
from tests.export.test_equivalence import code
from tests.export.test_slicing import module

GIVEN = {"pairs": {"model": "m.joblib"}, "list": ["one"]}


@pytest.fixture
def run():
    history = ["", "xs = [1]", "%%gpupredict\nsum(xs)"]
    shell = SimpleNamespace(history_manager=SimpleNamespace(input_hist_raw=history))
    executed.remember(shell, "a-run", "sum(xs)")
    yield "a-run"
    executed.forget()


@pytest.mark.parametrize("option", options_of(CodeRequest), ids=lambda one: one.name)
def test_every_option_of_the_code_is_taken_in_a_kernel(run, option):
    value = GIVEN.get(option.several, option.default)
    found = executed.code_of(run, **{option.name: value})
    wanted = {"pairs": (("model", "m.joblib"),), "list": ("one",)}.get(option.several, value)
    assert getattr(found, option.name) == wanted
    assert [cell.label for cell in found.cells] == ["In [1]", "In [2]"]


NOTEBOOKS = [
    ("class P:\n    grad = False\na, b = P(), P()\nps = [a, b]", "for p in ps:\n    p.grad = True",
     "[p.grad for p in ps]"),
    ("from math import *", "def area(r=2):\n    return pi * r", "area(r=3)"),
    ("xs = [1]", "xs.append(2)", "print(xs)", "n = 3\nfor epoch in range(n):\n    xs += xs"),
    ("%env SEED=3", "!ls", "import os\nseed = os.environ['SEED']", "seed"),
]  # fmt: skip


@pytest.mark.parametrize("sources", NOTEBOOKS)
def test_an_isolated_and_a_verified_cell_are_the_exported_function(tmp_path, sources):
    exported, _ = module(*sources, folder=tmp_path)
    text = isolate(code(tmp_path, *sources)).program.text
    marked = (*sources[:-1], f"%%gpupredict\n{sources[-1]}")
    verified = subject_of_notebook("n.ipynb", code(tmp_path, *marked)).program.text
    body = exported.partition("\n")[2].partition("\ndef _known(")[0]
    assert body in text
    assert body in verified
