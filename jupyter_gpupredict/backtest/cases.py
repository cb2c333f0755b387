"""What is run: the recorded traces of a folder, or seeded synthetic runs, and their groups."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.backtest import synthetic
from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.core.tracefile import open_trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.recording import Trace

INDEX = "INDEX.tsv"
"""Tab separated: `id` (a file's name without its ending), `group` and any other columns."""
ENDINGS = (".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A trace file. Picklable: worker processes get it and read the file themselves."""

    id: str
    group: str
    family: str
    path: str

    def load(self) -> tuple[Trace, tuple[Mark, ...]]:
        """Return the trace and what was recorded of its progress.

        Raises:
            TraceError: It cannot be read.
        """
        trace = open_trace(self.path)
        return trace, trace.marks


@dataclass(frozen=True, slots=True)
class Simulated:
    """A synthetic run: its scenario is its group."""

    group: str
    seed: int

    @property
    def id(self) -> str:
        """Scenario and seed."""
        return f"{self.group}-{self.seed}"

    @property
    def family(self) -> str:
        """All of them are one."""
        return "synthetic"

    def load(self) -> tuple[Trace, tuple[Mark, ...]]:
        """Generate the run; returns its trace and what exact hints would have said."""
        made = synthetic.run(self.group, self.seed)
        return made.trace, made.marks


Case = Recorded | Simulated


@dataclass(frozen=True, slots=True)
class Folder:
    """The traces of a folder that were asked for."""

    cases: tuple[Recorded, ...]
    missing: tuple[str, ...] = ()
    """Rows of the index that have no file."""


def folder(path: str | Path, where: Sequence[tuple[str, str]] = ()) -> Folder:
    """Return the traces of a folder, in the order of its index, else by name.

    Args:
        path: Holds `.csv` and `.jsonl` files and, if they are to be grouped, an `INDEX.tsv`.
        where: (column, value) pairs that a row of the index must have.

    Raises:
        InvalidOption: No such folder, no such column, or nothing is left.
    """
    place = Path(path)
    if not place.is_dir():
        raise InvalidOption(f"no such folder: {path}", "give the folder that holds the traces")
    indexed = (place / INDEX).is_file()
    rows = _read_index(place / INDEX) if indexed else list(_unindexed(place))
    cases: list[Recorded] = []
    missing: list[str] = []
    for row in _chosen(rows, where):
        name, group = row["id"], row.get("group") or row["id"]
        file = next((f for end in ENDINGS if (f := place / f"{name}{end}").is_file()), None)
        if file is None:
            missing.append(name)
        else:
            cases.append(Recorded(name, group, row.get("family") or group, str(file)))
    if not cases:
        raise InvalidOption(f"no trace to score in {path}", "is it .csv or .jsonl? see --where")
    return Folder(tuple(cases), tuple(missing))


def simulated(
    seeds: Iterable[int],
    where: Sequence[tuple[str, str]] = (),
    scenarios: Sequence[str] = tuple(synthetic.SCENARIOS),
) -> tuple[Simulated, ...]:
    """Return every scenario with every seed; `where` may name `group` (the scenario) or `seed`."""
    rows = [{"group": name, "seed": str(seed)} for name in scenarios for seed in seeds]
    chosen = tuple(Simulated(row["group"], int(row["seed"])) for row in _chosen(rows, where))
    if not chosen:
        raise InvalidOption("no synthetic run is left", "scenarios: " + ", ".join(scenarios))
    return chosen


def _read_index(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = [
                {key: value or "" for key, value in row.items() if isinstance(key, str)}
                for row in csv.DictReader(lines, delimiter="\t")
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidOption(f"cannot read {path}: {error}", "tab separated text") from error
    if not rows or "id" not in rows[0]:
        raise InvalidOption(f"{path} has no column id", "tab separated, with a line of titles")
    return rows


def _unindexed(place: Path) -> Iterator[dict[str, str]]:
    stems = {file.stem for file in place.iterdir() if file.suffix in ENDINGS}
    for stem in sorted(stems):
        yield {"id": stem, "group": stem}


def _chosen(
    rows: Sequence[dict[str, str]], where: Sequence[tuple[str, str]]
) -> Iterator[dict[str, str]]:
    columns = set().union(*rows) if rows else set()
    for column, _ in where:
        if column not in columns:
            raise InvalidOption(f"no column {column!r}", "there is: " + ", ".join(sorted(columns)))
    for row in rows:
        if all(row.get(column) == value for column, value in where):
            yield row
