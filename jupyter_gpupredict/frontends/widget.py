"""The live widget: an anywidget view that draws a Bokeh document, or SVG from the same rows."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets
from IPython.display import display

from jupyter_gpupredict.frontends.charts import figures
from jupyter_gpupredict.frontends.publisher import Publisher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.protocols import Subscriber

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
