import ast
import importlib
import importlib.metadata
import json
import sys

import pytest

from jupyter_gpupredict.core.errors import UnsupportedCell
from jupyter_gpupredict.export.deployment import Hosting
from jupyter_gpupredict.export.function.container import dockerfile
from jupyter_gpupredict.export.function.needs import add_hidden, for_gpu
from jupyter_gpupredict.export.function.requirements import (
    Modules,
    editable_folder,
    modules,
    requirements,
)


def needs(*modules, optional=(), installed=(), extra=()):
    return requirements({one: "In [1] line 1" for one in modules}, optional, installed, extra)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Makes distributions as pip writes them, found before those that are really there."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(name, version="1.0", files=(), link=None, **modules):
        for path in files:
            target = tmp_path / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))
        if link is not None:
            (info / "direct_url.json").write_text(json.dumps(link))
        importlib.invalidate_caches()

    return make


def test_versions_are_those_installed():
    version = importlib.metadata.version
    assert needs("numpy.linalg.norm", "yaml.safe_load", "json", "os.path").lines == (
        f"numpy=={version('numpy')}", f"PyYAML=={version('pyyaml')}",
    )  # fmt: skip


def test_the_python_stands_above(site):
    text = needs().text
    assert text.startswith(f"# Python {sys.version_info.major}.{sys.version_info.minor};")


def test_a_namespace_is_told_apart_by_its_files(site):
    site("space-one", "1.1", ["space/one/__init__.py"])
    site("space-two", "2.2", ["space/two.py", "space/deep/inner/__init__.py"])
    site("space-three", "3.3", ["space/three.cpython-311-x86_64-linux-gnu.so"])
    assert needs("space.one.name").lines == ("space-one==1.1",)
    assert needs("space.two.name").lines == ("space-two==2.2",)
    assert needs("space.deep.inner").lines == ("space-two==2.2",)
    assert needs("space.three").lines == ("space-three==3.3",)
    assert len(needs("space").lines) == 2  # as a whole: all with Python files in it


def test_an_egg_names_its_files_elsewhere(site, tmp_path):
    site("nest-new", "1.0", ["nest/new.py"])
    (tmp_path / "nest" / "old.py").touch()
    info = tmp_path / "nest_old-2.0.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Metadata-Version: 1.1\nName: nest-old\nVersion: 2.0\n")
    (info / "SOURCES.txt").write_text("nest/old.py\n")
    assert needs("nest.old").lines == ("nest-old==2.0",)
    assert needs("nest.new").lines == ("nest-new==1.0",)


def test_what_was_installed_meanwhile_is_found(site):
    with pytest.raises(UnsupportedCell, match="late"):
        needs("late")
    site("late", files=["late/__init__.py"])
    assert needs("late").lines == ("late==1.0",)


def test_a_local_version_is_pinned_without_it(site):
    site("frame", "2.4.0+cu121", ["frame/__init__.py"])
    site("own", "1.0+mine.3", ["own/__init__.py"])
    found = needs("frame", "own")
    assert found.lines == (
        "frame==2.4.0  # 2.4.0+cu121 here: pip install --extra-index-url "
        "https://download.pytorch.org/whl/cu121",
        "own==1.0  # 1.0+mine.3 here",
    )
    assert any("own: 1.0+mine.3 is a build of its own" in note for note in found.notes)


def test_addresses_come_without_passwords(site):
    commit = "a" * 40
    site(
        "vcs", files=["vcs/__init__.py"],
        link={"url": "https://user:canary@example.com/vcs.git",
              "vcs_info": {"vcs": "git", "commit_id": commit}},
    )  # fmt: skip
    site("archive", files=["archive/__init__.py"], link={"url": "https://example.com/a.whl"})
    found = needs("vcs", "archive")
    assert found.lines == (
        "archive @ https://example.com/a.whl", f"vcs @ git+https://example.com/vcs.git@{commit}",
    )  # fmt: skip
    assert "canary" not in str(found)


@pytest.mark.parametrize("link", [{"url": "file:///home/someone/a.whl"}])
def test_a_local_file_is_refused_without_its_path(site, link):
    site("local", files=["local/__init__.py"], link=link)
    with pytest.raises(UnsupportedCell, match="local file") as caught:
        needs("local")
    assert "someone" not in str(caught.value)


def test_an_editable_install_is_found_where_its_code_is(site, tmp_path):
    link = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    site("developed", files=["developed/__init__.py"], link=link)
    assert editable_folder("developed") == tmp_path
    assert editable_folder("numpy") is None
    assert editable_folder("nothing_like_this") is None


def test_a_module_of_nobody():
    with pytest.raises(UnsupportedCell, match=r"In \[1\] line 1: module nothing_like_this"):
        needs("nothing_like_this.at_all")
    found = needs("nothing_like_this", optional=("nothing_like_this",))
    assert found.lines == ()
    assert "left out" in found.notes[0]


