"""Tab on our lines: verbs, options, values, and nothing on anybody else's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from jupyter_gpupredict.frontends import magic
from jupyter_gpupredict.frontends.completing import suggestions


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("%%gpupredict --ru", ["--rule"]),
        ("%%gpupredict --rule ", ["accurate", "default", "quick"]),
        ("%%gpupredict --rule qu", ["quick"]),
        ("%%gpupredict --source nv", ["nvml"]),
        ("%gpupredict hi", ["history"]),
        ("%gpupredict ", ["doctor", "export", "show"]),
        ("%gpupredict export --work", ["--workload"]),
        ("%gpupredict export --workload job", ["job"]),
        ("%gpupredict export --sharing mp", ["mps"]),
        ("%gpupredict show la", ["last"]),
        ("%gpupredict mps st", ["start", "status", "stop"]),
    ],
)
def test_what_may_come_next_is_offered(line, some):
    assert set(some) <= set(suggestions(line))
    begun = "" if line.endswith(" ") else line.split()[-1]
    assert all(one.startswith(begun) for one in suggestions(line))


@pytest.mark.parametrize("line", ["", "%timeit x", "gpupredict --ru", "%gpupredict nothing --ru"])
def test_other_lines_are_left_alone(line):
    assert suggestions(line) == []


@given(st.text(max_size=30))
def test_no_line_breaks_it(text):
    for head in ("%gpupredict ", "%%gpupredict "):
        assert all(isinstance(one, str) for one in suggestions(head + text))


@pytest.fixture
def shell():
    made = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    magic.load(made)
    yield made
    magic.unload(made)


def test_it_works_in_a_shell_and_goes_when_we_go(shell):
    code = "%%gpupredict --rule qu"

    def offered():
        with provisionalcompleter():
            return [one.text for one in shell.Completer.completions(code, len(code))]

    assert offered() == ["quick"]
    magic.unload(shell)
    assert "quick" not in offered()


def test_help_alone_is_no_empty_cell(shell, capsys):
    lines = magic.transform(["%%gpupredict -h\n"])
    assert lines == ["get_ipython().run_cell_magic('gpupredict', '-h', '\\n')\n"]
    for code, part in (
        ("%%gpupredict -h", "--rule NAME"),
        ("%gpupredict export -h", "--workload"),
        ("%gpupredict -h", "history"),
    ):
        assert shell.run_cell(code).success
        assert part in capsys.readouterr().out
