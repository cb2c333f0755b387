"""The sampler on ipyparallel engines: started before the cell, read from what it publishes.

An engine does one thing at a time, so nothing can be asked of it while the cell runs there: devices
are assigned and clocks compared before, and a renewal waits until the engine is free. The sampler's
messages are published under the header of the request that started it, and arrive in that request's
metadata, which shows only the newest publication: each repeats the ones before. (The request's own
`data` does not change once it is answered.)
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import ipyparallel

from jupyter_gpupredict.core.errors import SourceLost, SourceUnavailable
from jupyter_gpupredict.sources.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import FrameType

    from jupyter_gpupredict.sources.messages import Duty, Message, NodeSources

BEGIN_S = 5.0
"""An engine that is busy before the cell begins is waited for no longer."""
ANSWER_S = 0.5
POLL_S = 0.05
REPEATED_S = 2.0
"""One publication holds the messages of so long a time."""
STOP_S = 1.5
_REQUESTS = {"execute_request", "apply_request", "do_execute", "do_apply"}
"""Functions on the main thread's stack of an engine that is at work."""


class IppEngine:
    """One notebook's session on the engines of an ipyparallel `Client`, or of a view of some."""

    def __init__(self, target: Any, session: str) -> None:
        self._client = getattr(target, "client", target)
        targets = getattr(target, "targets", None)
        numbers = [targets] if isinstance(targets, int) else targets
        self._wanted = None if numbers in (None, "all") else {int(one) for one in numbers}
        self._session = session
        self._begun: dict[int, Any] = {}
        """Engine -> the request that started the sampler there."""
        self._asked: dict[int, Any] = {}
        """Engine -> a request that waits until it is free."""
        self._texts: dict[int, str] = {}
        """Engine -> the newest publication taken."""
        self._seen: dict[int, int] = {}
        """Engine -> number of its newest message."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, sources: NodeSources, on_message: Callable[[Message], None]) -> None:
        """As `messages.Engine`."""
        self._node, self._on_message = Node(sources), on_message
        ids = self._ids()
        if not ids:
            raise SourceUnavailable("ipyparallel has no engines", "ipcluster start -n 4")
        self._stop.clear()
        self._begin(ids)
        with contextlib.suppress(Exception):  # of one engine: it is reported as not sampled
            for request in self._begun.values():
                request.wait(BEGIN_S)
        self._thread = threading.Thread(target=self._poll, name="gpupredict-poll", daemon=True)
        self._thread.start()

    def tend(self, table: Mapping[str, Duty]) -> Mapping[str, float | None]:
        """As `messages.Engine`; NaN for an engine that is there and busy."""
        ids = self._ids()
        if not ids:
            raise SourceLost("the ipyparallel engines are gone", "", "device_lost")
        self._begin([one for one in ids if one not in self._begun])
        for one in ids:
            if one not in self._asked:
                duty = table.get(_address(one))
                self._asked[one] = self._client[one].apply_async(_tend, self._session, duty)
        until_s = time.monotonic() + ANSWER_S
        answers: dict[str, float | None] = {}
        for one in ids:
            answers[_address(one)] = math.nan
            request = self._asked[one]
            request.wait(max(0.0, until_s - time.monotonic()))
            if request.ready():
                del self._asked[one]
                try:
                    answers[_address(one)] = request.get(0)
                except (ipyparallel.error.RemoteError, ipyparallel.error.EngineError, TimeoutError):
                    answers[_address(one)] = None
        return answers

    def stop(self) -> None:
        """As `messages.Engine`."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(1.0)
            self._thread = None
        with contextlib.suppress(Exception):  # border: the lease ends what cannot be reached
            ids = [one for one in self._ids() if one in self._begun]
            requests = [self._client[one].apply_async(_end, self._session) for one in ids]
            until_s = time.monotonic() + STOP_S
            for request in requests:
                request.wait(max(0.0, until_s - time.monotonic()))
        for held in (self._begun, self._asked, self._seen, self._texts):
            held.clear()

    def _ids(self) -> list[int]:
        return [one for one in self._client.ids if self._wanted is None or one in self._wanted]

    def _begin(self, ids: Sequence[int]) -> None:
        for one in ids:
            given = self._session, self._node, _address(one)
            self._begun[one] = self._client[one].apply_async(_begin, *given)

    def _poll(self) -> None:
        """Take what has been published, on a separate thread."""
        while not self._stop.wait(POLL_S):
            for one, request in tuple(self._begun.items()):
                try:
                    text = self._client.metadata[request.msg_ids[0]]["data"]["gpupredict"]
                    if text is self._texts.get(one):
                        continue
                    self._texts[one] = text
                    said = json.loads(text)
                    first, messages = int(said["first"]), list(said["messages"])
                except (KeyError, TypeError, ValueError, AttributeError):
                    continue  # nothing yet, or nothing of ours
                seen = self._seen.get(one, -1)
                for number, message in enumerate(messages, start=first):
                    if number > seen:
                        self._on_message(message)
                self._seen[one] = max(seen, first + len(messages) - 1)


def _address(engine: int) -> str:
    return f"engine-{engine}"


_NODES: dict[str, Node] = {}
"""Session -> its sampler; this and all that follows is used on the engine."""


class _Publisher:
    """Publishes messages under the header of the request that is served now."""

    def __init__(self) -> None:
        from ipykernel.zmqshell import ZMQInteractiveShell
        from ipyparallel.serialize import serialize_object

        self._serialized = serialize_object
        serialize_object({"": ""})  # fills its own table, which two threads must not do at once
        self._data = ZMQInteractiveShell.instance().data_pub
        self._parent = self._data.parent_header  # a later request will put its own there
        self._recent: deque[tuple[float, Message]] = deque()
        self._count = 0

    def __call__(self, message: Message) -> None:
        now_s = time.monotonic()
        self._recent.append((now_s, message))
        self._count += 1
        while now_s - self._recent[0][0] > REPEATED_S:
            self._recent.popleft()
        messages = [one for _, one in self._recent]
        said = {"first": self._count - len(messages), "messages": messages}
        data = {"gpupredict": json.dumps(said)}
        self._data.session.send(
            self._data.pub_socket,
            "data_message",
            content={"keys": list(data)},
            parent=self._parent,
            buffers=self._serialized(data),
            ident=self._data.topic,
        )


def _begin(session: str, node: Node, address: str) -> bool:
    _end(session)
    _NODES[session] = node
    node.start(address, address, _Publisher(), busy=_busy)
    return True


def _tend(session: str, duty: Duty | None) -> float | None:
    node = _NODES.get(session)
    return None if node is None else node.tend(duty)


def _end(session: str) -> None:
    node = _NODES.pop(session, None)
    if node is not None:
        node.stop("the cell has ended")


def _busy() -> bool:
    """Return whether the engine is at work; called on another thread."""
    main = threading.main_thread().ident
    frame: FrameType | None = sys._current_frames().get(main or 0)
    while frame is not None:
        if frame.f_code.co_name in _REQUESTS:
            return True
        frame = frame.f_back
    return False
