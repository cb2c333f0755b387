import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import InvalidOption, UnsupportedCell
from jupyter_gpupredict.export.deployment import Cell
from jupyter_gpupredict.export.function import names
from jupyter_gpupredict.export.function.module import indent, module_text, rename
from jupyter_gpupredict.export.function.slicing import slice_cells


def cells(*sources, tags=None):
    tags = tags or {}
    return [
        Cell(f"In [{n}]", source, tuple(tags.get(n, ()))) for n, source in enumerate(sources, 1)
    ]


def module(*sources, tags=None, **options):
    found = slice_cells(cells(*sources, tags=tags), **options)
    return module_text(found, "x", f"In [{len(sources)}]"), found


def load(text):
    namespace = {"__name__": "train_fn"}
    exec(compile(text, "train_fn.py", "exec"), namespace)
    return namespace["train"]


def trained(*sources, params=None, **options):
    return load(module(*sources, **options)[0])(params or {})


def refused(*sources, **options):
    with pytest.raises(UnsupportedCell) as caught:
        module(*sources, **{"mode": "strict"} | options)
    return str(caught.value)


# ---- what is taken -----------------------------------------------------------------------------


def test_the_latest_definition_counts():
    assert trained("def f():\n    return 1", "def f():\n    return 2", "f()") == {"result": 2}


def test_a_definition_after_the_measured_cell_is_none_of_its():
    assert trained("def f():\n    return g()", "def g():\n    return 1", "f()") == {"result": 1}


def test_imports_come_once_and_only_those_used():
    text, _ = module("import os, json\nimport math", "import math\nimport csv", "math.pi")
    assert text.partition("_known")[0].count("import math") == 1
    assert not any(one in text.partition("_known")[0] for one in ("os", "json", "csv"))


def test_submodules_of_several_imports_are_kept():
    source = "isinstance(xml.dom.Node, type) and xml.sax.SAXException.__name__"
    text, _ = module("import xml.dom", "import xml.sax", source)
    assert "import xml.dom\nimport xml.sax" in text
    assert load(text)({}) == {"result": "SAXException"}


def test_an_unused_import_of_the_cell_is_told():
    _, found = module("import json\n1")
    assert any("unused import left out: json" in note for note in found.notes)


def test_constants_become_parameters_wherever_they_stand():
    sources = (
        "rate = 0.5\nsize, depth = 2, 3",
        "def f(x):\n    return x * rate",
        "n = 4\nf(n) + size",
    )
    assert trained(*sources) == {"result": 4.0}
    assert trained(*sources, params={"rate": 2, "n": 1, "size": 0}) == {"result": 2}
    with pytest.raises(ValueError, match=r"unknown parameters: depth \(known: n, rate, size\)"):
        trained(*sources, params={"depth": 1})


def test_what_is_counted_up_or_filled_is_no_parameter():
    source = (
        "total = 0\nseen = []\nfor i in range(3):\n    total += i\n    seen.append(i)\ntotal, seen"
    )
    _, found = module(source)
    assert found.placed.defaults == ()
    assert trained(source) == {"result": [3, [0, 1, 2]]}


def test_a_value_made_of_constants_follows_them():
    sources = ("width = 3", "hidden = width * 2\nname = f'net-{hidden}'", "name, hidden")
    assert trained(*sources) == {"result": ["net-6", 6]}
    assert trained(*sources, params={"width": 5}) == {"result": ["net-10", 10]}


def test_two_versions_of_a_constant_keep_their_order():
    sources = ("a = 1", "b = a + 1", "a = 5", "a, b")
    assert trained(*sources) == {"result": [5, 2]}
    sources = ("a = 1", "def f(x=a):\n    return x", "a = 5", "f(), a")
    assert trained(*sources) == {"result": [1, 5]}


def test_default_values_are_fresh_for_each_call():
    train = load(module("options = {'a': [1]}", "options['a'].append(2)\noptions")[0])
    assert train({}) == train({}) == {"a": [1, 2]}


def test_functions_see_what_the_cell_binds_as_in_a_notebook():
    sources = ("def area():\n    return side * side", "side = 3\nside = side + 1\narea()")
    assert trained(*sources) == {"result": 16}


def test_a_global_statement_works_as_in_a_notebook():
    source = "count = 0\ndef up():\n    global count\n    count += 1\nup(); up()\ncount"
    assert trained(source) == {"result": 2}


def test_a_class_that_shadows_a_name_still_reads_it():
    assert trained("x = 1\nx = x + 1\nclass A:\n    x = x\nA.x") == {"result": 2}


