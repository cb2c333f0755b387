"""The function does as the notebook does: random little programs are the judge."""

import ast
import copy

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import UnsupportedCell
from jupyter_gpupredict.export.function.magics import files_read
from tests.export.test_programs import plain
from tests.export.test_slicing import load, module

DATA = ("a", "b", "c")
CALLS = ("f", "g")
STATEMENTS = (
    "{x} = [1, 2]",
    "{x} = {n}",
    "{x} = {{'k': {n}, 'l': [0]}}",
    "{x} = {y}",
    "{x} = [{y}, {z}]",
    "{x} = ({y}, {n})",
    "{x}, {y} = {y}, {x}",
    "{x} = {y}[0]",
    "{x} = {y}['k']",
    "{x} = {y}['l']",
    "{x}['k'] = {y}",
    "{x}['l'].append({n})",
    "{x}.append({n})",
    "{x}[0] = {n}",
    "{x} += [{n}]",
    "{x} += {n}",
    "{x}.extend(list({y}))",
    "{x}.clear()",
    "del {x}[0]",
    "del {x}",
    "{x} = {y}.copy()",
    "{x} = list({y})",
    "{x} = len({y})",
    "{x} = iter({y})",
    "{x} = next({y})",
    "next({y}, None)",
    "{x} = sum({y})",
    "{x} = max({y})",
    "{x} = (e for e in {y})",
    "{x} = map({f}, {y})",
    "{x} = list(map({f}, {y}))",
    "{x} = [{f}(e) for e in {y}]",
    "[{x}.append(e) for e in [{n}, 2]]",
    "{x} = sorted({y}, key={f})",
    "for e in list({y}):\n    {x}.append(e)",
    "for e in {y}:\n    len(e) < 20 and e.append({n})",
    "for {x} in {y}:\n    pass",
    "for e in range(2):\n    {x} = e",
    "while {n} > len({x}):\n    {x}.append(0)",
    "if len({x}) > 1:\n    {y} = {n}\nelse:\n    {x}.append(1)",
    "if {n} > 4:\n    {x} = {y}",
    "try:\n    {x} = {y}[7]\nexcept (IndexError, KeyError, TypeError):\n    {x} = [{n}]",
    "with open('/dev/null') as {x}:\n    {y} = [{n}]",
    "print({x}, {y})",
    "print({f}({x}))",
    "print(len({x}))",
    "{x}",
    "def {f}(v):\n    return v",
    "def {f}(v):\n    len({x}) < 20 and {x}.append({n})\n    return v",
    "def {f}(v):\n    len(v) < 20 and v.append({n})\n    return {n}",
    "def {f}(v):\n    global {x}\n    {x} = {n}\n    return v",
    "def {f}(v, w={x}):\n    len(w) < 20 and w.append({n})\n    return len(w)",
    "def {f}(v):\n    return {g}(v)",
    "def {f}(v):\n    return {x}",
    "def {f}(v):\n    return sum([1, 2]) + max(1, {n})",
    "{f} = lambda v: {x}",
    "{f} = {g}",
    "{x} = {f}({y})",
    "{f}({x})",
    "{f}.calls = {x}",
    "{x} = {f}.calls",
    "class K:\n    v = {x}\n    n = {n}",
    "class K:\n    def __init__(self, v):\n        self.v = v\n"
    "    def go(self):\n        len({x}) < 20 and {x}.append(self.v)",
    "class L(K):\n    n = 7",
    "class K:\n    every = []\n"
    "    def __init_subclass__(cls):\n        K.every.append(cls.__name__)",
    "{x} = len(K.every)",
    "{x} = K({y})",
    "{x}.go()",
    "{x} = K.n",
    "{x} = K.v",
    "K.n = {n}",
    "K.v.append({n})",
    "setattr(K, 'n', {x})",
    "{x} = {y}.v",
    "{x}.v = {n}",
    "def {f}(h):\n    len({x}) < 20 and {x}.append({n})\n    return h",
    "@{f}\ndef {g}(v):\n    return {n}",
    "import random",
    "random.seed({n})",
    "{x} = random.random()",
    "random.shuffle({x})",
    "sum = {n}",
    "max = {f}",
    "from operator import add as {f}",
    "from math import floor as {f}",
    "from math import {m} as {f}",
    "import math as {x}",
    "{x} = {y}.pi",
    "{x} = [y for y in {y} if (z := y)]",
    "{x} = {y} if {n} > 3 else {z}",
    "{x} = {y} + {z}",
    "{x} = {y} * 2",
    "assert {x} is not None",
    "def {f}(v):\n    yield v\n    len({x}) < 20 and {x}.append({n})",
    "{x} = list({f}({y}))",
    "globals()['{x}'] = {n}",
    "import os; os.environ['GPUPREDICT_TEST'] = str({n})",
    "import os; {x} = os.environ.get('GPUPREDICT_TEST', '')",
    "match {x}:\n    case [{y}, *_]:\n        pass\n    case _:\n        {x} = {n}",
    "pass",
)
LAST = (
    "[{x}, {y}]",
    "[{x}, {f}({y})]",
    "{x}.append({n})\n[{x}, {y}, {z}]",
    "{x} = {n}\n[{x}, {y}]",
    "for e in {y}:\n    {x} = e\n[{x}, {y}, {z}]",
    "def {f}(v):\n    return {x}\n[{f}({y}), {z}]",
    "[K.n, {x}, {y}]",
    "[{x}, sum([1, 2]), max(1, 2)]",
    "{x} = 5\n{f}({y})\n[{x}, {y}, {z}]",
    "class K:\n    n = {x}\n[K.n, {x}, {y}]",
    "@{f}\ndef {g}(v):\n    return {x}\n[{x}, {y}]",
    "import math as {f}\n[{x}, {y}]",
)
START = """\
import random
random.seed(1)
a = [1, 2]
b = {'k': 3, 'l': [4]}
c = 5
def f(v):
    return v
def g(v):
    return 1"""
