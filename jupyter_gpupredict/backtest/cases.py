"""What is run: the recorded traces of a folder, or seeded synthetic runs, and their groups."""

from __future__ import annotations

import contextlib
import csv
import glob
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from jupyter_gpupredict.backtest import files, synthetic
from jupyter_gpupredict.core.errors import GpuPredictError, InvalidOption, Malformed, TraceError
from jupyter_gpupredict.core.files import open_given
from jupyter_gpupredict.sources.reading import Content, open_traces, read_traces, reader_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jupyter_gpupredict.core.progress import Mark
    from jupyter_gpupredict.core.series import ReadOptions
    from jupyter_gpupredict.sources.recording import Trace

    Conditions = Sequence[tuple[str, str]]

INDEX = "INDEX.tsv"
"""Tab separated: `id` (a file's name without its ending), `group` and any other columns."""
ENDINGS = (".csv", ".jsonl", ".parquet")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A trace file. Picklable: worker processes get it and read the file themselves."""

    id: str
    group: str
    family: str
    path: str
    part: files.Part | None = None
    """Which rows, where it is a Parquet file."""
    options: ReadOptions | None = None
    problem: str = ""
    """Why nothing of it can be read, where that is known already."""

    @property
    def weight(self) -> float:
        """About how much work it is: the file's bytes; 0 where that takes more than a look."""
        try:
            return 0.0 if self.part or files.is_url(self.path) else Path(self.path).stat().st_size
        except OSError:
            return 0.0  # reading it says what is wrong

    def load(self) -> tuple[Trace, Sequence[Mark]]:
        """Return the trace and its progress as recorded; raise `TraceError` if it is unreadable."""
        trace = self.load_each()[0]
        return trace, trace.marks

    def load_each(self) -> tuple[Trace, ...]:
        """Return the trace of each device that is asked for; raises as `load`."""
        if self.problem:
            raise Malformed(self.problem)
        if self.part is not None:
            return (files.read(self.part),)
        if files.is_url(self.path):
            with files.open_binary(self.path) as file:
                return read_traces(file, self.path.rpartition("/")[2], self.options)
        return open_traces(self.path, self.options)


@dataclass(frozen=True, slots=True)
class Simulated:
    """A synthetic run: its scenario is its group."""

    group: str
    seed: int
    family: ClassVar[str] = "synthetic"
    weight: ClassVar[float] = 1.0

    @property
    def id(self) -> str:
        """Scenario and seed."""
        return f"{self.group}-{self.seed}"

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
    skipped: tuple[str, ...] = ()
    """Files that are not recordings."""


def folder(path: str | Path, where: Conditions = ()) -> Folder:
    """Return the traces of a folder, in the order of its index, else by name.

    Args:
        path: Holds recordings and, if they are to be grouped, an `INDEX.tsv`, whose rows name
            files that end in `.csv`, `.jsonl` or `.parquet`. A pattern or a URL of fsspec's, too,
            without an index.
        where: (column, value) pairs that a row of the index must have.

    Raises:
        InvalidOption: No such folder, no such column, or nothing is left.
        MissingExtra: It takes a library that is not installed.
    """
    place = Path(path)
    if not (place.is_dir() or files.is_url(str(path)) or glob.has_magic(str(path))):
        raise InvalidOption(f"no such folder: {path}", "give the folder that holds the traces")
    if not (place / INDEX).is_file():
        found = found_in([str(path)])
        return replace(found, cases=_alone(found.cases, where))
    cases: list[Recorded] = []
    missing: list[str] = []
    for row in _chosen(_read_index(place / INDEX), where):
        name, group = row["id"], row.get("group") or row["id"]
        file = next((f for end in ENDINGS if (f := place / f"{name}{end}").is_file()), None)
        if file is None:
            missing.append(name)
        else:
            family = row.get("family") or group
            cases += [replace(one, group=group, family=family) for one in _cases(str(file))]
    if not cases:
        raise InvalidOption(f"no trace to score in {path}", "is it .csv or .jsonl? see --where")
    return Folder(tuple(cases), tuple(missing))