def test_methods_may_call_super():
    base = "class A:\n    def __init__(self):\n        self.x = __class__.__name__"
    child = "class B(A):\n    def __init__(self):\n        super().__init__()\n\nB().x"
    assert trained(base, child) == {"result": "A"}


def test_dynamic_names_are_found_among_the_globals():
    assert trained("a = 1\nb = 2\nsum(globals()[n] for n in ('a', 'b'))") == {"result": 3}


def test_classes_of_the_cell_can_be_pickled():
    text, _ = module("class A:\n    pass\n\nimport pickle\nlen(pickle.dumps(A())) > 0")
    assert text.index("class A") < text.index("def _cell")


def test_main_guards_run():
    assert trained("x = 1\nif __name__ == '__main__':\n    x = 2\nx") == {"result": 2}


def test_guarded_imports_come_along():
    first = "try:\n    import nothing_like_this as fast\nexcept ImportError:\n    fast = None"
    assert trained(first, "fast is None") == {"result": True}


def test_our_own_functions_do_nothing_in_a_function():
    body = "[n for n in gp.track(range(2))]\nwith gp.phase('validation'):\n    gp.epoch(total=3)"
    source = f"import jupyter_gpupredict as gp\nfrom jupyter_gpupredict import track as t\n{body}"
    text, _ = module(source + "\nlist(t([5]))")
    assert load(text)({}) == {"result": [5]}
    assert "import jupyter_gpupredict" not in text
    assert "for notebooks" in refused("from jupyter_gpupredict import last", "last()")


def test_a_notebooks_progress_bar_becomes_one_for_text(monkeypatch):
    """It calls `iter` as often: a shuffling loader draws from the random numbers at each call."""
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)  # its thread would be a leak
    loader = "class Loader:\n    calls = 0\n    def __iter__(self):\n        self.calls += 1\n"
    loader += "        return iter([1, 2])\nloader = Loader()"
    names = "from tqdm.notebook import tqdm, tnrange as steps"
    bars = "list(tqdm(loader, disable=True))"
    text, _ = module(names, loader, f"{bars}\n[loader.calls, *steps(2, disable=True)]")
    assert load(text)({}) == {"result": [1, 0, 1]}


def test_relative_imports_become_absolute_also_inside_functions():
    function = "def f():\n    from .deep import b\n    return a, b, other"
    text, _ = module("from .beside import a\nfrom . import other", function, "f")
    assert "from beside import a" in text
    assert "import other" in text
    assert "    from deep import b" in text


def test_future_features_stay_on():
    text, _ = module("from __future__ import annotations", "def f(x: Unknown):\n    return 1\nf(0)")
    assert "from __future__ import annotations" in text


# ---- what comes back ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("1 + 1", {"result": 2}),
        ("{'a': 1}", {"a": 1}),
        ("x = 5\nx;", {}),
        ("result = 3", {"result": 3}),
        ("result = {'b': 2}\nprint('done')", {"b": 2}),
        ("x = 1\ny = 2", {}),
        ("float('nan'), float('inf')", {"result": [None, None]}),
        ("(1,\n 2\n)", {"result": [1, 2]}),
        ("x = 1; x + 1", {"result": 2}),
        ("'''a\n  b'''", {"result": "a\n  b"}),
        ("", {}),
    ],
)
def test_the_answer(source, answer):
    assert trained(source) == answer
    json.dumps(trained(source), allow_nan=False)


def test_arrays_come_back_as_lists():
    value = "{'w': np.ones(2), 'n': np.int64(3), 'f': np.float32(.5)}"
    assert trained("import numpy as np", value) == {"w": [1.0, 1.0], "n": 3, "f": 0.5}


def test_what_json_cannot_hold_becomes_its_type_its_words_and_its_plain_parts():
    kind = "class History:\n    def __init__(self):\n        self.history = {'loss': [2.0, 1.0]}\n"
    kind += "        self.model = object()\n    def __repr__(self):\n        return 'H'"
    answer = trained(kind, "{'a': [1, History()], 2: float}")
    assert answer["a"][1] == {
        "type": "train_fn.History",
        "repr": "H",
        "history": {"loss": [2.0, 1.0]},
    }
    assert answer["2"]["repr"] == "<class 'float'>"
    json.dumps(answer, allow_nan=False)


def test_an_answer_never_fails_the_function():
    kind = "class Odd:\n    def __repr__(self):\n        raise OSError"
    assert trained(kind, "Odd()")["repr"] == "<no words: OSError>"
    assert "list" in json.dumps(trained("a = []\na.append(a)\na"))