words = st.fixed_dictionaries(
    {
        **{name: st.sampled_from(DATA) for name in "xyz"},
        **{name: st.sampled_from(CALLS) for name in "fg"},
        "n": st.integers(1, 6).map(str),
        "m": st.sampled_from(("sqrt", "ceil", "fabs")),
    }
)


@st.composite
def programs(draw):
    def statement(among):
        return draw(st.sampled_from(among)).format(**draw(words))

    cells = [
        "\n".join(statement(STATEMENTS) for _ in range(draw(st.integers(1, 3))))
        for _ in range(draw(st.integers(1, 7)))
    ]
    return [START, *cells, statement(LAST)]


def shown(value):
    """Return a value in words: what JSON cannot hold has no value to compare."""
    if isinstance(value, list | tuple):
        return [shown(one) for one in value]
    if isinstance(value, dict):
        return {str(key): shown(one) for key, one in value.items()}
    return value if isinstance(value, int | float | str | None) else type(value).__name__


def answers(sources):
    """Return what the notebook's last cell shows, and what two calls of its function return."""
    ready = [
        *sources[:-1],
        f"{sources[-1].rpartition(chr(10))[0]}\n_shown({sources[-1].rpartition(chr(10))[2]})",
    ]
    ready = ["from tests.export.test_replay import shown as _shown", *ready]
    try:
        wanted = copy.deepcopy(plain(ready))
    except Exception:  # noqa: BLE001 - no notebook ends so
        return None
    text, _ = module(*ready)
    train = load(text)
    return {"result": wanted}, train({}), train({}), text


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(programs())
def test_the_function_answers_as_all_cells_would(sources):
    found = answers(sources)
    assume(found is not None)
    wanted, first, again, text = found
    assert first == wanted, text
    assert again == wanted, text


# ---- what is left out, and told ------------------------------------------------------------------


@pytest.mark.parametrize(
    "looking",
    [
        "print(x, len(x))",
        "print(f'{x[:3]} and {max(x)}')",
        "import matplotlib.pyplot as plt\nplt.plot(x)\nplt.show()",
        "import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax[0].plot(x, label='x')",
        "import matplotlib.pyplot as plt\nfor i in range(3):\n    plt.subplot(3, 1, i)",
        "import time\nstart = time.time()",
        "x[:2]",
        "import numpy as np\nmean = np.mean(x)",
    ],
)
def test_what_only_looks_is_left_out(looking):
    text, found = module("x = [3, 4]", looking, "sum(x)")
    assert "matplotlib" not in text
    assert not any("runs again" in note for note in found.notes)
    assert load(text)({}) == {"result": 7}


@pytest.mark.parametrize(
    "changing",
    [
        "print(x.pop())",
        "print(next(iter(x)), x.append(5))",
        "def print(*words):\n    x.append(5)\nprint(1)",
        "import matplotlib.pyplot as plt\nplt.plot(x.pop())",
        "y = x\nfor one in y:\n    pass\ny.append(one)",
        "assert x.append(5) is None",
        "if len(x) > 1:\n    x.append(5)",
        "sorted(x, key=lambda one: x.append(one) if len(x) < 9 else 0)",
    ],
)
def test_what_may_change_something_runs_again(changing):
    _, found = module("x = [3, 4]", changing, "sum(x)")
    assert any(note.startswith("runs again before the cell") for note in found.notes)


def test_another_measured_cell_is_an_obstacle_with_three_remedies():
    sources = ("x = [1]", "%%gpupredict -o run\nx.append(2)", "sum(x)")
    with pytest.raises(UnsupportedCell) as caught:
        module(*sources)
    assert "the cell uses x, which another measured cell made or changed (In [2])" in str(caught)
    for remedy in ("--setup 2", "gpupredict: ignore", "--param x"):
        assert remedy in caught.value.hint
    assert load(module(*sources, setup=("2",))[0])({}) == {"result": 3}
    assert load(module(*sources, params=("x",))[0])({"x": [5]}) == {"result": 5}


