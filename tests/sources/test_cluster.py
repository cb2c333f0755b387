"""The cluster as a source, with workers in this very process."""

import time

import pytest

from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.run import SessionConfig, adapters
from jupyter_gpupredict.sources.cluster import HELLO_S, ClusterSource
from jupyter_gpupredict.sources.driver import nvml
from jupyter_gpupredict.sources.node import Node


class Near:
    """An engine of two workers."""

    def start(self, sources, on_message):
        self.nodes = {address: Node(sources) for address in ("a1", "a2")}
        for address, node in self.nodes.items():
            node.start(address, address, on_message)

    def tend(self, table):
        return {address: node.tend(table.get(address)) for address, node in self.nodes.items()}

    def stop(self):
        for node in self.nodes.values():
            node.stop("over")


def test_workers_whose_drivers_do_not_answer_are_not_waited_for(driver, monkeypatch):
    monkeypatch.setattr(adapters, "HELLO_S", 0.1)
    monkeypatch.setattr(nvml, "ANSWER_S", 0.1)
    sources = adapters.WorkerSources(SessionConfig(source="nvml"))
    source = ClusterSource(Near(), sources, SystemClock())
    driver.hang("nvmlInitWithFlags")
    began_s = time.monotonic()
    with pytest.raises(SourceUnavailable, match="has not answered"):
        source.open()
    assert time.monotonic() - began_s < HELLO_S / 2
    driver.heal()
    while True:  # until the call that hung has returned
        try:
            info = source.open()
        except SourceUnavailable:
            continue
        break
    assert (info.source, len(info.devices)) == ("nvml", 1)
    source.close()