def test_what_is_asked_for_is_saved_below_the_output_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GPUPREDICT_OUTPUTS", str(tmp_path / "out"))
    text, _ = module("import math", "model = {'w': [1, 2]}\nmodel['w'][0]", saves={"model": "a/m"})
    assert load(text)({}) == {"result": 1}
    assert pickle.loads((tmp_path / "out" / "a" / "m").read_bytes()) == {"w": [1, 2]}
    for wrong in ({"other": "m"}, {"model": "../m"}, {"model": "/m"}):
        with pytest.raises(InvalidOption):
            module("model = 1\nmodel.real", saves=wrong)


def test_literals_of_training_calls_become_parameters():
    sources = (
        "def fit(x, epochs, lr=0.1):\n    return [x, epochs, lr]",
        "model = fit(1, epochs=2)",
        "for epoch in range(2):\n    train = fit(0, 1)\n    train.append(epoch)\n"
        "fit(model, epochs=5, lr=1e-3), train",
    )
    assert trained(*sources) == {"result": [[[1, 2, 0.1], 5, 0.001], [0, 1, 0.1, 1]]}
    given = {"epochs": 3, "epochs_2": 3, "epochs_3": 4, "lr": 1}
    assert trained(*sources, params=given) == {"result": [[[1, 3, 0.1], 4, 1], [0, 1, 0.1, 2]]}


def test_a_literal_that_the_notebook_names_keeps_its_name():
    sources = (
        "epochs = 4",
        "def fit(n=0, epochs=0):\n    return n + epochs",
        "fit(n=epochs, epochs=2)",
    )
    assert trained(*sources, params={"epochs": 1, "epochs_2": 5}) == {"result": 6}


# ---- entry points ------------------------------------------------------------------------------


def test_exactly_one_function_is_the_entry_point():
    source = "import math\ndef fit(n=2, *, k=1):\n    return n * k\nfit(3)"
    assert trained(source) == {"result": 3}
    assert trained(source, params={"k": 5}) == {"result": 15}


def test_an_entry_point_named_train():
    assert trained("def train(n):\n    return n\n\ntrain(4)") == {"result": 4}
    assert trained("def train(params):\n    return params\n\ntrain({'a': 1})") == {"a": 1}
    with pytest.raises(ValueError, match="missing parameters: n"):
        trained("def train(n):\n    return n")


def test_an_asynchronous_entry_point_also_inside_a_loop():
    import asyncio

    source = "async def fit(n=2):\n    return n\n\nawait fit()"
    train = load(module(source)[0])

    async def served():
        return train({})

    assert train({}) == asyncio.run(served()) == {"result": 2}


def test_a_function_that_is_only_part_of_the_cell_is_no_entry_point():
    source = "def step(x):\n    return x + 1\n\nx = 0\nfor _ in range(3):\n    x = step(x)\nx"
    assert trained(source) == {"result": 3}


def test_a_call_with_made_arguments_is_straight_line_code():
    sources = ("n = 3", "def fit(size):\n    return len(size)\n\nfit(range(n))")
    assert trained(*sources, params={"n": 2}) == {"result": 2}


# ---- IPython's syntax ----------------------------------------------------------------------------


def test_translated_and_dropped_magics():
    first = (
        "%load_ext autoreload\n%matplotlib inline\n%env KEY=canary\n!pip install -q numpy\n"
        "%pip install pandas 'scipy>=1'\n%time x = 1\nlen?\nk = 2"
    )
    text, found = module(first, "k")
    assert found.environment == ("KEY",)
    assert found.pip == ("-q", "numpy", "pandas", "scipy>=1")
    assert "canary" not in text
    said = "\n".join(found.notes)
    for one in ("line 1: %load_ext", "line 2: %matplotlib", "line 6: %time", "line 7: looking"):
        assert f"In [1] {one}" in said


@pytest.mark.parametrize(
    "line",
    ["!ls /secret", "x = !ls", "%run other.py", "x = %who_ls", "get_ipython()", "%%bash\nls"],
)
def test_everything_else_is_refused_with_cell_and_line(line):
    said = refused("a = 1", f"b = a\n{line}\nb" if "%%" not in line else line)
    assert "In [2] line" in said
    assert "notebook only" in said
    assert "/secret" not in said


