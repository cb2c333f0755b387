import re
import sys
import time

import pytest

from jupyter_gpupredict.core.errors import TrialFailed
from jupyter_gpupredict.export.function import trying
from jupyter_gpupredict.export.function.trying import trial, trial_in_venv


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
    at = r"more than 1 s: it was at train_fn\.py line 2, def wait.*--trial-limit"
    with pytest.raises(TrialFailed, match=at):
        trial(folder(tmp_path, "import time\ndef wait(): time.sleep(60)\n\nwait()"), limit_s=1)
    assert time.monotonic() - began < 30


@pytest.fixture
def installers(tmp_path, monkeypatch):
    """Stands in for uv and for the Python of a fresh environment; each says what it was asked."""
    place = tmp_path / "bin"
    place.mkdir()
    said = tmp_path / "said"

    def installer(name, *lines):
        path = place / name
        path.write_text("\n".join(["#!/bin/sh", f'echo "{name} $@" >> {said}', *lines, ""]))
        path.chmod(0o755)
        return path

    installer.said = lambda: said.read_text().splitlines()
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    monkeypatch.setenv("PIP_INDEX_URL", "kept")
    monkeypatch.setenv("SECRET_TOKEN", "not")
    return installer


VENV = f"""case "$1" in venv) mkdir -p "$4/bin"; ln -s {sys.executable} "$4/bin/python" ;; esac"""


def test_a_fresh_environment_is_installed_and_imports_the_folder(tmp_path, installers):
    installers("uv", VENV, f"env >> {tmp_path}/env")
    (tmp_path / "requirements.txt").write_text("")
    trial_in_venv(folder(tmp_path, "def train(params): return {}"))
    first, second = installers.said()
    assert first.startswith("uv venv --python")
    assert re.fullmatch(r"uv pip install --python \S+/bin/python -r \S+/requirements.txt", second)
    kept = (tmp_path / "env").read_text()
    assert "PIP_INDEX_URL=kept" in kept
    assert "SECRET_TOKEN" not in kept
    with pytest.raises(TrialFailed, match="does not import: ModuleNotFoundError"):
        trial_in_venv(folder(tmp_path, "import nothing_like_this"))


def test_what_cannot_be_installed_is_told(tmp_path, installers):
    installers(
        "uv",
        VENV,
        '[ "$1" = pip ] && { echo resolving; echo "error: no torch==9"; exit 1; } || true',
    )
    with pytest.raises(
        TrialFailed, match=r"installing requirements\.txt failed: error: no torch==9"
    ):
        trial_in_venv(folder(tmp_path, "def train(params): return {}"))


def test_a_long_installation_is_told_with_what_it_waited_for(tmp_path, installers):
    installers("uv", VENV, '[ "$1" = pip ] && { echo "Downloading torch"; exec sleep 60; } || true')
    said = r"installing requirements\.txt took more than 1 s; the last it said: Downloading torch"
    with pytest.raises(TrialFailed, match=said):
        trial_in_venv(folder(tmp_path, "def train(params): return {}"), limit_s=1)


def test_without_uv_it_is_venv_and_pip(tmp_path, installers, monkeypatch):
    python = installers("python", 'case "$2" in venv) mkdir -p "$3/bin"; cp "$0" "$3/bin/" ;; esac')
    monkeypatch.setattr(trying.sys, "executable", str(python))
    trial_in_venv(folder(tmp_path, "def train(params): return {}"))
    made, installed, imported = installers.said()
    assert made.startswith("python -m venv ")
    assert installed.startswith("python -m pip install --disable-pip-version-check -r ")
    assert imported.startswith("python -P -c ")