def test_what_pip_was_given():
    version = importlib.metadata.version
    words = ["-q", "--upgrade", "numpy", "pandas[performance]>=1", "nothing-like-this>=2", "-r",
             "more.txt", "--index-url=https://user:canary@example.com/simple",
             "git+https://user:canary@example.com/x.git", "./wheels/canary.whl",
             "jupyter_gpupredict"]  # fmt: skip
    found = needs(installed=words)
    assert found.lines == (
        "git+https://example.com/x.git",
        "nothing-like-this>=2",
        f"numpy=={version('numpy')}",
        f"pandas[performance]=={version('pandas')}",
    )
    assert "canary" not in str(found)
    said = "\n".join(found.notes)
    for part in ("-r", "--index-url", "nothing-like-this", "local path", "password"):
        assert part in said


def test_adapters_add_theirs():
    assert needs("numpy", extra=("runpod==1.2",)).lines[-1] == "runpod==1.2"


@pytest.mark.parametrize(
    ("module", "text", "need"),
    [
        ("transformers", "Trainer(model=model)", "accelerate"),
        ("pandas", "pandas.read_parquet('x')", "pyarrow"),
        ("keras", "os.environ['KERAS_BACKEND'] = 'jax'\nimport keras", "jax"),
        ("keras", "import os\nimport keras", "tensorflow"),
        ("pandas", "pandas.read_csv('x')", ""),
        ("json", "read_parquet('x')", ""),
    ],
)
def test_what_a_module_needs_without_importing_it_is_required(module, text, need):
    found = Modules(names={module: "In [1] line 1"}, installed=False)
    add_hidden(found, text)
    assert set(found.names) == {module, *filter(None, [need])}


def test_a_function_with_a_gpu_gets_the_builds_that_use_it(site, tmp_path):
    site("jax", "0.9", ["jax/__init__.py"])
    site("jax-cuda12-plugin", "0.9")
    site("tensorflow-cpu", "2.20", ["tensorflow/__init__.py"])
    site("torch", "2.9.1+cpu", ["torch/__init__.py"])
    with (tmp_path / "jax-0.9.dist-info" / "METADATA").open("a") as file:
        file.write("".join(f"Provides-Extra: {one}\n" for one in ("cuda12", "cuda13", "tpu")))
    found = for_gpu(needs("jax", "tensorflow", "torch", "yaml.load"))
    yaml = f"PyYAML=={importlib.metadata.version('pyyaml')}"
    lines = (yaml, "jax[cuda12]==0.9", "tensorflow[and-cuda]==2.20", "torch==2.9.1")
    assert sorted(found.lines) == sorted(lines)
    said = "\n".join(found.notes)
    assert "jax[cuda12]==0.9, so that the function can use its GPU" in said
    assert "torch: a build for the CPU is installed here" in said


def test_a_distribution_that_the_backport_of_importlib_finds(site):
    """Loading it puts its finder in the place of Python's own."""
    pytest.importorskip("importlib_metadata")
    site("bare", "1.0", ["bare/__init__.py"])
    assert needs("bare").lines == ("bare==1.0",)


def test_the_oldest_python_that_all_take_stands_above(site, tmp_path):
    for name, wanted in (("one", ">=3.9"), ("two", ">=3.10,!=3.11.1,<4"), ("three", "")):
        site(name, files=[f"{name}/__init__.py"])
        with (tmp_path / f"{name}-1.0.dist-info" / "METADATA").open("a") as file:
            file.write(f"Requires-Python: {wanted}\n" if wanted else "")
    assert needs("one", "two", "three").text.splitlines()[1] == "# requires-python: >=3.10"
    assert "requires-python" not in needs("three").text


@pytest.mark.parametrize("base", ["", "mine:1"])
def test_an_image_has_git_where_pip_takes_from_a_repository(base):
    made = [
        dockerfile([], "3.11", Hosting(), as_root=False, base_image=base, git=g) for g in (0, 1)
    ]
    assert "git" not in made[0]
    assert "# pip takes a requirement from a repository.\n" in made[1]
    assert ("--no-install-recommends git " in made[1]) == (not base)


def test_a_module_of_a_folder_put_on_the_path_is_named_with_a_way_on(site, tmp_path):
    site("owned", "1.0", ["owned.py"])
    (tmp_path / "n").mkdir()
    (tmp_path / "n" / "beside.py").write_text("")
    source = "import helper.deep, owned, beside"
    tree = ast.parse(f"import sys\nsys.path.insert(0, '..')\n{source}")
    found = modules([(tree, "In [1] line 3")], tmp_path / "n", installed=False)
    (said,) = found.notes
    assert said.startswith("`sys.path.insert(0, '..')`: nothing of that folder is copied.")
    assert "Where it holds helper, put that beside the notebook and export again" in said
    assert not modules([(ast.parse(source), "")], tmp_path / "n").notes
