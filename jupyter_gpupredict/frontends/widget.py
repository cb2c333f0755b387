"""The live widget: an anywidget view that draws a Bokeh document, or SVG from the same rows."""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import anywidget
import traitlets
from IPython.display import display

from jupyter_gpupredict.core import words
from jupyter_gpupredict.core.answer import answer
from jupyter_gpupredict.core.events import (
    SamplesTaken,
    SessionFinished,
    SessionStarted,
    WindowClosed,
)
from jupyter_gpupredict.core.run import History, RunFold
from jupyter_gpupredict.core.trace import without_nan
from jupyter_gpupredict.frontends.charts import figures
from jupyter_gpupredict.run import verified_in_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jupyter_gpupredict.core.events import Event
    from jupyter_gpupredict.core.protocols import Subscriber
    from jupyter_gpupredict.core.recommendation import Verified
    from jupyter_gpupredict.core.run import Row, Run


MAX_ROWS = 240
"""Rows a view holds of each series: a whole frame stays below 15 kB."""
FURTHER_EVERY = 4
"""Once a second, at four frames: lines of further devices are sent whole, as they are short."""
KEYFRAME_EVERY = 20
"""A view that lost a message is whole again after five seconds."""
MAX_FAILURES = 5


class Port(Protocol):
    """Where frames go."""

    def push(self, frame: dict[str, Any]) -> None:
        """Send one message."""
        ...


class Publisher:
    """Folds events and sends frames; runs on the delivery thread alone."""

    name = "live view"

    def __init__(
        self, port: Port, look_up: Callable[[SessionStarted], Verified | None] = verified_in_time
    ) -> None:
        self._port = port
        self._look_up = look_up
        self._verified: Verified | None = None
        """As it was when the run began."""
        self._fold = RunFold(share=History(MAX_ROWS), memory=History(MAX_ROWS))
        self._seq = 0
        self._failures = 0
        self._generation = (0, 0)
        self._sent = (0, 0)
        self._news = False
        """Whether the newest events were more than readings: then the answer is made at once."""
        self._said: dict[str, Any] = {}
        """The newest answer, as it was sent."""
        self._curve: tuple[tuple[Any, ...], str] = ((), "")
        """(what it shows, its picture)."""

    def deliver(self, events: Sequence[Event]) -> None:
        """Fold the events and send one frame.

        Raises:
            Exception: Five messages in a row could not be sent.
        """
        for event in events:
            self._fold.add(event)
            if isinstance(event, SessionStarted):
                with contextlib.suppress(Exception):  # the view does without
                    self._verified = self._look_up(event)
        self._news = not all(isinstance(event, SamplesTaken | WindowClosed) for event in events)
        ended = isinstance(events[-1], SessionFinished)
        generation = (self._fold.share.generation, self._fold.memory.generation)
        whole = ended or self._seq % KEYFRAME_EVERY == 0 or generation != self._generation
        try:
            self._port.push(self.keyframe() if whole else self._delta())
        except Exception:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                raise
        else:
            self._failures = 0
        self._generation = generation
        self._sent = tuple(  # type: ignore[assignment]  # two in, two out
            len(history) - history.open for history in (self._fold.share, self._fold.memory)
        )
        self._seq += 1

    def close(self) -> None:
        """Nothing is held."""

    def keyframe(self) -> dict[str, Any]:
        """Return everything a view needs to draw from nothing."""
        return self._frame("key", (0, 0))

    def _delta(self) -> dict[str, Any]:
        return self._frame("delta", self._sent)

    def _frame(self, kind: str, first: tuple[int, int]) -> dict[str, Any]:
        fold = self._fold
        advice = fold.recommendation
        return {
            "kind": kind,
            "seq": self._seq,
            "end": round(fold.last_t_s, 2),
            "share_from": first[0],
            "share": [
                [round(t, 2), _percent(low), _percent(high)]
                for t, low, high in fold.share.rows()[first[0] :]
            ],
            "memory_from": first[1],
            "memory": [_memory_row(row) for row in fold.memory.rows()[first[1] :]],
            **self._further(kind),
            "windows": [[round(w.from_s, 2), round(w.to_s, 2)] for w in fold.windows if not w.void],
            "target": _percent(advice.target_ratio) if advice else None,
            "finished": fold.finished is not None,
            "answer": self._answer(kind),
            **self._drawn(kind),
        }

    def _run(self) -> Run:
        run = self._fold.record(live=True)
        return replace(run, verified=self._verified) if run.on_one_gpu else run

    def _drawn(self, kind: str) -> dict[str, str]:
        """Return the picture of what fewer SMs cost: in keyframes, and where it is a new one."""
        advice = self._fold.recommendation
        if self._fold.started is None or advice is None or advice.geometry is None:
            return {}
        of = (advice.geometry, advice.target_ratio, advice.slowdown)
        same = of == self._curve[0]
        if not same:
            self._curve = of, figures.curve_svg(self._run())
        return {"curve": self._curve[1]} if kind == "key" or not same else {}

    def _answer(self, kind: str) -> dict[str, Any] | None:
        """Return the card; without its details but in a keyframe, and None where it is the same.

        Of readings alone only its seconds change: it is then made anew once a second.
        """
        early = kind == "delta" and not self._news and self._seq % FURTHER_EVERY != 0
        if self._fold.started is None or early:
            return None
        made: dict[str, Any] = without_nan(answer(self._run()).as_dict())
        details = made.pop("details")
        same, self._said = made == self._said, made
        if kind == "key":
            return {**made, "details": details}
        return None if same else made

    def _further(self, kind: str) -> dict[str, Any]:
        """Return the names of the devices, and the lines of those beside the first."""
        fold = self._fold
        due = kind == "key" or self._seq % FURTHER_EVERY == 0
        if fold.started is None or not fold.further or not due:
            return {}
        lines = [
            [
                words.device(series, fold.started),
                [[round(t, 1), _percent(high)] for t, _, high in history.rows()],
            ]
            for series, history in fold.further.items()
        ]
        return {"first": words.device(fold.started.share, fold.started), "further": lines}


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None or math.isnan(ratio) else round(100 * ratio, 1)


