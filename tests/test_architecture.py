"""The floors are import-linter's; what it cannot say is here."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import jupyter_gpupredict
from jupyter_gpupredict import registry
from jupyter_gpupredict.core.series import SourceOptions

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "jupyter_gpupredict"
TOP_LEVEL = {
    ".ci", ".gitignore", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile",
    "README.md", "benchmarks", "docs", "examples", "jupyter-config", "jupyter_gpupredict",
    "labextension", "pyproject.toml", "tests",
}  # fmt: skip
DOORS = {
    "pynvml": ["sources/driver/nvml.py"],
    "ctypes": ["sources/driver/cuda.py", "frontends/measure.py"],
    "psutil": [
        "mps/directory.py",
        "run/tail.py",
        "sources/driver/processes.py",
        "sources/telemetry/cpu.py",
    ],
    "numpy": ["core/", "predict/", "run/", "sources/", "backtest/", "export/equivalence_child.py"],
    "torch": ["export/equivalence_child.py"],
    "yaml": ["export/documents.py"],
    "tomllib": ["export/documents.py"],
    "bokeh": ["frontends/charts/figures.py", "backtest/plots.py"],
    "anywidget": ["frontends/widget.py"],
    "ipywidgets": ["frontends/widget.py"],
    "pandas": ["frontends/report.py"],
    "PIL": ["frontends/charts/card.py"],
    "xml": ["frontends/charts/card.py"],
    "IPython": [
        "__init__.py",
        "frontends/magic.py",
        "frontends/widget.py",
        "frontends/cellrun.py",
        "frontends/cellrun.py",
        "frontends/completing.py",
        "frontends/isolated.py",
        "frontends/cellrun.py",
        "frontends/cellrun.py",
        "export/function/statements.py",
    ],
    "traitlets": ["frontends/magic.py", "frontends/widget.py"],
    "jupyter_core": ["run/", "frontends/doctor.py"],
    "jsonschema": ["export/shapes.py", "frontends/server/base.py"],
    "jupyter_server": ["frontends/server/"],
    "jupyter_events": ["frontends/server/"],
    "tornado": ["frontends/server/"],
    "threading": [
        "core/files.py",
        "core/threads.py",
        "run/threads.py",
        "run/session.py",
        "run/windows.py",
        "sources/driver/nvml.py",
        "run/progress.py",
        "frontends/cellrun.py",
        "frontends/measure.py",
        "mps/child.py",
        "mps/inside.py",
        "sources/cluster.py",
        "sources/node.py",
        "sources/ipp.py",
        "mps/reading.py",
    ],
    "gzip": ["sources/reading.py", "testing/"],
    "lzma": ["sources/reading.py"],
    "zlib": ["sources/reading.py"],
    "mmap": ["sources/recording.py"],
    "_thread": ["mps/inside.py"],
    "queue": ["core/threads.py", "mps/child.py", "mps/reading.py"],
    "pickle": ["mps/child.py", "mps/inside.py"],
    "traceback": ["mps/inside.py"],
    "codecs": ["mps/reading.py", "sources/profiles.py"],
    "sqlite3": ["sources/readers/nsys_sqlite.py"],
    "fcntl": ["mps/reading.py"],
    "termios": ["mps/reading.py"],
    "signal": [
        "frontends/measure.py",
        "backtest/spread.py",
        "mps/daemon.py",
        "mps/child.py",
        "mps/inside.py",
        "mps/reading.py",
        "export/equivalence.py",
        "export/equivalence_child.py",
    ],
    "atexit": ["mps/process.py"],
    "concurrent": ["backtest/spread.py", "core/threads.py", "frontends/terminal.py"],
    "multiprocessing": ["backtest/spread.py"],
    "distributed": ["backtest/spread.py", "sources/dask.py"],
    "gc": ["sources/dask.py"],
    "ipyparallel": ["sources/ipp.py"],
    "fsspec": ["backtest/files.py"],
    "pyarrow": ["backtest/files.py"],
    "asyncio": [
        "export/equivalence_child.py",
        "frontends/cellrun.py",
        "frontends/measure.py",
        "frontends/cellrun.py",
        "frontends/server/",
    ],
    "importlib": [
        "sources/reading.py",
        "__init__.py",
        "registry.py",
        "sources/tracers.py",
        "frontends/doctor.py",
        "frontends/views.py",
        "frontends/server/",
        "run/progress.py",
        "export/shapes.py",
        "export/function/needs.py",
        "export/function/requirements.py",
        "export/function/stars.py",
    ],
    "pkgutil": ["mps/inside.py"],
    "subprocess": [
        "export/equivalence.py",
        "export/function/trying.py",
        "mps/control.py",
        "mps/daemon.py",
        "mps/child.py",
        "mps/reading.py",
    ],
    "select": ["mps/daemon.py", "mps/inside.py"],
    "ipykernel": ["sources/ipp.py"],
    "http": ["sources/driver/prometheus.py"],
    "prometheus_client": ["frontends/server/replies.py"],
    "urllib": ["sources/driver/prometheus.py", "export/function/requirements.py"],
    "selectors": ["mps/control.py", "mps/reading.py"],
    "socket": ["mps/surroundings.py"],
    "runpy": ["frontends/cli.py"],
    "uuid": ["sources/driver/cuda.py"],
}
"""Library -> where it may enter. `socket` is for the host's name alone, and
for one connection to an MPS daemon. `run/progress.py` imports
nothing by name: it has to be told when the cell imports a framework. `pickle` reads what our own
child has written, and nothing else. `export/equivalence_child.py` meets numpy and torch where the
user's code has imported them."""
FREE = {
    "__future__", "argparse", "array", "ast", "base64", "binascii", "bisect", "builtins", "codecs",
    "collections",
    "contextlib", "contextvars", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib",
    "enum", "errno", "functools", "glob", "hashlib", "heapq", "html", "inspect", "io", "itertools",
    "json", "math", "operator", "os", "pathlib", "platform", "random", "re", "secrets", "shlex",
    "keyword", "shutil",
    "stat", "statistics", "struct", "symtable", "sys", "tempfile", "textwrap", "time", "tokenize",
    "types", "typing", "warnings", "weakref", "jupyter_gpupredict",
}  # fmt: skip


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_every_library_enters_by_its_door():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        for library in imported(path):
            doors = DOORS.get(library, [])
            if library not in FREE and not any(place.startswith(door) for door in doors):
                wrong.append(f"{place} imports {library}")
    assert wrong == []


