import os
import subprocess
import sys

import pytest

from jupyter_gpupredict.sources.driver.processes import DeviceProcesses, Family


@pytest.fixture
def sleeper():
    """A process with a tree of its own."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n")


class Listing:
    """A driver that lists these processes, with 100 bytes each."""

    def __init__(self, *pids):
        self.pids = pids

    def process_memory_bytes(self, uuid):
        return dict.fromkeys(self.pids, 100.0)

    def mps_pids(self, uuid):
        return frozenset()


def test_peers_come_and_go(sleeper):
    peers = []
    family = Family(peers=lambda: peers)
    (own,) = family.trees()
    assert own.pids() >= {os.getpid()}
    peers.append(sleeper.pid)
    first, second = family.trees()
    assert first is own
    assert second.pids() == {sleeper.pid}
    assert family.trees() == (first, second)  # the same objects while nothing changes
    peers.clear()
    assert family.trees() == (own,)
    family.close()
    family.close()


def test_a_peer_that_has_ended_is_left_out():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    family = Family(peers=lambda: [ended.pid])
    assert len(family.trees()) == 1
    family.close()


def test_a_peer_outside_the_tree_is_no_stranger(sleeper):
    users = DeviceProcesses(Listing(os.getpid(), sleeper.pid), "GPU-1")
    peers = []
    family = Family(root_pid=sleeper.pid, peers=lambda: peers)
    alone = users.count(family.trees(), 0.0)
    assert alone["own_process_count"] == 1
    assert alone["process_memory_used_bytes"] == 100.0
    peers.append(os.getpid())
    together = users.count(family.trees(), 100.0)
    family.close()
    assert together["own_process_count"] == 2
    assert together["process_memory_used_bytes"] == 200.0