def _memory_row(row: Row) -> list[float | None]:
    time_s, _, high = row
    return [round(time_s, 2), None if math.isnan(high) else round(high / (1 << 20), 1)]


# ---- the widget --------------------------------------------------------------------------------


SOURCE = (Path(__file__).parent / "charts" / "view.js").read_text(encoding="utf-8")
"""The view as text: from a file anywidget would start to watch that file."""
MAX_LIVE = 8
RUN_MIME = "application/vnd.gpupredict.run+json"
"""By which the panel's page knows whose live view this was, once the view is gone."""
_live: OrderedDict[str, LiveWidget] = OrderedDict()


class LiveWidget(anywidget.AnyWidget):  # type: ignore[misc]  # ships no types
    """One run's live view. The frame is built when it is asked for, so nothing is kept twice."""

    _esm = SOURCE
    figure = traitlets.Dict().tag(sync=True)
    bokeh_version = traitlets.Unicode().tag(sync=True)
    ui = traitlets.Unicode("bokeh").tag(sync=True)
    pushes = traitlets.Bool(False).tag(sync=True)
    """Whether the kernel sends BokehJS itself, for pages that no Jupyter Server of ours serves."""
    frame = traitlets.Any().tag(sync=True, to_json=lambda value, widget: widget.whole_frame())

    session_id = ""

    def __init__(self, publisher_of: Any, **traits: Any) -> None:
        self._publisher_of = publisher_of
        super().__init__(**traits)

    def whole_frame(self) -> dict[str, Any]:
        """Return the frame that a page which asks for the state gets."""
        frame: dict[str, Any] = self._publisher_of().keyframe()
        return frame

    def push(self, frame: dict[str, Any]) -> None:
        """Send one frame, before the first one BokehJS; the last also renews the synced trait."""
        if self.pushes and frame["seq"] == 0:
            self.send({"kind": "bokehjs"}, [figures.script()])
        self.send(frame)
        if frame["finished"]:
            self.send_state("frame")

    def close(self) -> None:
        """Close the widget with its layout, a widget of its own that would stay behind."""
        layout = self.layout
        super().close()
        if layout is not None:
            layout.close()

    def __repr__(self) -> str:
        of = self.session_id[-4:]
        return f"gpupredict live view; `%gpupredict show {of}` says what became of the run"

    def _repr_mimebundle_(self, **_: Any) -> Any:
        bundle = super()._repr_mimebundle_()
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        data["text/plain"] = repr(self)
        data[RUN_MIME] = {"session_id": self.session_id}
        return bundle


class StillChart(anywidget.AnyWidget):  # type: ignore[misc]  # ships no types
    """A chart that does not change, such as a sweep's."""

    _esm = SOURCE
    figure = traitlets.Dict().tag(sync=True)
    bokeh_version = traitlets.Unicode().tag(sync=True)
    pushes = traitlets.Bool(False).tag(sync=True)
    still = traitlets.Unicode().tag(sync=True)
    """The same as SVG."""
    words = traitlets.Unicode().tag(sync=True)

    def __repr__(self) -> str:
        return self.words


def show_still(figure: dict[str, Any], svg: str, words: str) -> None:
    """Display a chart that does not change; `svg` is what is seen where there is no BokehJS."""
    chart = StillChart(figure=figure, bokeh_version=figures.version(), still=svg, words=words)
    display(chart)  # type: ignore[no-untyped-call]  # IPython


class WidgetView:
    """A live widget with the publisher that feeds it."""

    live = True

    def __init__(self, cell_key: str, ui: str, *, pushes: bool = False) -> None:
        self._cell_key = cell_key
        self._publisher = Publisher(self)
        self.subscribers: Sequence[Subscriber] = (self._publisher,)
        self._widget = LiveWidget(
            lambda: self._publisher,
            figure=figures.live_item() if ui == "bokeh" else {},
            bokeh_version=figures.version() if ui == "bokeh" else "",
            ui=ui,
            pushes=pushes,
        )

    def push(self, frame: dict[str, Any]) -> None:
        """Hand a frame to the widget; on the delivery thread."""
        self._widget.push(frame)

    def show(self, session_id: str) -> None:
        """Display the widget and close the former one of the same cell; on the main thread."""
        self._widget.session_id = session_id
        _keep(self._cell_key or self._widget.model_id, self._widget)
        display(self._widget)  # type: ignore[no-untyped-call]  # IPython


def _keep(key: str, widget: LiveWidget) -> None:
    former = _live.pop(key, None)
    if former is not None:
        former.close()
    _live[key] = widget
    while len(_live) > MAX_LIVE:
        _live.popitem(last=False)[1].close()


def close_all() -> None:
    """Close every live widget."""
    while _live:
        _live.popitem()[1].close()
