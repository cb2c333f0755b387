"""What the stand-in plays: GPUs with their readings over time, processes, and failures.

The script is text, one directive a line, so that any test can write one by hand:

    driver VERSION                     start EPOCH_SECONDS (default: the first initialisation)
    gpu UUID TOTAL_MIB NAME            what follows belongs to this GPU
    refresh_s S | depth N | offset_s S buffer: spacing, length, and the stamps' clock offset
    dry                                the buffer holds nothing while the GPU idles
    at T UTIL_PERCENT MEM_MIB [BREADTH_PERCENT] | loop
                                       readings hold until the next; begin again at the end
    gpm | cores N MAJOR.MINOR          has GPM; CUDA cores and compute capability
    throttle BITS                      why the clocks are held down
    instance GPU SLOT SMS              this is a MIG instance of that GPU (counted from 0)
    proc PID|self MIB [mps|PERCENT]    a compute process, through an MPS server, or so busy
    compute_mode N                     0 default, 2 prohibited, 3 exclusive process
    fail FUNCTION|* CODE [AFTER [TIMES]]

The control file is read at every call: `fail FUNCTION|* CODE`, `slow FUNCTION|* SECONDS`, and
`hang FUNCTION|*`, which does not return before that line is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.fake_nvml.build import library_dir

UUID = "GPU-11111111-2222-3333-4444-555555555555"


@dataclass
class FakeGpu:
    points: list[tuple[float, ...]] = field(default_factory=lambda: [(0.0, 50.0, 1000.0)])
    uuid: str = UUID
    name: str = "NVIDIA H200"
    total_mib: int = 143771
    refresh_s: float = 0.2
    depth: int = 100
    offset_s: float = 0.0
    dry: bool = False
    loop: bool = False
    gpm: bool = False
    cores: tuple[int, str] | None = None
    throttle: int = 0
    instance: tuple[int, int, int] | None = None
    compute_mode: int = 0
    processes: list[tuple[int | str, int] | tuple[int | str, int, str | int]] = field(
        default_factory=list
    )

    def lines(self) -> list[str]:
        return [
            f"gpu {self.uuid} {self.total_mib} {self.name}",
            f"refresh_s {self.refresh_s}",
            f"depth {self.depth}",
            f"offset_s {self.offset_s}",
            *(["dry"] if self.dry else []),
            *(["gpm"] if self.gpm else []),
            f"throttle {self.throttle}",
            *(["instance " + " ".join(map(str, self.instance))] if self.instance else []),
            *([f"cores {self.cores[0]} {self.cores[1]}"] if self.cores else []),
            f"compute_mode {self.compute_mode}",
            *("at " + " ".join(map(str, point)) for point in self.points),
            *(["loop"] if self.loop else []),
            *("proc " + " ".join(map(str, process)) for process in self.processes),
        ]


@dataclass
class Script:
    gpus: list[FakeGpu] = field(default_factory=lambda: [FakeGpu()])
    failures: list[tuple[str, int] | tuple[str, int, int] | tuple[str, int, int, int]] = field(
        default_factory=list
    )
    start_s: float | None = None

    def text(self) -> str:
        lines = [line for gpu in self.gpus for line in gpu.lines()]
        lines += ["fail " + " ".join(map(str, failure)) for failure in self.failures]
        if self.start_s is not None:
            lines.insert(0, f"start {self.start_s}")
        return "\n".join(lines) + "\n"

    def environ(self, folder: Path) -> dict[str, str]:
        """Write the script into a folder; return what makes a process play it."""
        path = folder / "script.txt"
        path.write_text(self.text())
        return {"LD_LIBRARY_PATH": str(library_dir()), "FAKE_NVML_SCRIPT": str(path)}
