"""Words of a driver, a trace or a server in all that we print and draw: as text, never as signs."""

import ast
import dataclasses
from pathlib import Path

import pytest

import jupyter_gpupredict
from jupyter_gpupredict.core import events as ev
from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.core.series import Device
from jupyter_gpupredict.core.trace import event_to_json
from jupyter_gpupredict.frontends.charts import card
from jupyter_gpupredict.frontends.cli import main
from jupyter_gpupredict.frontends.report import Result
from jupyter_gpupredict.frontends.server.replies import exposition
from jupyter_gpupredict.run import Runs, read_run, store_dir
from tests.core.test_plain import steers
from tests.fake_nvml.scenario import FakeGpu, Script
from tests.frontends.server import traces

HOSTILE = "x\x1b[2J\x1b]0;t\x07\x9b31m\r\u202e\u2066\u200b\x00\ud800\n# h\n<img src=x>[a](b)|`c`"
PACKAGE = Path(jupyter_gpupredict.__file__).parent
STORED = HOSTILE.replace("\ud800", "")
"""A trace with half a character is damaged, and none of its words are shown."""
RUN, READ = traces.session_id(1), traces.session_id(2)
"""The second one's source is one that we know."""


@pytest.fixture
def stored(data_dir):
    """Two runs whose every free text is hostile; the first one's trace."""
    write(RUN, STORED)
    write(READ, "nvml")
    return store_dir() / f"{RUN}.jsonl"


def write(run, source):
    advice = dataclasses.replace(
        traces.advice(),
        reason=STORED,
        progress=STORED,
        memory=dataclasses.replace(traces.advice().memory, reason=STORED, basis=STORED),
    )
    events = [
        traces.started(
            run,
            source=source,
            devices=(Device(traces.UUID, STORED, 0, 143771 << 20),),
            versions={"driver": STORED},
            kernel_id=STORED,
            **{name: STORED for name in ("origin", "host", "last_time")},
            notes=(STORED,),
        ),
        traces.samples(1, [0.1, 0.9]),
        ev.MetricUnavailable(2, 1.0, traces.MEMORY, STORED, STORED),
        ev.ProgressMade(3, 1.0, STORED, 1.0, None, STORED),
        ev.PhaseEntered(4, 1.0, STORED, STORED),
        ev.RecommendationUpdated(5, 2.0, advice),
        traces.finished(
            6, recommendation=advice, errors=(STORED,), partial=(STORED,), outcome="completed"
        ),
    ]
    lines = list(map(event_to_json, events))
    folder = store_dir()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{run}.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_every_verb_prints_text(stored, capsys, tmp_path):
    options = ["--name", "train", "--force", "-o", str(tmp_path / "f")]
    export = ["export", READ, *options]
    statuses = [
        main(["show", RUN]),
        main(["history"]),
        main(["predict", str(stored)]),
        main([*export, "--dry-run"]),
        main([*export, "--workload", HOSTILE]),
        main(["export", RUN, *options]),
        main([*export]),
        main(["validate", str(tmp_path / "f")]),
        main(["show", HOSTILE]),
    ]
    assert statuses == [0, 0, 0, 0, 2, 2, 0, 0, 2]
    said = capsys.readouterr()
    assert "x [2J ]0;t  31m" in said.out  # it is shown, as text
    assert {*steers(said.out + said.err)} == {"\n"}
    readme = (tmp_path / "f" / "README.md").read_text()
    assert {*steers(readme)} == {"\n"}
    assert "x [2J ]0;t" in readme
    assert "\n# h" not in readme
    for raw in ("<img", "](b)", "|"):
        assert readme.count(raw) == readme.count(f"\\{raw}") + in_spans(readme, raw)


def in_spans(markdown, raw):
    """Return how often a text stands in spans of code, where nothing is more than a text."""
    return sum(part.count(raw) for line in markdown.splitlines() for part in line.split("`")[1::2])


def test_a_result_is_text_in_html_and_in_lines(stored):
    result = Result(read_run(RUN))
    html = result.to_html()
    assert {*steers(html)} <= {"\n"}
    assert html.count("<img") == html.count("data:image/png;base64") <= 1
    assert "&lt;img" in html
    assert {*steers(result.to_text())} == {"\n"}
    assert "\n# h" not in result.to_text()  # one line each
    assert steers(card.line(result.run, answer(result.run))) == []
    assert "\x1b" not in exposition(Runs().current(5, 1e12))


def test_a_driver_that_says_such_names(driver, capsys):
    driver.play(Script(gpus=[FakeGpu(name="H200\x1b[31m\u202e<b>")]))
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "H200 [31m <b>" in said
    assert {*steers(said)} == {"\n"}


def test_an_error_is_one_line_of_text():
    error = GpuPredictError(f"cannot: {HOSTILE}", HOSTILE)
    assert steers(str(error) + error.message + error.hint + repr(error.args)) == []


def test_only_one_place_prints():
    """The script's own exit message is the script's."""
    printing = {
        path.relative_to(PACKAGE).as_posix()
        for path in (PACKAGE / "frontends").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    }
    assert printing == {"frontends/terminal.py", "frontends/cli.py"}
