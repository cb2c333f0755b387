"""Small notebooks of everyday code: the function answers as the cell does, twice."""

import ast
from pathlib import Path

import pytest

from tests.export.test_slicing import load, module

# programs are parted by a line of ===, their cells by a line of ---
TEXT = (Path(__file__).resolve().parents[1] / "data" / "programs.txt").read_text(encoding="utf-8")
PROGRAMS = [program.split("\n---\n") for program in TEXT.removesuffix("\n").split("\n===\n")]


def plain(sources):
    """Run the cells in one namespace, as a kernel does, and return the value of the last."""
    namespace = {"__name__": "__main__"}
    for source in sources[:-1]:
        exec(source, namespace)
    tree = ast.parse(sources[-1])
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), namespace)
    if last is None:
        return namespace["result"]
    return eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)


@pytest.mark.parametrize("sources", PROGRAMS, ids=lambda sources: sources[-1][-40:])
def test_the_function_answers_as_the_cell(sources):
    wanted = plain(sources)
    text, _ = module(*sources)
    train = load(text)
    answer = train.__globals__["_plain"](wanted)
    answer = answer if isinstance(answer, dict) else {"result": answer}
    assert train({}) == answer
    assert train({}) == answer  # nothing is left over from the call before
