import time

import pytest

from jupyter_gpupredict.core.errors import TrialFailed
from jupyter_gpupredict.export.function.writing import trial


def folder(path, source, **files):
    (path / "train_fn.py").write_text(source)
    for name, text in files.items():
        (path / f"{name}.py").write_text(text)
    return path


def test_a_good_folder_passes(tmp_path):
    trial(folder(tmp_path, "import beside\ndef train(params): return {}", beside=""))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beside.py", "train_fn.py"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nothing_like_this", r"ModuleNotFoundError.*train_fn\.py line 1"),
        ("def train(:", r"SyntaxError"),
        ("x = 1\n\n1 / 0", r"ZeroDivisionError.*train_fn\.py line 3"),
        ("train = 3", r"train is not a function"),
        ("raise SystemExit(4)", r"no reason|4"),
        ("import os\nos._exit(3)", r"no reason was given"),
    ],
)
def test_what_does_not_import_says_why_in_one_line(tmp_path, source, said):
    with pytest.raises(TrialFailed, match=said) as caught:
        trial(folder(tmp_path, source))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_nothing_is_inherited(tmp_path, monkeypatch):
    monkeypatch.setenv("CANARY", "value")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "hidden.py").write_text("")
    monkeypatch.chdir(tmp_path / "elsewhere")
    source = (
        "import os\nassert 'CANARY' not in os.environ\nassert os.environ['WANTED'] == ''\n"
        "assert os.listdir('.') == []\ndef train(params): return {}"
    )
    trial(folder(tmp_path, source), ["WANTED"])
    with pytest.raises(TrialFailed, match="hidden"):
        trial(folder(tmp_path, "import hidden\n" + source), ["WANTED"])


def test_it_ends_in_time(tmp_path):
    began = time.monotonic()
    with pytest.raises(TrialFailed, match=r"more than 0\.5 s"):
        trial(folder(tmp_path, "import time\ntime.sleep(60)"), limit_s=0.5)
    assert time.monotonic() - began < 10
