"""Records what NVIDIA's MPS control daemon answers where there is no GPU.

    python -m tests.fake_mps.record build/mps/535 build/mps/550

Each folder holds `usr/bin/nvidia-cuda-mps-control` and `usr/sbin/nvidia-cuda-mps-server`, as
`python -m tests.fake_mps.fetch` unpacks them. Writes `replies/BRANCH.json` beside this file, which
the stand-in plays. PIDs and times are those of a new recording; everything else should not differ.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jupyter_gpupredict.mps.directory import daemon_in, until

UUID = "GPU-11111111-2222-3333-4444-555555555555"
COMMANDS = (
    "get_server_list",
    "ps",
    "get_server_status 1",
    "get_client_list 1",
    "get_device_client_list",
    "device_query",
    "lspart",
    f"sm_partition add {UUID} 2",
    "get_default_active_thread_percentage",
    "set_default_active_thread_percentage 30",
    "set_default_active_thread_percentage 0",
    "set_default_active_thread_percentage 101",
    "get_default_device_pinned_mem_limit 0",
    "set_default_device_pinned_mem_limit 0 1500M",
    "terminate_client 1 2",
    "shutdown_server 1",
    "nonsense",
)


class Recorder:
    """One program in a directory of its own."""

    def __init__(self, folder: Path, base: Path) -> None:
        self.program = folder / "usr/bin/nvidia-cuda-mps-control"
        self.pipe, self.log = base / "pipe", base / "log"
        for path in (self.pipe, self.log):
            path.mkdir(mode=0o700)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("CUDA")}
        self.environ = kept | {
            "CUDA_MPS_PIPE_DIRECTORY": str(self.pipe),
            "CUDA_MPS_LOG_DIRECTORY": str(self.log),
            "CUDA_VISIBLE_DEVICES": UUID,
            "PATH": f"{folder / 'usr/sbin'}:{os.environ['PATH']}",
        }

    def run(self, *words: str, said: str = "") -> list[int | str]:
        """Return exit status, standard output and standard error."""
        ran = subprocess.run(
            [self.program, *words], input=f"{said}\n" if said else "", env=self.environ,
            capture_output=True, text=True, check=False, timeout=15, start_new_session=True,
        )  # fmt: skip
        return [ran.returncode, ran.stdout, ran.stderr]

    def start(self) -> int:
        """Start the daemon; return its PID."""
        self.run("-d")
        assert until(lambda: daemon_in(self.pipe) is not None, 5.0)
        return daemon_in(self.pipe).pid

    def files(self) -> list[str]:
        """Return the modes and names in its pipe directory."""
        return [
            f"{stat.filemode(one.lstat().st_mode)} {one.name}"
            for one in sorted(self.pipe.iterdir())
        ]

    def gone_after_s(self, pid: int) -> float:
        """Wait for the daemon's end."""
        began_s = time.monotonic()
        assert until(lambda: not Path(f"/proc/{pid}").exists(), 10.0)
        return round(time.monotonic() - began_s, 2)


def record(folder: Path) -> dict[str, object]:
    """Return what the program in a folder answers."""
    libraries = sorted(folder.glob("usr/lib/*/nvidia/current/libcuda.so.*.*"))
    version = libraries[-1].name.removeprefix("libcuda.so.") if libraries else folder.name
    with tempfile.TemporaryDirectory(prefix="rec-") as base:
        one = Recorder(folder, Path(base))
        told: dict[str, object] = {"version": version, "no_daemon": one.run(said="get_server_list")}
        pid = one.start()
        told["pid_file"] = (one.pipe / "nvidia-cuda-mps-control.pid").exists()
        told["files"] = one.files()
        told["replies"] = {command: one.run(said=command) for command in COMMANDS}
        told["second_start"] = one.run("-d")
        told["start_server"] = one.run(said=f"start_server -uid {os.geteuid()}")
        time.sleep(1.0)
        told["servers_after"] = one.run(said="get_server_list")
        log = (one.log / "control.log").read_text().splitlines()
        told["server_log"] = [line.partition("] ")[2] for line in log if "erver " in line]
        told["quit"] = one.run(said="quit -t 2")
        told["gone_after_quit_s"] = one.gone_after_s(pid)
        told["files_after_quit"] = one.files()
        pid = one.start()
        os.kill(pid, signal.SIGKILL)
        one.gone_after_s(pid)
        told["files_after_kill"] = one.files()
        pid = one.start()
        os.kill(pid, signal.SIGTERM)
        told["gone_after_sigterm_s"] = one.gone_after_s(pid)
        told["replies"] |= {"start_server -uid 0": told["start_server"], "quit": told["quit"]}
    return told


def main() -> None:
    """Record each folder that is named."""
    for name in sys.argv[1:]:
        told = record(Path(name))
        branch = str(told["version"]).partition(".")[0]
        path = Path(__file__).with_name("replies") / f"{branch}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(told, indent=1) + "\n")
        print(f"{told['version']}: {path}")


if __name__ == "__main__":
    main()
