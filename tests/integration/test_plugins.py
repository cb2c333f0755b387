"""A package of a third party, installed: it measures, predicts, exports and is validated."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration
PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
SCRIPT = """
import json, sys, threading, time
from pathlib import Path

card = Path(sys.argv[1])
done = threading.Event()

def train():
    number = 0
    while not done.is_set():
        (card / "gpu_busy_percent").write_text(str(40 + number % 2))
        number += 1
        time.sleep(0.02)

worker = threading.Thread(target=train)
worker.start()
import jupyter_gpupredict as gp
import countdown

with gp.measure(
    quiet=True, source="rocm", path=str(card.parents[1]), rule="ewma", window_s=1.0, interval_s=0.2
) as run:
    until_s = time.monotonic() + 120.0
    while run.recommendation is None or run.recommendation.state != "converged":
        if time.monotonic() > until_s:
            break
        time.sleep(0.05)
    countdown.run(epochs=2)
done.set()
worker.join()
run.result.export(name="trained", output=sys.argv[2], workload="nomad", memory_mib=4096)
print(json.dumps(run.result.to_dict()))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of a fresh environment with the package, and ours as it is here."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder)
    made = folder / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(made), "install", "--quiet", "--no-deps",
         "--disable-pip-version-check", str(PLUGINS)],
        check=True,
    )  # fmt: skip
    (site,) = folder.glob("lib/python*/site-packages")
    ours = [path for path in sys.path if path.endswith("site-packages")]
    root = str(Path(__file__).resolve().parents[2])
    (site / "ours.pth").write_text("\n".join([root, *ours]) + "\n")
    return str(made)


def run(python, *words, **more):
    return subprocess.run([python, *words], capture_output=True, text=True, check=False, **more)


def test_it_measures_predicts_exports_and_is_validated(python, tmp_path):
    card = tmp_path / "drm" / "card0" / "device"
    card.mkdir(parents=True)
    for name, text in (
        ("gpu_busy_percent", "40"),
        ("mem_info_vram_total", str(16 << 30)),
        ("mem_info_vram_used", str(3 << 30)),
        ("unique_id", "0x1"),
    ):
        (card / name).write_text(f"{text}\n")
    folder = tmp_path / "trained"
    ran = run(python, "-c", SCRIPT, str(card), str(folder), timeout=240)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert (told["source"], told["state"], told["basis"]) == ("rocm", "converged", "time_share")
    assert 0.40 <= told["target_ratio"] <= 0.43
    assert "nomad job run deploy/nomad.yaml" in (folder / "README.md").read_text()
    command = ("-m", "jupyter_gpupredict.frontends.cli")
    checked = run(python, *command, "validate", str(folder), timeout=60)
    assert checked.returncode == 0, checked.stdout
    listed = run(python, *command, "targets", "--json", timeout=60)
    (pair,) = (
        one for one in json.loads(listed.stdout)
        if (one["workload"], one["sharing"]) == ("nomad", "slices")
    )  # fmt: skip
    assert pair["supported"]
    assert pair["default"]


def test_its_adapters_pass_the_shipped_checks(python, tmp_path):
    script = """
import countdown
from gpupredict_example.countdown import CountdownHint
from gpupredict_example.ewma import EwmaRule
from gpupredict_example.nomad import Nomad
from gpupredict_example.radeontop import RadeontopReader
from gpupredict_example.slices import Slices
from jupyter_gpupredict.testing import (
    check_hint, check_reader, check_rule, check_sharing, check_workload
)
check_rule(EwmaRule)
dump = "".join(f"{t}.5: bus 03, gpu {40 + t}.5%, vram 8.25% {900 + t}.5mb\\n" for t in range(9))
check_reader(RadeontopReader, f"Dumping to out.\\n{dump}".encode())
assert "slices" in check_workload(Nomad, name="nomad")  # both are installed
assert {"job", "nomad"} <= set(check_sharing(Slices, name="slices"))
assert check_hint(CountdownHint, lambda: countdown.run(epochs=3)).progressed[-1][1:3] == (3, 3)
"""
    ran = run(python, "-c", script, timeout=60)
    assert ran.returncode == 0, ran.stderr


def test_its_reader_is_found_by_the_content(python, tmp_path):
    path = tmp_path / "dump.txt"
    path.write_text("".join(f"{t}.5: bus 03, gpu 40.5%, vram 8.2% 9.5mb\n" for t in range(99)))
    command = ("-m", "jupyter_gpupredict.frontends.cli", "predict", str(path), "--json")
    ran = run(python, *command, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["source"] == "radeontop"