def test_a_magic_in_a_cell_that_the_function_takes_from_is_refused():
    assert "In [1] line 1: !ls" in refused("!ls\nx = 1", "x")
    assert "--drop-magics" in refused("!ls\nx = 1", "x")
    said = module("!ls\nx = 1", "x", drop_magics=True)[1].notes
    assert any("In [1] line 1: !ls" in note for note in said)
    assert "In [2]" in refused("x = 1", "!ls\nx", drop_magics=True)
    said = module("!ls  # gpupredict: ignore\nx = 1", "x")[1].notes
    assert any("In [1] line 1" in note and "marked" in note for note in said)


def test_a_magic_elsewhere_is_told():
    assert any("In [1] line 1: !nvidia-smi" in note for note in module("!nvidia-smi", "1")[1].notes)


def test_a_name_made_by_a_magic_is_refused():
    assert "made files" in refused("files = !ls", "len(files)")


def test_magics_inside_blocks():
    assert trained("def f():\n    %load_ext autoreload\n    return 1\nf() + 1") == {"result": 2}


def test_cell_magics_that_only_run_the_body_are_unwrapped():
    assert trained("%%time\ndef f():\n    return 1", "%%gpupredict -q\n\nf()") == {"result": 1}


def test_lines_are_counted_as_the_author_sees_them():
    assert "In [1] line 4: !ls" in refused("%%gpupredict -q\n\nx = 1\n!ls\nx")


def test_a_cell_that_is_no_python_is_left_out_and_told():
    assert any("In [1] is not valid Python" in note for note in module("x = = 1", "1")[1].notes)


# ---- what cannot be rebuilt ----------------------------------------------------------------------


def test_live_objects_are_all_listed_with_their_cells():
    said = refused("data = open('x')", "a = 1\nmodel = object()", "data.read(), model, a")
    assert "data (In [1] line 1), model (In [2] line 2)" in said
    assert "--param NAME" in said
    assert "gpupredict: setup" in said


def test_ways_on():
    made = "data = list(range(3))"
    assert trained(f"{made}  # gpupredict: setup", "sum(data)") == {"result": 3}
    assert trained(f"# gpupredict: setup\n{made}", "sum(data)") == {"result": 3}
    assert trained(made, "sum(data)", setup=("1",)) == {"result": 3}
    assert trained(made, "sum(data)", setup=("load",), tags={1: ["load"]}) == {"result": 3}


def test_a_parameter_replaces_a_live_object_here_and_in_the_cell():
    def run(*sources, **given):
        text, _ = module(*sources, params=("data",))
        return load(text)(given)

    assert run("data = list(range(3))", "sum(data)", data=[5]) == {"result": 5}
    assert run("data = list(range(3))\nsum(data)", data=[5]) == {"result": 5}
    with pytest.raises(ValueError, match="missing parameters: data"):
        run("data = list(range(3))", "sum(data)")
    assert "nothing in In [1] needs" in refused("1 + 1", params=("data",))


@pytest.mark.parametrize("tag", ["nuclio-ignore", "mlrun-ignore"])
def test_ignored_cells_define_nothing(tag):
    assert "no executed cell defines x" in refused("x = 1", "x", tags={1: [tag]})
    assert any("marked" in n for n in module("x = 1", "2", tags={1: [tag]})[1].notes)


def test_names_that_nobody_defines():
    said = refused("import math", "math.pi + nothing + other")
    assert "no executed cell defines nothing, other, which In [2] needs" in said


def test_names_of_ipython_are_not_taken_for_builtins():
    assert "no executed cell defines Out" in refused("Out[1]")
    assert trained("display(1)\n2") == {"result": 2}


def test_star_imports_hide_where_names_come_from():
    assert "star import in In [1] line 1" in refused("from math import *", "pi")


@pytest.mark.parametrize(
    "change",
    ["x.append(1)", "x[0] = 1", "del x[0]", "for i in range(2):\n    x.append(i)", "del x"],
)
def test_what_was_changed_in_place_is_refused(change):
    assert "x (In [2] line 1)" in refused("x = [0]", change, "len(x)")


def test_what_may_have_been_changed_is_told():
    cells = ("x = [3, 1]", "import random\nrandom.shuffle(x)", "print(x)", "len(x)")
    _, found = module(*cells, mode="strict")
    assert [note for note in found.notes if "may have changed x" in note] == [
        "In [2] line 2 may have changed x, which the function takes as In [1] line 1 made it"
    ]


def test_settings_of_modules_are_told():
    cells = ("import random", "random.seed(0)", "random.random() < 2")
    _, found = module(*cells, mode="strict")
    assert any("In [2] line 1: random.seed(...) is not part" in note for note in found.notes)


