"""The sampler on the workers of a Dask cluster: a plugin, reached through the scheduler.

Workers send by `log_event`, which is safe from any thread and arrives while every worker holds the
GIL; they are asked by `run`, which they answer on their own event loop. No task is scheduled.
"""

from __future__ import annotations

import functools
import gc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import distributed
from distributed.diagnostics.plugin import WorkerPlugin

from jupyter_gpupredict.core.errors import SourceLost, SourceUnavailable
from jupyter_gpupredict.sources.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jupyter_gpupredict.sources.messages import Duty, Message, NodeSources

CONNECT_S = 5.0


def connected(cluster: Any, timeout_s: float) -> Any:
    """Return a client of a cluster or of the scheduler at an address; None if none answers.

    What was made of a client in vain closes itself once it is collected. That happens here: if it
    came while another one starts, it would wait for a lock that its own thread holds.
    """
    with suppress(OSError, ValueError, TypeError):
        return distributed.Client(cluster, timeout=timeout_s, set_as_default=False)
    gc.collect()
    return None


class DaskEngine:
    """One session on a cluster: a scheduler's address, a Dask `Client`, or a cluster object.

    The session is part of the names of topic and plugin, so that two notebooks do not meet.
    """

    def __init__(self, cluster: Any, session: str) -> None:
        self._cluster = cluster
        self._name = f"gpupredict-{session}"
        self._client: Any = None
        self._ours = False

    def start(self, sources: NodeSources, on_message: Callable[[Message], None]) -> None:
        """As `sources.messages.Engine`."""
        client = self._cluster
        self._ours = not isinstance(client, distributed.Client)
        if self._ours:
            client = connected(client, CONNECT_S)
            if client is None:
                message = f"no Dask scheduler answers at {self._cluster}"
                raise SourceUnavailable(message, "--cluster tcp://HOST:8786")
        elif client.asynchronous:
            message = "an asynchronous Dask client cannot be asked"
            raise SourceUnavailable(message, "give the scheduler's address")
        self._client = client
        client.subscribe_topic(self._name, lambda event: on_message(event[1]))
        try:
            client.register_plugin(_NodePlugin(self._name, Node(sources)), name=self._name)
        except ModuleNotFoundError:
            pass  # on some worker: it sends no hello, and is reported as not sampled
        except (OSError, ValueError) as error:
            raise SourceUnavailable(f"the Dask cluster does not answer: {error}", "") from error

    def tend(self, table: Mapping[str, Duty]) -> Mapping[str, float | None]:
        """As `sources.messages.Engine`."""
        client = self._client
        if client.status != "running":
            raise SourceLost("the Dask scheduler is gone", "", "device_lost")
        try:
            answers = client.run(_tend, self._name, dict(table), on_error="return")
        except OSError as error:
            raise SourceLost("the Dask scheduler is gone", "", "device_lost") from error
        return {
            address: answer if isinstance(answer, float) else None
            for address, answer in answers.items()
            if not isinstance(answer, OSError)  # then it has left
        }

    def stop(self) -> None:
        """As `sources.messages.Engine`."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            if client.status == "running":
                client.unsubscribe_topic(self._name)
                client.unregister_worker_plugin(self._name)
        except (OSError, ValueError, RuntimeError):
            pass  # the lease ends what cannot be reached
        finally:
            if self._ours:
                client.close(timeout=1.0)


class _NodePlugin(WorkerPlugin):  # type: ignore[misc]  # distributed is not typed here
    """Starts the sampler with a worker, and ends it."""

    def __init__(self, topic: str, node: Node) -> None:
        self.name, self.node = topic, node

    def setup(self, worker: Any) -> None:
        send = functools.partial(worker.log_event, self.name)
        self.node.start(worker.address, str(worker.name), send)

    def teardown(self, worker: Any) -> None:
        self.node.stop("the worker closes")


def _tend(name: str, table: Mapping[str, Duty], dask_worker: Any = None) -> float | None:
    """Renew the lease of the sampler of the worker that this runs on."""
    plugin: _NodePlugin | None = dask_worker.plugins.get(name)
    return None if plugin is None else plugin.node.tend(table.get(dask_worker.address))
