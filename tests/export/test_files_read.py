"""Files that a function reads: copied, mounted, or given by its caller; and parameters by hand."""

import json
import subprocess
import sys

import pytest

from jupyter_gpupredict.core.errors import InvalidOption
from tests.export.test_folder import clean, execute, export
from tests.export.test_slicing import module

READS = "rows = open('data/rows.bin', 'rb').read()"
CELL = "import os\nhome = open('./notes.txt').read()\n[list(rows), home]"


@pytest.fixture
def beside(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.bin").write_bytes(bytes([0, 255, 13, 10, 200]))
    (tmp_path / "notes.txt").write_text("a note")
    return tmp_path


def test_a_copied_file_has_the_same_bytes_and_is_read(beside):
    outcome = export(beside / "f", READS, CELL, copy=("data/rows.bin", "./notes.txt"))
    copied = beside / "f" / "data" / "rows.bin"
    assert copied.read_bytes() == bytes([0, 255, 13, 10, 200])
    assert outcome.texts["data/rows.bin"] == "(copied)"
    (beside / "notes.txt").unlink()
    ended = execute(beside / "f")
    assert json.loads(ended.stdout) == {"result": [[0, 255, 13, 10, 200], "a note"]}, ended.stderr
    dockerfile = (beside / "f" / "Dockerfile").read_text()
    assert "COPY data ./data" in dockerfile
    assert "notes.txt" in dockerfile
    said = (beside / "f" / "README.md").read_text()
    assert "which is copied into the folder" in said


def test_each_file_is_listed_with_its_choices(beside):
    outcome = export(beside / "f", READS, CELL.replace("./notes.txt", "lost.txt"))
    said = "\n".join(outcome.warnings)
    assert (
        "In [1] line 1 reads data/rows.bin (0 KiB): copy it with --copy data/rows.bin, mount it, "
        "or give another: --param rows_bin=PATH" in said
    )
    assert "reads lost.txt, which does not lie beside the notebook: mount it, or give" in said


@pytest.mark.parametrize(
    "path", ["../other.txt", "/etc/passwd", "nothing.txt", "data", "train_fn.py"]
)
def test_only_a_file_beside_the_notebook_is_copied(beside, path):
    (beside.parent / "other.txt").write_text("")
    (beside / "train_fn.py").write_text("")
    with pytest.raises(InvalidOption, match="--copy"):
        export(beside / "f", READS, CELL, copy=(path,))


def test_a_copy_has_a_bound(beside):
    with (beside / "large.bin").open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(InvalidOption, match="more than 16 MiB in all"):
        export(beside / "f", READS, CELL, copy=("large.bin",))


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        (
            "from google.colab import drive\ndrive.mount('/content/drive')",
            "mount the Drive's files",
        ),
        ("from huggingface_hub import login\nlogin()", "the environment gives HF_TOKEN"),
        ("import wandb\nwandb.login()", "the environment gives WANDB_API_KEY"),
    ],
)
def test_what_asks_the_notebooks_user_is_left_out_with_its_replacement(line, instead):
    text, found = module(line, "1 + 1")
    assert any(f"was left out: {instead}" in note for note in found.notes)
    assert "login" not in text
    assert "drive" not in text


def test_a_login_of_the_notebooks_own_stays():
    text, _ = module("seen = []\ndef login():\n    seen.append(1)", "login()", "seen")
    assert "    login()" in text


LOOP = "total = 0\ndef train_step(n):\n    return n"
TRAINS = (
    "for epoch in range(2):\n    total += train_step(10)\nfit = dict(lr=0.5)\n[total, fit['lr']]"
)


@pytest.mark.parametrize(
    ("words", "status", "answer"),
    [
        ([], 0, [20, 0.5]),
        (["--param", "epochs=3"], 0, [30, 0.5]),
        (["--param=epochs=3", "--param", "lr=0.25"], 0, [30, 0.25]),
        (["--param", "epochs=3", '{"epochs": 1, "lr": 2}'], 0, [30, 2]),
        (["--param", "epoch=3"], 2, "unknown parameters: epoch (known: epochs, lr)"),
        (["--param", "epochs"], 2, "usage: handler.py"),
    ],
)
def test_parameters_by_hand(tmp_path, words, status, answer):
    export(tmp_path / "f", LOOP, TRAINS, tried=False)
    ended = subprocess.run(
        [sys.executable, "handler.py", *words],
        cwd=tmp_path / "f",
        env=clean(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == status, ended.stderr
    if status:
        assert answer in ended.stderr
    else:
        assert json.loads(ended.stdout) == {"result": answer}


def test_the_readme_lists_parameters_with_types(tmp_path):
    export(tmp_path / "f", LOOP, TRAINS, tried=False)
    said = (tmp_path / "f" / "README.md").read_text()
    assert "`epochs` (int, `2`)" in said
    assert "`lr` (float, `0.5`)" in said
