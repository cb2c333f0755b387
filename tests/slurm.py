"""A Slurm cluster on one machine, for tests: Debian's own programs, in folders of the test's own.

    python -m tests.slurm FOLDER    unpacks them there, without installing anything

What has to be so, and is not obvious: the unpacked programs must be called `slurmctld`, `slurmd`
and `slurmstepd`, else generic resources are lost without a word; the GPU's file must be a link
whose name looks like a device's; mps and shard want clusters of their own; munge wants folders that
all may enter.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
LIBRARIES = "usr/lib/x86_64-linux-gnu"
CONFIGURATION = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthInfo=socket={base}/run/munge.sock
SlurmUser=root
PluginDir={plugins}
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={base}/run/slurmctld.pid
SlurmdPidFile={base}/run/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides
GresTypes=gpu,{gres}
{nodes}
PartitionName=p Nodes=ALL Default=YES MaxTime=300
"""  # fmt: skip
NODE = "NodeName={0} NodeHostname={0} NodeAddr=127.0.0.1 Port={1} CPUs=4 RealMemory=65536 {2}"


def unpack(folder):
    """Download Debian's packages and unpack them below `folder`; nothing is installed."""
    debs, root = folder / "debs", folder / "root"
    (debs / "partial").mkdir(parents=True, exist_ok=True)
    words = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "--download-only"]
    words += ["-o", "APT::Sandbox::User=root", "-o", f"Dir::Cache::archives={debs.resolve()}"]
    subprocess.run([*words, *PACKAGES], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(root, ignore_errors=True)
    for one in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", one, root], check=True)
    for name in ("slurmctld", "slurmd", "slurmstepd"):
        with contextlib.suppress(FileExistsError):
            (root / "usr/sbin" / name).symlink_to(f"{name}-wlm")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Cluster:
    """A controller and nodes with one GPU each, which is none, counted as mps or shard."""

    def __init__(self, root, gres, count, nodes=1):
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.root, self.base = Path(root).resolve(), Path(tempfile.mkdtemp(prefix="slurm-"))
        self.processes = []
        libraries = self.root / LIBRARIES
        for name in ("etc", "state", "spool", "run", "log"):
            (self.base / name).mkdir(mode=0o755)
        self.base.chmod(0o755)
        self.configuration = self.base / "etc/slurm.conf"
        text = CONFIGURATION.format(
            base=self.base, plugins=libraries / "slurm-wlm", gres=gres,
            nodes="\n".join(
                NODE.format(name, free_port(), f"Gres=gpu:1,{gres}:{count}") for name in self.nodes
            ),
            controller=free_port(),
        )  # fmt: skip
        self.configuration.write_text(text)
        (self.base / "nv0").symlink_to("/dev/null")
        file, counted = f"Name=gpu File={self.base}/nv0", f"Name={gres} Count={count}"
        (self.base / "etc/gres.conf").write_text(f"AutoDetect=off\n{file}\n{counted}\n")
        (self.base / "etc/cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        paths = (libraries, libraries / "slurm-wlm", self.root / "lib/x86_64-linux-gnu")
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{self.root / 'usr/bin'}:{os.defpath}",
            "LD_LIBRARY_PATH": ":".join(map(str, paths)),
            "SLURM_CONF": str(self.configuration),
        }

    def __enter__(self):
        try:
            self._start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start_all(self):
        key, run = self.base / "etc/munge.key", self.base / "run"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self._start(
            "munged", "--foreground", f"--socket={run}/munge.sock", f"--key-file={key}",
            f"--log-file={self.base}/log/munged.log", f"--pid-file={run}/munged.pid",
            f"--seed-file={self.base}/state/munged.seed",
        )  # fmt: skip
        self._until((run / "munge.sock").exists)
        self._start("slurmctld", "-D", "-c", "-f", str(self.configuration))
        step = self.root / "usr/sbin/slurmstepd"
        words = ("-f", str(self.configuration), "-d", str(step))
        for name in self.nodes:
            self._start("slurmd", "-D", "-c", "-N", name, *words)
        idle = ["idle"] * len(self.nodes)
        self._until(lambda: self.run("sinfo", "-h", "-N", "-o", "%T").stdout.split() == idle)

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.base, ignore_errors=True)

    def _start(self, name, *words):
        log_file = self.base / "log" / f"{name}-{len(self.processes)}.out"
        with log_file.open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [self.root / "usr/sbin" / name, *words], env=self.environment, stdout=log,
                    stderr=log, stdin=subprocess.DEVNULL,
                )
            )  # fmt: skip

    def _until(self, true, timeout_s=60):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if true():
                return
            time.sleep(0.1)
        logs = [path.read_text(errors="replace")[-2000:] for path in self.base.glob("log/*.out")]
        raise AssertionError("\n".join(logs))

    def run(self, name, *words, folder=None, **environment):
        """Run a program of Slurm's."""
        return subprocess.run(
            [self.root / "usr/bin" / name, *words], cwd=folder, capture_output=True, text=True,
            env={**self.environment, **environment}, check=False, timeout=60,
        )  # fmt: skip

    def submit(self, script, *words, folder, **environment):
        """Submit a script from a folder; return the job's number."""
        ended = self.run("sbatch", "--parsable", script, *words, folder=folder, **environment)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    def state(self, job):
        return self.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").stdout.strip()

    def finished(self, job, timeout_s=60):
        """Wait for the end of a job; return its state."""
        active = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")
        self._until(lambda: self.state(job) not in active, timeout_s)
        return self.state(job)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]))