def recorded(patterns: Sequence[str], options: ReadOptions | None = None) -> tuple[Recorded, ...]:
    """Return the traces that `found_in` finds."""
    return found_in(patterns, options).cases


def found_in(patterns: Sequence[str], options: ReadOptions | None = None) -> Folder:
    """Return the traces in files, folders and patterns, each once, in the order they were given.

    In a folder of this machine whatever is a recording by its content is one, whatever its name;
    the others are skipped. One that cannot be read is a trace with a problem.

    Raises:
        InvalidOption, MissingExtra: As `folder`.
    """
    paths: dict[str, None] = {}
    skipped: list[str] = []
    for pattern in patterns:
        endings = ("",) if Path(pattern).is_dir() else ENDINGS
        for path in files.find(pattern, endings):
            if endings == ENDINGS or path.endswith(ENDINGS) or _is_recording(path):
                paths[path] = None
            else:
                skipped.append(path)
    if not paths:
        raise InvalidOption(f"no trace in {', '.join(patterns)}", "none is a recording we can read")
    cases = (replace(case, options=options) for path in paths for case in _cases(path))
    return Folder(tuple(cases), skipped=tuple(skipped))


def _is_recording(path: str) -> bool:
    """Return whether a file is a recording that can be read, by its content."""
    name = path.rpartition("/")[2]
    if name.startswith(".") or name == INDEX:
        return False
    try:
        with open_given(path) as file, contextlib.closing(Content(file, name)) as content:
            reader = reader_of(content)
            return reader is not None and bool(reader.label)
    except (OSError, GpuPredictError):
        return False


def _cases(path: str) -> list[Recorded]:
    """Return the traces of one file."""
    file = path.rpartition("/")[2]
    name = file.rpartition(".")[0] or file or path
    if not path.endswith(".parquet"):
        return [Recorded(name, name, name, path)]
    try:
        named = [(part.name or name, part) for part in files.parts(path)]
    except TraceError as error:
        return [Recorded(name, name, name, path, problem=str(error))]
    return [Recorded(one, one, one, path, part) for one, part in named]


def _alone(cases: Sequence[Recorded], where: Conditions) -> tuple[Recorded, ...]:
    """Return those cases that are asked for, each a group of its own."""
    rows = [{"id": case.id, "group": case.group} for case in cases]
    kept = {row["id"] for row in _chosen(rows, where)}
    if not kept:
        raise InvalidOption("no trace to score", "see --where")
    return tuple(case for case in cases if case.id in kept)


def simulated(seeds: Iterable[int], where: Conditions = ()) -> tuple[Simulated, ...]:
    """Return every scenario with every seed; `where` may name `group` (the scenario) or `seed`."""
    names = synthetic.SCENARIOS
    rows = [{"group": name, "seed": str(seed)} for name in names for seed in seeds]
    chosen = tuple(Simulated(row["group"], int(row["seed"])) for row in _chosen(rows, where))
    if not chosen:
        raise InvalidOption("no synthetic run is left", "scenarios: " + ", ".join(names))
    return chosen


def _read_index(path: Path) -> list[dict[str, str]]:
    try:
        with open_given(path) as file:
            rows = [
                {key: value or "" for key, value in row.items() if isinstance(key, str)}
                for row in csv.DictReader(Content(file, path.name).lines(), delimiter="\t")
            ]
    except (OSError, TraceError, csv.Error) as error:
        raise InvalidOption(f"cannot read {path}: {error}", "tab separated text") from error
    if not rows or "id" not in rows[0]:
        raise InvalidOption(f"{path} has no column id", "tab separated, with a line of titles")
    return rows


def _chosen(rows: Sequence[dict[str, str]], where: Conditions) -> Iterator[dict[str, str]]:
    columns = set().union(*rows) if rows else set()
    for column, _ in where:
        if column not in columns:
            raise InvalidOption(f"no column {column!r}", "there is: " + ", ".join(sorted(columns)))
    for row in rows:
        if all(row.get(column) == value for column, value in where):
            yield row