def test_stored_and_given_files_are_read_in_one_place():
    """What reads otherwise reads our own package, the kernel's files, or writes."""
    others = {
        "backtest/files.py", "sources/driver/", "sources/tracers.py", "mps/", "run/adapters.py",
        "export/function/container.py", "export/shapes.py",
        "export/function/requirements.py", "export/function/trying.py",
        "export/function/writing.py", "export/equivalence",
        "frontends/charts/",
        "frontends/cli.py", "frontends/server/handlers.py", "frontends/widget.py",
        "run/sidecars.py", "run/store.py", "testing/",
    }  # fmt: skip
    opens = r"(?<![\w.])(?<!def )open\(|\bos\.open\(|\)\.open\("
    reads = re.compile(rf"\.read_text\(|\.read_bytes\(|{opens}")
    found = set()
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).as_posix()
        known = any(place.startswith(one) for one in others)
        if not known and reads.search(path.read_text()):
            found.add(place)
    assert found == {"core/files.py"}


def test_importing_the_package_is_light():
    heavy = [
        "numpy",
        "bokeh",
        "pynvml",
        "IPython",
        "ipywidgets",
        "anywidget",
        "tornado",
        "psutil",
        "yaml",
    ]
    code = f"import sys, jupyter_gpupredict; print([m for m in {heavy} if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_public_names_are_sorted_and_real():
    assert jupyter_gpupredict.__all__ == sorted(jupyter_gpupredict.__all__)
    for name in jupyter_gpupredict.__all__:
        assert getattr(jupyter_gpupredict, name) is not None


def test_every_adapter_file_is_registered_and_made_without_effect(clock):
    folders = {
        "sources/telemetry": registry.SOURCES,
        "run/hints": registry.HINTS,
        "predict/rules": registry.PREDICTORS,
        "sources/readers": registry.READERS,
        "export/platforms": registry.WORKLOADS | registry.SHARING,
        "export/sharing": registry.SHARING,
    }
    for folder, table in folders.items():
        files = {p.stem for p in (PACKAGE / folder).glob("*.py")} - {"__init__"}
        modules = {entry.partition(":")[0].replace(".", "/") for entry in table.values()}
        assert {one.rpartition("/")[2] for one in modules if one.startswith(f"{folder}/")} == files
        assert all((PACKAGE / f"{one}.py").is_file() for one in modules)
    classes = {
        r"\w+Source": ("sources/telemetry", registry.SOURCES),
        r"\w+Watch": ("sources/driver", registry.WATCHES),
    }
    for pattern, (folder, table) in classes.items():
        text = "".join(path.read_text() for path in (PACKAGE / folder).glob("*.py"))
        found = re.findall(rf"^class ({pattern})\b", text, re.MULTILINE)
        assert {entry.partition(":")[2] for entry in table.values()} == set(found)
    for name in registry.SOURCES:
        registry.load("sources", name)(SourceOptions(environ={}), clock).close()
    for name in registry.WATCHES:
        registry.load("watches", name)().close()


def test_the_top_level_holds_what_it_should():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    assert {path.split("/")[0] for path in tracked} <= TOP_LEVEL
