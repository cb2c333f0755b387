"""What a saved notebook shows where nothing of ours is installed: nbconvert, and plain clients."""

import base64
import io

import nbformat
import pytest
from PIL import Image

from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.frontends.report import Result
from jupyter_gpupredict.frontends.widget import WidgetView
from tests.frontends import runs

nbconvert = pytest.importorskip("nbconvert")
RUN = runs.run()


@pytest.fixture(scope="module")
def saved():
    """A notebook of one measured cell: its live view, which nobody can show, and its result."""
    view = WidgetView("", "svg")
    live = view._widget._repr_mimebundle_()
    view._widget.close()
    cell = nbformat.v4.new_code_cell("%%gpupredict\ntrain()")
    cell.outputs = [
        nbformat.v4.new_output("display_data", data=stored(data))
        for data in (live[0] if isinstance(live, tuple) else live, Result(RUN)._repr_mimebundle_())
    ]
    return nbformat.v4.new_notebook(cells=[cell])


def stored(data):
    """Return a bundle as a kernel sends it: pictures in base64."""
    return {
        kind: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for kind, value in data.items()
    }


@pytest.fixture
def no_programs(monkeypatch, tmp_path):
    """No Inkscape, and nothing else that could be called."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("no_programs")
def test_latex_includes_a_png_and_needs_no_inkscape(saved):
    tex, resources = nbconvert.LatexExporter().from_notebook_node(saved)
    ((name, picture),) = resources["outputs"].items()
    assert name.endswith(".png")
    assert f"{{{name}}}" in tex[tex.index("\\maketitle") :]
    assert "svg" not in tex[tex.index("\\maketitle") :]
    untitled = Image.open(io.BytesIO(Result(RUN)._untitled_png()))
    assert Image.open(io.BytesIO(picture)).height > untitled.height  # the answer stands in it
    assert answer(RUN).headline in Result(RUN).to_svg()


@pytest.mark.usefixtures("no_programs")
def test_html_says_the_answer_once_beside_its_picture(saved):
    page, _ = nbconvert.HTMLExporter().from_notebook_node(saved)
    shown = page[page.index("<main") :]
    assert "<svg" not in shown
    assert shown.count("data:image/png;base64") == 1
    assert f'<strong style="font-size:1.15em">● {answer(RUN).headline}</strong>' in shown


def test_a_client_that_knows_text_alone_shows_the_answer(saved):
    texts = [one.data["text/plain"] for one in saved.cells[0].outputs]
    assert answer(RUN).headline in texts[-1]
    assert all("text/html" in one.data for one in saved.cells[0].outputs[1:])
