"""The golden files: one folder for each pair, and some of a run with three ranks.

Write them anew with python -m tests.export.golden

They hold the worked example: 36.4 % of the SMs, 81.6 % of the time, 5873.2 MiB.
"""

import re
from pathlib import Path

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.export.pod import python_version
from tests.export.runs import PAIRS, breadth, export, manifests, ranked, run

FOLDER = Path(__file__).parents[1] / "data" / "manifests" / "golden"
BY_TIME = ("hami", "volcano")
RUNTIME_S = {"knative": 280.0, "kserve": 280.0, "cloudrun": 1700.0}
"""Runs that fit into the platform's limit; others take two hours."""


def example(workload, sharing, **options):
    """Return the run of the worked example, with the share that this backend applies."""
    options = {"duration_s": RUNTIME_S.get(workload, 7100.0)} | options
    if sharing in BY_TIME:
        return run(target=0.816, **options)
    return breadth(target=0.364, **options)


RANKED = [("job", "mps"), ("job", "volcano"), ("rayjob", "device-plugin"), ("rayjob", "mps")]
CASES = {
    **{"-".join(pair): (pair, 1) for pair in PAIRS},
    **{"-".join((*pair, "ranks")): (pair, 3) for pair in RANKED},
}
"""Name of a folder -> (pair, ranks)."""


def neutral(text):
    """Return a text without what changes with the interpreter and the version."""
    text = text.replace(f"python:{python_version()}", "python:3.11")
    return re.sub(
        rf"(tool-version\W+)(value\W+)?{re.escape(__version__)}", r"\g<1>\g<2>0.1.0", text
    )


def texts(case):
    """Return path -> text of a case."""
    (workload, sharing), count = CASES[case]
    found = example(workload, sharing)
    outcome = export(
        found if count == 1 else ranked(found, count), workload=workload, sharing=sharing,
        dry_run=True, image="registry.example.com/train-resnet:0.1.0",
    )  # fmt: skip
    return {path: neutral(text) for path, text in manifests(outcome).items()}


def files():
    """Return every golden file."""
    return sorted(path for path in FOLDER.rglob("*") if path.is_file())


def main():
    for old in files():
        old.unlink()
    for case in CASES:
        for path, text in texts(case).items():
            target = FOLDER / case / Path(path).name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    print(f"{len(files())} files for {len(CASES)} cases")


if __name__ == "__main__":
    main()
