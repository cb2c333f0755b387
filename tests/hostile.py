"""Traces as nobody should find them, and everything that reads traces, asked about them.

Shared by the tests (some hundred seeded traces) and `benchmarks.hostile` (20,000).
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import jsonschema_rs

from jupyter_gpupredict.core.errors import GpuPredictError
from jupyter_gpupredict.core.summary import Place
from jupyter_gpupredict.core.trace import event_to_json
from jupyter_gpupredict.frontends.cli import main
from jupyter_gpupredict.frontends.server import handlers, replies
from jupyter_gpupredict.frontends.server.base import Problem
from jupyter_gpupredict.frontends.server.runs import StopHandler
from jupyter_gpupredict.frontends.server.schemas import COMPONENTS, ref
from jupyter_gpupredict.frontends.server.state import ServerState
from jupyter_gpupredict.run import store_dir
from tests.frontends.server import traces

EVERY_KIND = Path(__file__).parent / "data" / "events" / "every-kind.jsonl"
GOOD = traces.session_id(0)

# ---- what is made -------------------------------------------------------------------------------

LITERALS = [
    "1e400", "-1e400", "1e308", "1e19", "-1", "-0.0", "0.5", "2.5", "NaN", "Infinity", "null",
    "true", "[]", "{}", '""', '"x"', '["x"]', '{"a":1}', "9" * 400, "9" * 5000, str(2**63),
    "[" * 1000 + "]" * 1000, '{"a":' * 500 + "1" + "}" * 500, "[" * 3000, '"\\ud800"',
    '"\\u0000\\u001b[31m"', '"\\u2028"', json.dumps("x" * 100_000), '"1"', "[null]", "[1e400]",
    json.dumps({f"k{n}": n for n in range(2000)}), '"NaN"', "[[0,1],[1e400,2]]", "1.0",
    '"2026-01-01"', '"converged"', '"gpu_util_ratio"', "0",
]  # fmt: skip
KEYS = ["event", "seq", "t_s", "\ud800", "k" * 100_000, "__class__", "", "session_id", "readings"]
BYTES = [b"\x00", b"\xff\xfe", b"\r", b"\n\n", b"\xef\xbb\xbf", b"{", b"x" * (2 << 20), b"[" * 9999]
_HOLE = "\ue000hole\ue000"


@functools.cache
def whole(run: str) -> tuple[bytes, ...]:
    """Return the lines of a run with every kind of event, and readings for half a minute."""
    kinds = {one["event"]: one for one in map(json.loads, EVERY_KIND.read_text().splitlines())}
    kinds.pop("SessionStarted")
    kinds["ShareApplied"]["share"] |= {"percentage": None, "sm_count": 132}  # not capped
    profile = kinds.pop("SessionFinished")["profile"]
    samples = [traces.samples(n, [n % 7 / 10, n % 3 / 3]) for n in range(1, 30)]
    began, *read, ended = (
        json.loads(event_to_json(one))
        for one in (traces.started(run), *samples, traces.finished(0))
    )
    events = [began, *read, *kinds.values(), ended | {"profile": profile}]
    return tuple(
        json.dumps(one | {"seq": seq}, separators=(",", ":")).encode()
        for seq, one in enumerate(events)
    )


def mutated(random: Random, run: str) -> bytes:
    """Return a trace with one to three faults."""
    lines = list(whole(run))
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        random.choice(_FAULTS)(random, lines)
    return b"\n".join(lines) + random.choice([b"\n", b"\n", b"\n", b""])


def _value(random: Random, lines: list[bytes]) -> None:
    """Put a literal in the place of a value."""
    _edit(random, lines, lambda node, key: node.__setitem__(key, _HOLE))


def _drop(random: Random, lines: list[bytes]) -> None:
    _edit(random, lines, lambda node, key: node.__delitem__(key))


def _add(random: Random, lines: list[bytes]) -> None:
    """Add a key that is unknown, or not there."""

    def add(node: Any, _: Any) -> None:
        if isinstance(node, dict):
            node[random.choice(KEYS)] = _HOLE
        else:
            node.append(_HOLE)

    _edit(random, lines, add)


def _twice(random: Random, lines: list[bytes]) -> None:
    """Say something a second time, and differently."""
    at = _line(random, lines)
    key = random.choice(["event", "seq", "t_s", "recommendation", "readings", "devices"])
    if lines[at].endswith(b"}"):
        lines[at] = lines[at][:-1] + f',"{key}":{random.choice(LITERALS)}}}'.encode()


def _cut(random: Random, lines: list[bytes]) -> None:
    at = _line(random, lines)
    lines[at] = lines[at][: random.randrange(len(lines[at]) + 1)]


def _splice(random: Random, lines: list[bytes]) -> None:
    """Let one line go on as another one."""
    at, other = _line(random, lines), lines[_line(random, lines)]
    begin = lines[at][: random.randrange(len(lines[at]) + 1)]
    lines[at] = begin + other[random.randrange(len(other) + 1) :]


def _shuffle(random: Random, lines: list[bytes]) -> None:
    one, other = _line(random, lines), _line(random, lines)
    lines[one], lines[other] = lines[other], lines[one]


def _repeat(random: Random, lines: list[bytes]) -> None:
    lines.insert(_line(random, lines), lines[_line(random, lines)])


def _leave_out(random: Random, lines: list[bytes]) -> None:
    if len(lines) > 1:
        del lines[_line(random, lines)]


def _bytes(random: Random, lines: list[bytes]) -> None:
    at = _line(random, lines)
    place = random.randrange(len(lines[at]) + 1)
    lines[at] = lines[at][:place] + random.choice(BYTES) + lines[at][place:]


_FAULTS: list[Callable[[Random, list[bytes]], None]] = [
    _value, _value, _value, _value, _drop, _add, _twice, _cut, _splice, _shuffle, _repeat,
    _leave_out, _bytes,
]  # fmt: skip


def _line(random: Random, lines: list[bytes]) -> int:
    """Return a line; the first and the last are what most readers look at."""
    return random.choice([0, len(lines) - 1, random.randrange(len(lines))])


def _edit(random: Random, lines: list[bytes], change: Callable[[Any, Any], None]) -> None:
    at = _line(random, lines)
    try:
        document = json.loads(lines[at])
    except (ValueError, RecursionError):
        return  # it was spoilt before
    places = list(_places(document))
    if places:
        change(*random.choice(places))
    text = json.dumps(document, separators=(",", ":"))
    lines[at] = text.replace(json.dumps(_HOLE), random.choice(LITERALS)).encode()


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    keys = node.keys() if isinstance(node, dict) else range(len(node)) if _is_list(node) else ()
    for key in list(keys):
        yield node, key
        yield from _places(node[key])


def _is_list(node: Any) -> bool:
    return isinstance(node, list)


# ---- who is asked -------------------------------------------------------------------------------


_EXPORT = ("--name", "x", "-o", "x", "--dry-run", "--force")
VERBS = [
    ("show", "{run}"),
    ("show", "{run}", "--json"),
    ("export", "{run}", *_EXPORT),
    ("predict", "{path}", "--json"),
    ("stop", "{run}"),
]


class Everything:
    """Every route and every verb, in this process, over the store of this user.

    Routes are asked by what their handlers do on a worker's thread; a server around them is the
    other tests'. Each gives a reply of its schema or one line; anything else raises here.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = store_dir()
        self.asked: Counter[str] = Counter()
        """What gave a reply, and what one line."""
        traces.whole_run(self.store, GOOD)
        self.state = ServerState()
        self._wish = (b'{"preview":true,"name":"x","force":true}', True)
        self._verbs = itertools.cycle(VERBS)
        self._validators = {
            name: jsonschema_rs.Draft202012Validator(
                {**ref(name), "components": {"schemas": COMPONENTS}}
            )
            for name in ("Sessions", "Session", "Drawing", "Recommended", "Runs")
        }

    def put(self, run: str, data: bytes) -> Path:
        """Store a trace."""
        path = self.store / f"{run}.jsonl"
        path.write_bytes(data)
        return path

    def ask_lists(self) -> dict[str, str]:
        """Ask what tells of all runs; returns the problem of each."""
        stub = SimpleNamespace(state=self.state)
        state, runs = self.state, self.state.runs
        page = self._reply("Sessions", lambda: replies.page(runs.page(200, None, words=()), "h"))
        problems = {run["session_id"]: run["problem"] for run in page["sessions"]}
        assert problems[GOOD] == ""
        found = self._reply(
            "Sessions", lambda: replies.page(runs.page(200, None, words=("h200",)), "h")
        )
        assert GOOD in {run["session_id"] for run in found["sessions"]}
        assert "gpupredict_session" in replies.MetricsHandler._text(stub)
        self._reply("Runs", lambda: replies.news(traces.KERNEL, runs.first(traces.KERNEL), "h"))
        every = tuple(Place(run, -1) for run in problems)
        self._reply(
            "Runs",
            lambda: replies.news(traces.KERNEL, runs.news(traces.KERNEL, every, 5000), state.host),
        )
        assert handlers._surroundings()[1] == ""
        self.verb("history", "--limit", "1000")
        listed = json.loads(self.verb("history", "--limit", "1000", "--json")[1])
        assert {one["session_id"] for one in listed} >= set(problems)
        assert self.verb("show", GOOD)[0] == 0
        assert self.verb("export", GOOD, *_EXPORT)[0] == 0
        return problems

    def ask_verbs_over_many(self) -> None:
        """Ask the verbs that take a folder or no trace at all."""
        self.verb("backtest", str(self.store), "--jobs", "1")
        self.verb("predict", str(self.store), "--jobs", "1")
        self.verb("targets")
        self.verb("doctor", "--json")
        self.verb("mps", "status")

    def ask(self, run: str, verbs: int = len(VERBS)) -> None:
        """Ask everything that takes one run, or the routes that read and so many verbs, in turn."""
        stub = SimpleNamespace(state=self.state, root=str(self.folder))
        for name in ("_made", "_rendered"):
            setattr(stub, name, partial(getattr(handlers.ExportHandler, name), stub))
        state = self.state
        self._reply("Session", lambda: handlers.SessionHandler._session(stub, run))
        self._reply(
            "Drawing", lambda: replies.series(state.runs.summary(run), state.runs.draw(run, 100))
        )
        self._reply(
            "Recommended", lambda: handlers.RecommendationHandler._recommendation(stub, run)
        )
        for _ in range(verbs):
            words = next(self._verbs)
            self.verb(*(word.format(run=run, path=self.store / f"{run}.jsonl") for word in words))
        if verbs < len(VERBS):
            return
        self._reply("", lambda: handlers.ExportHandler._export(stub, run, "lost", *self._wish)[0])
        with contextlib.suppress(GpuPredictError, Problem):
            StopHandler._stop(stub, traces.KERNEL, run)

    def ask_given(self, path: Path) -> None:
        """Ask the verbs that take any file."""
        for verb in ("predict", "validate", "verify", "sweep", "backtest"):
            self.verb(verb, str(path))
        self.verb("export", GOOD, *_EXPORT, "--notebook", str(path))
        script = self.folder / "script.py"
        script.write_text("pass\n")
        replay = ("--source", "replay", "--path", str(path), "--speed", "0")
        self.verb("run", *replay, "--quiet", str(script))

    def verb(self, *words: str) -> tuple[int, str]:
        """Return a verb's status and what it printed; a failure is one line."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(words)
        assert status in (0, 1, 2), words
        if status == 2:
            assert err.getvalue().count("\n") == 1, err.getvalue()
        out.getvalue().encode()  # no lone surrogates
        self.asked[f"{words[0]} {'line' if status == 2 else 'reply'}"] += 1
        return status, out.getvalue()

    def _reply(self, schema: str, work: Callable[[], str]) -> Any:
        try:
            text = work()
        except (GpuPredictError, Problem) as error:
            assert "\n" not in str(error), str(error)
            assert getattr(error, "status_code", 422) < 500, str(error)
            self.asked[f"{schema or 'Exported'} line"] += 1
            return None
        text.encode()
        found = json.loads(text, parse_constant=_refuse)
        if schema:
            error = next(self._validators[schema].iter_errors(found), None)
            assert error is None, f"{schema}: {error and error.message[:300]}"
        self.asked[f"{schema or 'Exported'} reply"] += 1
        return found


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} in a reply")
