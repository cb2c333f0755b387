"""The Dockerfile's steps, followed without Docker: in a root of its own, as other users.

Linux's mount namespaces make the root: system and Python read-only, and what the Dockerfile makes.
"""

import importlib.util
import json
import shlex
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

from tests.export.test_folder import export

CELL = """
import os
import pathlib
import getpass
import time
{imports}
steps = 1
out = pathlib.Path(os.environ["GPUPREDICT_OUTPUTS"])
cache = pathlib.Path.home() / ".cache" / "mine"
cache.mkdir(parents=True, exist_ok=True)
for name in ("HF_HOME", "TORCH_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "KERAS_HOME"):
    pathlib.Path(os.environ[name]).mkdir(parents=True, exist_ok=True)
for step in range(steps):
    {save}
    (out / "steps").write_text(str(step + 1))
    time.sleep(0.05)
{{"uid": os.getuid(), "user": getpass.getuser(), "saved": sorted(os.listdir(out))}}
"""
SAVES = {
    "numpy": ("import numpy as np", "np.save(out / 'w.npy', np.ones(3))", "w.npy"),
    "torch": (
        "import torch",
        "torch.save(torch.nn.Linear(2, 1).state_dict(), out / 'model.pt')",
        "model.pt",
    ),
    "keras": (
        "import keras",
        "keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(out / 'm.keras')",
        "m.keras",
    ),
}
"""Framework -> imports, what writes a checkpoint, and its file."""
FRAMEWORKS = [
    "numpy",
    pytest.param("torch", marks=pytest.mark.long),  # seconds of import, and more when loaded
    pytest.param("keras", marks=pytest.mark.long),
]
USERS = {"image": (65532, 0), "any": (1000710000, 0)}
ROOT = """
set -eu
root=$1; app=$2; read_only=$3; user=$4; kept=$5; shift 5
mount -t tmpfs -o mode=0755 none "$root"
for one in usr bin lib lib64 proc dev; do
  if [ -e "/$one" ]; then mkdir "$root/$one"; mount --rbind "/$one" "$root/$one"; fi
done
mkdir -p "$root/etc" "$root/opt/python" "$root/opt/site" "$root/tmp" "$root/app"
chmod 1777 "$root/tmp"
echo root:x:0:0::/root:/bin/sh > "$root/etc/passwd"
for one in ld.so.cache localtime; do
  if [ -e "/etc/$one" ]; then cp "/etc/$one" "$root/etc/$one"; fi
done
mount --bind {prefix} "$root/opt/python"; mount -o remount,ro,bind "$root/opt/python"
mount --bind {site} "$root/opt/site"; mount -o remount,ro,bind "$root/opt/site"
cp -R "$app/." "$root/app"
chroot "$root" /bin/sh -euc {steps}
if [ -n "$kept" ]; then mount --bind "$kept" "$root/outputs"; fi
if [ "$read_only" = yes ]; then
  for one in home/function tmp; do mount -t tmpfs -o mode=0777 none "$root/$one"; done
  mount -o remount,ro "$root"
fi
exec chroot --userspec="$user" --groups= "$root" /usr/bin/env -i {environment} "$@"
"""


def steps_of(folder):
    """Return (environment, what RUN does, the user's number) of a folder's Dockerfile."""
    text = (folder / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    environment, runs, user = [], [], ""
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "ENV":
            environment += shlex.split(rest)
        elif word == "RUN" and not rest.startswith(("pip ", "apt-get ")):
            runs.append(rest)
        elif word == "USER":
            user = rest
    return environment, "; ".join(runs), user


def command(folder, user, body="{}", *, kept="", read_only=False, site=""):
    """Return the words that run a folder's handler; `kept` is what is mounted for the outputs."""
    root = folder.with_name(f"root-{user}-{read_only}")
    root.mkdir()
    environment, steps, own = steps_of(folder)
    uid, gid = USERS[user]
    assert own == "65532:0"
    paths = {
        "prefix": sys.base_prefix,
        "site": str(site or sysconfig.get_path("purelib")),
        "steps": f"export HOME=/home/function; {steps}",
    }
    known = ["PYTHONPATH=/opt/site", "PYTHONDONTWRITEBYTECODE=1", "PATH=/usr/bin:/bin"]
    known += environment
    script = ROOT.replace("{environment}", " ".join(map(shlex.quote, known)))
    for name, value in paths.items():
        script = script.replace(f"{{{name}}}", shlex.quote(value))
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    run = f"cd /app && exec /opt/python/bin/{name} handler.py {shlex.quote(body)}"
    return [
        "unshare", "--mount", "bash", "-c", script, "image", str(root), str(folder),
        "yes" if read_only else "no", f"{uid}:{gid}", str(kept), "/bin/sh", "-c", run,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def roots():
    tried = subprocess.run(
        ["unshare", "--mount", "true"], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        pytest.skip(f"no mount namespaces here: {tried.stderr.strip()}")


@pytest.fixture
def kept(tmp_path):
    """What a platform mounts for the outputs: any user may write to it."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept").chmod(0o777)
    return tmp_path / "kept"


@pytest.fixture(autouse=True)
def backend(monkeypatch):
    """What Keras runs on, as a kernel may have it: `make test-frameworks` has PyTorch alone."""
    if importlib.util.find_spec("tensorflow") is None:
        monkeypatch.setenv("KERAS_BACKEND", "torch")


def cell(name):
    found = importlib.util.find_spec(name)
    if found is None:
        pytest.skip(f"{name} is not installed: make test-frameworks")
    imports, save, saved = SAVES[name]
    return CELL.format(imports=imports, save=save), saved, Path(found.origin).parents[1]


@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_the_image_can_work(roots, tmp_path, kept, name, user, read_only):
    """With a writable root the outputs are the image's own folder, else a mount."""
    source, saved, site = cell(name)
    export(tmp_path / "f", source, adapters=())
    mounted = kept if read_only else ""
    ended = subprocess.run(
        command(tmp_path / "f", user, kept=mounted, read_only=read_only, site=site),
        capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert answer == {"uid": USERS[user][0], "user": "function", "saved": sorted([saved, "steps"])}
    if read_only:
        assert (kept / saved).stat().st_size
        assert json.loads((kept / "result.json").read_text()) == answer


def test_nothing_else_is_writable(roots, tmp_path, kept):
    source = """
import os
places = ("/", "/etc", "/usr", "/opt", "/app", "/outputs", "/home", "/home/function")
[one for one in places if os.access(one, os.W_OK)]
"""
    export(tmp_path / "f", source, adapters=())
    for read_only, expected in (
        (False, ["/app", "/outputs", "/home/function"]),
        (True, ["/outputs", "/home/function"]),
    ):
        ended = subprocess.run(
            command(tmp_path / "f", "any", kept=kept if read_only else "", read_only=read_only),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert json.loads(ended.stdout) == {"result": expected}, ended.stderr


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", FRAMEWORKS)
def test_sigterm_ends_it_with_143_and_leaves_what_there_is(roots, tmp_path, kept, name, user):
    source, saved, site = cell(name)
    export(tmp_path / "f", source, adapters=())
    words = command(tmp_path / "f", user, '{"steps": 100000}', kept=kept, site=site)
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 180
        while not (kept / "steps").is_file() and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143
        assert process.stdout.read() == b""
    assert (kept / saved).stat().st_size
    assert not (kept / "result.json").exists()