def test_earlier_rounds_of_the_measured_cell_are_left_out():
    cell = "%%gpupredict\nx.append(2)\nlen(x)"
    text, found = module("x = [1]", cell, cell)
    assert load(text)({}) == {"result": 2}
    assert any("an earlier round of the measured cell" in note for note in found.notes)


def test_all_reasons_are_told_at_once():
    with pytest.raises(UnsupportedCell) as caught:
        module("files = !ls", "!python train.py\nlen(files) + open_things")
    words = str(caught.value)
    assert "!python works in a notebook only" in words
    assert "made files" in words
    assert "no executed cell defines open_things" in words
    assert "--param open_things" in caught.value.hint


# ---- order and environment ----------------------------------------------------------------------


def test_what_imports_depend_on_stays_before_them():
    cells = (
        "import os\nos.environ['KERAS_BACKEND'] = 'jax'",
        "%env TF_CPP_MIN_LOG_LEVEL=2",
        "import sys\nsys.path.insert(0, os.path.abspath('src'))\nimport json as keras",
        "keras.dumps(1)",
    )
    text, _ = module(*cells)
    order = ["import os", "'KERAS_BACKEND'", "'TF_CPP_MIN_LOG_LEVEL'", "sys.path.insert", "json as"]
    places = [text.index(one) for one in order]
    assert places == sorted(places)


def test_values_of_one_machine_and_credentials_become_names():
    cells = (
        "import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '3'\n"
        "os.environ['HF_TOKEN'] = 'hf_" + "aB3dE5fG7h" * 4 + "'\n"
        "os.environ['TOKENIZERS_PARALLELISM'] = 'false'",
        "os.environ.get('TOKENIZERS_PARALLELISM')",
    )
    text, found = module(*cells)
    assert "CUDA_VISIBLE" not in text
    assert "hf_" not in text
    assert found.environment == ("CUDA_VISIBLE_DEVICES", "HF_TOKEN")
    assert load(text)({}) == {"result": "false"}


# ---- names ---------------------------------------------------------------------------------------


def test_star_imports_bring_what_their_module_offers():
    text, _ = module("from math import *", "def f():\n    return floor(pi)", "f()")
    assert "import *" not in text
    assert load(text)({}) == {"result": 3}


def test_of_a_star_import_that_cannot_be_read_the_line_stays():
    text, found = module("from unheard.of import *", "model = Net()", "model.size")
    assert "from unheard.of import *" in text
    assert any("Net may come from the star imports of unheard.of" in note for note in found.notes)


def test_magics_have_a_way_on():
    cells = (
        "try:\n    !git rev-parse HEAD\nexcept OSError:\n    pass",
        "!wget http://data.example/x.csv\n%cd data\nx = 2",
        "%timeit -n 3 x + 1\n!nvidia-smi\nx",
    )
    text, found = module(*cells)
    assert load(text)({}) == {"result": 2}
    told = "; ".join(found.notes)
    for words in ("!git was left out", "!wget was left out: mount its files", "%cd was left out"):
        assert words in told


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("pd.read_csv('data/train.csv')", ["data/train.csv"]),
        ("open('a.txt')\nopen('b.txt', 'w')\nnp.load('c.npy')", ["a.txt", "c.npy"]),
        ("ImageFolder('data/images')\nload('a b')\nread('x')", ["data/images"]),
        ("pd.read_csv('https://data.example/x.csv')\nsave('d.npy')", []),
    ],
)
def test_literal_paths_that_are_read_are_found(source, paths):
    assert list(files_read(ast.parse(source))) == paths


MEASURED = "%%gpupredict\nmodel = [2]\nmodel.append(other)"


@pytest.mark.parametrize(
    ("afterwards", "value"),
    [
        ("model = [5]", 5),
        ("model = [5]\nmodel.append(3)", 8),
        ("def model_of():\n    return [5]\nmodel = model_of()", 5),
    ],
)
def test_a_name_that_is_bound_anew_is_not_that_of_the_measured_cell(afterwards, value):
    text, _ = module("other = [1]", MEASURED, afterwards, "sum(model)")
    assert load(text)({}) == {"result": value}
    assert "append(other)" not in text


@pytest.mark.parametrize(
    "afterwards",
    [
        "model += [5]",
        "if other:\n    model = [5]",
        "for model in []:\n    pass",
        "model = [5, *model]",
        "kept = model\nmodel = kept",
        "model = [5]\nother.append(1)",
        "def peek():\n    return model[0]\nmodel = [peek()]",
    ],
)
def test_what_may_still_be_that_of_the_measured_cell_is_an_obstacle(afterwards):
    cells = ("other = [1]", MEASURED, afterwards, "len(model) + len(other)")
    with pytest.raises(UnsupportedCell, match="which another measured cell made or changed"):
        module(*cells)
