"""Notebooks, exported, and their functions really executed: the same result as the cell's."""

import getpass
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_gpupredict.core.errors import ExportError, OutputExists, SecretFound, TrialFailed
from jupyter_gpupredict.export import export_run
from jupyter_gpupredict.export.deployment import Cell, CodeRequest
from jupyter_gpupredict.frontends.cli import main
from jupyter_gpupredict.run import code_hash
from tests.export.runs import ranked
from tests.frontends import runs

NOTEBOOKS = Path(__file__).resolve().parents[1] / "data" / "notebooks"
RUNNER = Path(__file__).with_name("notebook_run.py")
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
SECRETS = {
    "CANARY_SERVICE": "canary-service.example",
    "CANARY_KEY": "canary-key-5d1f",
    "CANARY_MODE": "canary-mode",
}
CANARIES = [*SECRETS.values(), "canary-hunter2", "canary-value-of-env"]


def clean(**more):
    """An environment in which nothing of ours can be found."""
    return {"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1", **more}


def execute(folder, body="{}", **environment):
    return subprocess.run(
        [sys.executable, "handler.py", body],
        cwd=folder,
        env=clean(**environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every notebook, run and exported once: name -> (folder, what the runner said)."""
    home = tmp_path_factory.mktemp("home")
    found = {}
    for name in NAMES:
        beside = tmp_path_factory.mktemp(name) / "canary-place"
        shutil.copytree(NOTEBOOKS, beside)
        folder = beside.parent / "trained"
        environment = {
            **os.environ,
            **SECRETS,
            "JUPYTER_DATA_DIR": str(home / "data"),
            "IPYTHONDIR": str(home / "ipython"),
        }
        ended = subprocess.run(
            [sys.executable, str(RUNNER), f"{name}.ipynb", str(folder), "{}"],
            cwd=beside,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ended.returncode == 0, f"{name}: {ended.stderr}"
        found[name] = (folder, json.loads(ended.stdout.splitlines()[-1]), beside)
    return home / "data", found


@pytest.mark.parametrize("name", NAMES)
def test_the_function_gives_what_the_cell_gave(exported, name):
    folder, said, beside = exported[1][name]
    (folder / "points.csv").write_bytes((beside / "points.csv").read_bytes())
    ended = execute(folder, **SECRETS)
    (folder / "points.csv").unlink()
    assert ended.returncode == 0, ended.stderr
    value = said["value"]
    wanted = value if isinstance(value, dict) else {"result": value}
    assert json.loads(ended.stdout) == wanted
    assert ended.stdout.count("\n") == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_command_line_finds_the_cell_and_writes_the_same(
    exported, name, tmp_path, monkeypatch, capsys
):
    data, found = exported
    folder, said, beside = found[name]
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(data))
    words = ["export", said["session"], "--notebook", str(beside / f"{name}.ipynb")]
    words += ["--workload", "local", "--name", "trained", "-o", str(tmp_path / "f"), "--force"]
    words += ["--memory-mib", "512"]
    assert main(words) == 0, capsys.readouterr().err
    for path in ("train_fn.py", "requirements.txt", ".env.example", "README.md"):
        assert (tmp_path / "f" / path).read_text() == (folder / path).read_text()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_leaks(exported, name):
    folder, _, beside = exported[1][name]
    private = [*CANARIES, str(beside), str(folder), str(Path.home()), "canary-place"]
    private += [socket.gethostname(), f"/{getpass.getuser()}/"]
    for path in folder.rglob("*"):
        # outputs/ holds what the function answered when it ran here, nothing that was exported
        if path.is_file() and "outputs" not in path.relative_to(folder).parts:
            text = path.read_text(encoding="utf-8")
            for one in private:
                assert one not in text, f"{path.name} holds {one}"


def test_names_of_variables_are_kept_and_values_are_not(exported):
    folder, said, _ = exported[1]["secrets"]
    lines = (folder / ".env.example").read_text().splitlines()[1:]
    assert lines == ["CANARY_KEY=", "CANARY_MODE=", "CANARY_SERVICE="]
    folder, said, _ = exported[1]["magics"]
    lines = (folder / ".env.example").read_text().splitlines()[1:]
    assert lines == ["ANOTHER_SETTING=", "PLAIN_SETTING="]
    assert any("In [3] line 1: !echo" in note for note in said["notes"])
    assert any("%autoreload was left out" in note for note in said["notes"])


def test_what_is_beside_the_notebook_comes_along(exported):
    folder, _, _ = exported[1]["beside"]
    copied = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    assert {"shared_tools.py", "modelling/__init__.py", "modelling/parts.py"} <= copied
    recipe = (folder / "Dockerfile").read_text()
    assert "COPY handler.py shared_tools.py train_fn.py gpupredict.json ./" in recipe
    assert "COPY modelling ./modelling" in recipe
    needed = (folder / "requirements.txt").read_text()
    assert re.fullmatch(r"# Python 3\.\d+;.*\n(# requires-python: .*\n)?numpy==\S+\n", needed)


def test_parameters_replace_literals(exported):
    folder, _, _ = exported[1]["entry"]
    whole = json.loads(execute(folder, '{"epochs": 6, "rate": 0.5}').stdout)
    assert whole == exported[1]["entry"][1]["value"]
    assert json.loads(execute(folder, '{"epochs": 0}').stdout)["accuracy"] < whole["accuracy"]
    folder, _, _ = exported[1]["helpers"]
    slow = json.loads(execute(folder, '{"RATE": 0.0}').stdout)  # read by a function of another cell
    assert slow["first"] == slow["last"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ('{"epoch": 1}', 2, "unknown parameters: epoch"),
        ("[1]", 2, "object"),
        ("{", 2, "no JSON"),
        ('{"epochs": "many"}', 1, "TypeError"),
    ],
)
def test_wrong_parameters_have_a_status_and_a_line(exported, body, status, said):
    folder, _, _ = exported[1]["entry"]
    ended = execute(folder, body)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert said in ended.stderr


def test_parameters_on_standard_input(exported):
    folder, said, _ = exported[1]["entry"]
    for given in ("", '{"epochs": 6}'):
        ended = subprocess.run(
            [sys.executable, "handler.py"], cwd=folder, env=clean(), input=given,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert json.loads(ended.stdout) == said["value"]


def test_a_second_call_in_the_same_process_gives_the_same(exported):
    code = "import train_fn, json; a = train_fn.train({}); b = train_fn.train({}); print(a == b)"
    for name in NAMES:
        folder = exported[1][name][0]
        ended = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, env=clean(**SECRETS),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if name == "data_file":
            assert "FileNotFoundError" in ended.stderr
        else:
            assert ended.stdout.splitlines()[-1] == "True", ended.stderr


# ---- the folder itself -----------------------------------------------------------------------


def measured(code):
    return runs.run(code_hash=code_hash(code))


def export(folder, *sources, run=None, **options):
    *earlier, last = sources
    cells = [Cell(f"In [{n}]", source) for n, source in enumerate((*earlier, last), start=1)]
    keys = ("params", "setup", "adapters", "base_image", "allow_secrets", "save", "tried", "copy")
    given = {key: options.pop(key) for key in keys if key in options}
    code = CodeRequest(tuple(cells), folder.parent, **given)
    chosen = {"workload": "local", "sharing": "mps", "name": "x", "force": True} | options
    return export_run(run or measured(last), output=folder, code=code, **chosen)


def test_the_answer_holds_nothing_that_an_import_prints(tmp_path):
    """As TensorFlow does, and libraries in C."""
    (tmp_path / "loud.py").write_text('import os\nprint("hello")\nos.system("echo from a child")')
    export(tmp_path / "f", "import loud\n{'a': loud.__name__}")
    ended = execute(tmp_path / "f")
    assert json.loads(ended.stdout) == {"a": "loud"}
    assert set(ended.stderr.split()) == {"hello", "from", "a", "child"}


def test_a_backend_of_keras_that_the_notebook_does_not_name_goes_with_it(tmp_path, monkeypatch):
    (tmp_path / "keras.py").write_text("import os\nname = os.environ.get('KERAS_BACKEND')")
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    for chosen, expected in (("jax", "jax"), ("tensorflow", None)):
        monkeypatch.setenv("KERAS_BACKEND", chosen)
        export(tmp_path / "f", "import keras\n{'a': keras.name}", overwrite=True)
        assert json.loads(execute(tmp_path / "f").stdout) == {"a": expected}
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    export(tmp_path / "g", "import os", "os.environ['KERAS_BACKEND'] = 'torch'", "import keras\n1")
    assert "jax" not in (tmp_path / "g/train_fn.py").read_text()


def test_what_holds_for_one_machine_and_is_in_no_file_is_said(tmp_path):
    export(tmp_path / "f", "%env TMPDIR=/scratch\n%env OTHER=1", "1 + 1", tried=False)
    told = (tmp_path / "f" / "README.md").read_text()
    assert told.count("the value of TMPDIR holds for one machine, and was left out") == 1
    assert (tmp_path / "f" / ".env.example").read_text().splitlines()[1:] == ["OTHER="]


def test_one_rank_of_several_runs_alone_as_the_readme_says(tmp_path):
    cell = "import os\nrank, key = int(os.environ['RANK']), os.environ['KEY']\n{'rank': rank}"
    several = ranked(measured(cell), 3)
    export(tmp_path / "f", cell, run=several, workload="job", sharing="device-plugin")
    text = (tmp_path / "f" / "README.md").read_text()
    (line,) = (one for one in text.splitlines() if one.startswith("pip install"))
    words = shlex.split(line.partition(" && ")[2])
    told = dict(word.split("=") for word in words if "=" in word)
    ended = execute(tmp_path / "f", words[-1], **told, KEY="k")
    assert json.loads(ended.stdout) == {"rank": 0}, ended.stderr
    assert (tmp_path / "f" / ".env.example").read_text().splitlines()[1:] == ["KEY="]
    assert "-e RANK=0" in text


def test_secrets_of_openfaas_are_files_that_reach_the_environment(tmp_path):
    cell = "import os\nkey, mode = os.environ['KEY'], os.environ.get('MODE')\n{'a': [key, mode]}"
    options = {"workload": "openfaas", "sharing": "device-plugin", "namespace": "fns"}
    outcome = export(tmp_path / "f", cell, **options)
    for path in ("deploy/openfaas.yaml", "deploy/stack.yaml"):
        assert "secrets:" in outcome.texts[path]
        assert "x-secrets" in outcome.texts[path]
    command = "kubectl create secret generic x-secrets --namespace fns --from-env-file=.env"
    assert command in outcome.texts["README.md"]
    adapter = tmp_path / "f/function/handler.py"
    text = adapter.read_text()
    assert "/var/openfaas/secrets" in text
    adapter.write_text(text.replace("/var/openfaas/secrets", str(tmp_path / "mounted")))
    (tmp_path / "mounted/..data").mkdir(parents=True)
    (tmp_path / "mounted/KEY").write_text("given\n")
    (tmp_path / "mounted/MODE").write_text("file")
    code = (
        "import runpy, types; m = runpy.run_path('function/handler.py')\n"
        "print(m['handle'](types.SimpleNamespace(body='{}'), None)['body'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "f", env=clean(MODE="own"),
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(ended.stdout) == {"a": ["given", "own"]}


@pytest.mark.parametrize(
    ("workload", "sharing", "command"),
    [
        ("job", "dra", "kubectl create secret generic x-secrets --from-env-file=.env"),
        (
            "fission", "device-plugin",
            "kubectl create secret generic x-secrets --namespace default --from-env-file=.env",
        ),
        ("ecs", "ecs-mps", "aws ssm put-parameter --type SecureString --name /x/VARIABLE"),
    ],
)  # fmt: skip
def test_the_readme_shows_how_to_make_the_secret(tmp_path, workload, sharing, command):
    options = {"workload": workload, "sharing": sharing, "dry_run": True, "memory_mib": 512}
    texts = export(tmp_path / "f", "import os\nlen(os.environ['KEY'])", **options).texts
    assert command in texts["README.md"]
    manifest = "".join(text for path, text in texts.items() if path.startswith("deploy/"))
    assert "KEY" in manifest
    plain = export(tmp_path / "g", "1 + 1", **options).texts["README.md"]
    assert command not in plain
    assert ("--service-account ARN" in texts["README.md"]) == (workload == "ecs")


def test_an_image_for_ray_holds_it_and_what_it_is_asked_with(tmp_path):
    export(tmp_path / "f", "x = 1", workload="rayjob", sharing="device-plugin")
    assert "ray[default]==2.60.0" in (tmp_path / "f" / "requirements.txt").read_text().splitlines()
    assert "wget" in (tmp_path / "f" / "Dockerfile").read_text()
    assert not (tmp_path / "f" / "adapters").exists()  # one rank is the handler's own
    export(tmp_path / "j", "x = 1", workload="job", sharing="device-plugin")
    assert "ray" not in (tmp_path / "j" / "requirements.txt").read_text()
    assert "wget" not in (tmp_path / "j" / "Dockerfile").read_text()


def test_a_run_whose_cells_are_unknown_has_no_code_and_says_so(tmp_path):
    outcome = export_run(
        runs.run(), workload="local", sharing="mps", name="x", output=tmp_path / "f"
    )
    written = {path.relative_to(tmp_path / "f").as_posix() for path in outcome.paths}
    assert written == {"gpupredict.json", "README.md", "deploy/mps.env", "deploy/run.sh"}
    assert any("no code was written" in warning for warning in outcome.warnings)


def test_a_changed_cell_is_not_taken_for_the_measured_one(tmp_path):
    with pytest.raises(ExportError, match="no cell has the code"):
        export(tmp_path / "f", "x = 1", run=measured("x = 2"))


def test_cells_after_the_measured_one_do_not_count(tmp_path):
    cells = (Cell("In [1]", "x = 1\nx"), Cell("In [2]", "import nothing_like_this"))
    code = CodeRequest(cells, tmp_path)
    outcome = export_run(
        measured("x = 1\nx"), workload="local", sharing="mps", name="x", output=tmp_path / "f",
        code=code,
    )  # fmt: skip
    assert "nothing_like_this" not in outcome.texts["train_fn.py"]


def test_only_the_adapters_that_are_needed(tmp_path):
    outcome = export(tmp_path / "f", "1 + 1", adapters=("serve", "runpod"))
    folders = {path for path in outcome.texts if "/" in path}
    assert folders == {
        "adapters/serve.py", "adapters/rp_handler.py", "deploy/mps.env", "deploy/run.sh",
    }  # fmt: skip
    assert "runpod==" in outcome.texts["requirements.txt"]
    with pytest.raises(config_error(), match="did you mean 'serve'"):
        export(tmp_path / "g", "1 + 1", adapters=("server",))


def config_error():
    from jupyter_gpupredict.core.errors import UnknownName

    return UnknownName


def test_a_dry_run_checks_and_writes_nothing(tmp_path):
    outcome = export(tmp_path / "f", "1 + 1", dry_run=True)
    assert (outcome.paths, list(tmp_path.iterdir())) == ((), [])
    assert "return 1 + 1" in outcome.texts["train_fn.py"]
    with pytest.raises(TrialFailed):
        export(tmp_path / "f", "def f(n=1 // 0):\n    return n\nf()", dry_run=True)


@pytest.mark.parametrize("there", [False, True])
def test_what_does_not_import_is_not_written(tmp_path, there):
    folder = tmp_path / "f"
    if there:
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")
    with pytest.raises(TrialFailed, match=r"ZeroDivisionError.*train_fn\.py line \d+"):
        export(folder, "class A:\n    x = 1 / 0\n    def f(self):\n        pass\nA().f()\n3")
    assert folder.exists() is there
    left = [path.name for path in tmp_path.iterdir()]
    assert left == (["f"] if there else [])


def test_files_are_replaced_on_request_alone_and_others_stay(tmp_path):
    folder = tmp_path / "f"
    export(folder, "x = 1\nx")
    (folder / "mine.txt").write_text("mine")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(OutputExists, match=r"train_fn\.py"):
        export(folder, "x = 2\nx")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    export(folder, "x = 2\nx", overwrite=True)
    assert "'x': 2" in (folder / "train_fn.py").read_text()
    assert (folder / "mine.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_failure_half_way_puts_everything_back(tmp_path):
    folder = tmp_path / "f"
    export(folder, "x = 1\nx")
    shutil.rmtree(folder / "deploy")
    (folder / "deploy").write_text("a file where a folder has to be")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ExportError, match="cannot write"):
        export(folder, "x = 2\nx", overwrite=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_credential_is_refused_by_its_line_and_never_repeated(tmp_path):
    token = "gh" + "p_" + "a1" * 18
    with pytest.raises(SecretFound, match=r"In \[1\] line 2") as caught:
        export(tmp_path / "f", f"x = 1\ny = '{token}'\nz = len(y)\nz")
    assert token not in str(caught.value)
    assert not (tmp_path / "f").exists()
    outcome = export(tmp_path / "f", f"y = '{token}'\nlen(y)", allow_secrets=True)
    assert any("kept on request" in warning for warning in outcome.warnings)
    assert token not in "".join(v for k, v in outcome.texts.items() if k != "train_fn.py")


def test_a_path_into_the_home_is_refused_and_can_be_a_parameter(tmp_path):
    source = f"path = {str(Path.home() / 'data.csv')!r}\nlen(path)"
    with pytest.raises(ExportError, match=r"path of this machine's user.*--param"):
        export(tmp_path / "f", source)
    outcome = export(tmp_path / "f", source, params=("path",))
    ended = execute(tmp_path / "f", '{"path": "abc"}')
    assert json.loads(ended.stdout) == {"result": 3}
    assert str(Path.home()) not in "".join(outcome.texts.values())
    assert execute(tmp_path / "f").returncode == 2