def test_definitions_from_a_failed_cell_are_told():
    found = [Cell("In [1]", "x = 1\n1 / 0", failed=True), Cell("In [2]", "x")]
    assert any("In [1] ended with an error" in note for note in slice_cells(found).notes)


# ---- names that the module needs itself --------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "_cell", "_plain", "_known", "_values", "_DEFAULTS"])
def test_names_of_the_module_are_no_ones_else(name):
    helper = f"def {name}(n):\n    return 1 if n == 0 else {name}(n - 1)  # again"
    assert trained(helper, f"{name}(3)") == {"result": 1}
    assert trained(f"{name} = 4\n{name} + 1") == {"result": 5}
    assert trained(f"def f():\n    return {name}", f"{name} = 2\n{name} = {name} + 1\nf()") == {
        "result": 3
    }


def test_renaming_leaves_other_scopes_and_comments_alone():
    text = (
        "def train(x):  # train well\n    return train(x)\n\n\n"
        "def f(train):\n    return train\n\n\nmodel.train(train=train)\n"
    )
    changed = rename(text, "train", "other")
    assert changed == (
        "def other(x):  # train well\n    return other(x)\n\n\n"
        "def f(train):\n    return train\n\n\nmodel.train(train=other)\n"
    )
    assert rename("f'{train}'\n", "train", "other").strip() in ("f'{other}'", 'f"{other}"')


# ---- properties --------------------------------------------------------------------------------

NAMES = "abc"
expression = st.deferred(
    lambda: st.one_of(
        st.integers(0, 9).map(str),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES).map(lambda n: f"f{n}()"),
        st.tuples(expression, st.sampled_from(["+", "-", "*"]), expression).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
    )
)
simple = st.one_of(
    st.tuples(st.sampled_from(NAMES), expression).map(lambda t: f"{t[0]} = {t[1]}"),
    st.tuples(st.sampled_from(NAMES), expression).map(lambda t: f"{t[0]} += {t[1]}"),
    st.tuples(st.sampled_from(NAMES), expression).map(lambda t: f"def f{t[0]}(): return {t[1]}"),
    st.tuples(st.sampled_from(NAMES), expression, st.sampled_from(NAMES)).map(
        lambda t: f"def f{t[0]}(x={t[1]}): return x + {t[2]}"
    ),
)
statement = st.one_of(
    simple,
    st.tuples(expression, simple).map(lambda t: f"if {t[0]} > 3:\n    {t[1]}"),
    st.tuples(st.sampled_from(NAMES), simple).map(lambda t: f"for {t[0]} in (1, 2):\n    {t[1]}"),
)
program = st.lists(st.lists(statement, min_size=1, max_size=4).map("\n".join), max_size=4)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(program, st.lists(statement, max_size=4), expression)
def test_a_cell_is_refused_or_gives_the_same(earlier, body, value):
    """Small programs over a few names, in which definitions, uses and changes cross cells."""
    begin = "a = 1\nb = 2\nc = 3\ndef fa(): return 1\ndef fb(): return 2\ndef fc(): return 3"
    last = "\n".join([*body, f"[{value}, a, b, c]"])
    sources = [begin, *earlier, last]
    namespace = {}
    try:
        for source in sources[:-1]:
            exec(source, namespace)
        exec("\n".join(last.splitlines()[:-1]), namespace)
        wanted = eval(last.splitlines()[-1], namespace)
    except RecursionError:
        return
    if any(abs(one) > 10**300 for one in wanted):
        return
    try:
        text, _ = module(*sources)
    except UnsupportedCell:
        return
    assert load(text)({}) == {"result": wanted}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(program, st.lists(statement, min_size=1, max_size=4))
def test_every_module_compiles_and_lacks_no_name(earlier, body):
    import ast

    try:
        text, _ = module(*earlier, "\n".join(body))
    except UnsupportedCell:
        return
    flow = names.of_statements(ast.parse(text).body)
    assert not (flow.strong | flow.later) - flow.binds - flow.declared


@given(st.text(alphabet="ab '\"\\\n{}#f", max_size=40))
def test_indenting_changes_no_meaning(text):
    import ast

    source = f"x = {text!r}\ny = '''{text.replace(chr(39), '').replace(chr(92), '')} '''\n"
    moved = f"def f():\n{indent(source)}    return x, y\n"
    before, after = {}, {}
    exec(source, before)
    exec(moved, after)
    assert after["f"]() == (before["x"], before["y"])
    ast.parse(moved)
