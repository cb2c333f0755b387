"""What a session makes of a cap, known from the beginning or found at the end."""

import dataclasses
from types import SimpleNamespace

import pytest

from jupyter_gpupredict.core.events import ShareApplied, StateChanged
from jupyter_gpupredict.core.recommendation import AppliedShare, MemoryEstimate, judged
from jupyter_gpupredict.core.series import Batch, Device, Readings, Series, SourceInfo
from jupyter_gpupredict.core.trace import event_to_json
from tests.run.test_session import SHARE, Listener, ScriptedSource, session
from tests.traces import read_trace

CAPPED = AppliedShare(True, 37, None, "/run/x", False, True, 48, 132)
FREE = AppliedShare(True, None, None, "/run/x", False, True, 132, 132)


class Hold:
    def __init__(self, begins, ends):
        self._begins, self._ends = begins, ends

    def begin(self):
        return self._begins

    def end(self):
        return self._ends


class Minutes(ScriptedSource):
    """Gives five steady minutes at once."""

    def read(self, *, slow):
        now_s = self.clock.monotonic_s()
        times_s = tuple(now_s - 300.0 + second for second in range(1, 301))
        return Batch((Readings(SHARE, times_s, (0.5,) * 300),))


def measured(clock, begins, ends):
    heard = Listener()
    run, delivery = session(clock, Minutes(clock), heard, share=Hold(begins, ends))
    run.start()
    clock.advance(301.0)
    found = run.stop("completed")
    delivery.shutdown()
    states = [event.new for event in heard.events if isinstance(event, StateChanged)]
    shares = [event.share for event in heard.events if isinstance(event, ShareApplied)]
    return found, states, shares, heard.events[-1]


def test_without_a_cap_the_run_converges(clock):
    found, states, shares, finished = measured(clock, FREE, FREE)
    assert states == ["watching", "converged"]
    assert shares == [FREE]  # one event: nothing changed
    assert (found.capped, found.recommendation.target_ratio) == (False, 0.5)
    assert finished.profile is not None


def test_a_cap_known_from_the_beginning(clock):
    found, states, _, finished = measured(clock, CAPPED, CAPPED)
    assert states == ["watching"]
    assert found.recommendation.state == "abstained"
    assert found.recommendation.target_ratio is None
    assert found.recommendation.mean_ratio == 0.5  # what was seen is shown
    assert finished.profile is None


def test_a_cap_found_at_the_end_withdraws_what_was_said(clock):
    found, states, shares, finished = measured(clock, None, CAPPED)
    assert states == ["watching", "converged", "abstained"]
    assert shares == [CAPPED]
    assert "capped at 48 of 132 SMs" in found.states[-1].reason
    assert (found.capped, found.recommendation.confidence) == (True, None)
    assert finished.profile is None


def test_nothing_is_told_where_there_is_nothing(clock):
    found, _, shares, _ = measured(clock, None, None)
    assert (shares, found.applied) == ([], None)


MEMORY = Series("process_memory_used_bytes", "g")
LIMIT_MIB = 5874


class Hungry(ScriptedSource):
    """A framework that takes nearly all that it can get, on a card of 80 GiB."""

    def __init__(self, clock, *, share):
        super().__init__(clock)
        self._peak_bytes = share * (LIMIT_MIB << 20)

    def open(self):
        devices = (Device("g", "G", memory_total_bytes=80 << 30),)
        return SourceInfo("scripted", devices, (SHARE, MEMORY), SHARE, MEMORY, 3600.0)

    def read(self, *, slow):
        now_s = self.clock.monotonic_s()
        times_s = tuple(now_s - 400.0 + second for second in range(1, 401))
        low, high = 0.1 * self._peak_bytes, self._peak_bytes
        used = tuple(low if second < 2 else high for second in range(400))
        return Batch(
            (Readings(SHARE, times_s, (0.5,) * 400), Readings(MEMORY, times_s, used)),
        )


@pytest.mark.parametrize(("taken", "known"), [(0.98, False), (0.8, True)])
def test_a_peak_at_the_memory_limit_is_no_need(clock, taken, known):
    limited = dataclasses.replace(FREE, memory_limit_bytes=LIMIT_MIB << 20)
    heard, source = Listener(), Hungry(clock, share=taken)
    run, delivery = session(clock, source, heard, share=Hold(limited, limited))
    run.start()
    clock.advance(401.0)
    found = run.stop("completed")
    delivery.shutdown()
    assert (found.recommendation.state, found.recommendation.target_ratio) == ("converged", 0.5)
    memory = found.recommendation.memory
    assert memory.peak_bytes == taken * (LIMIT_MIB << 20)
    assert (memory.target_bytes is not None) is known
    assert ("memory limit" in memory.reason) is not known
    # and its trace tells no more than the run did
    lines = [event_to_json(event) + "\n" for event in heard.events]
    recorded = read_trace(lines, "x.jsonl")
    assert (recorded.memory_series() is not None) is known
    assert any("limit" in note for note in recorded.notes) is not known


def test_a_limit_says_nothing_of_the_hosts_memory():
    rss = MemoryEstimate(6e9, 7e9, "rss", "old enough")
    told = SimpleNamespace(memory=rss)
    limited = dataclasses.replace(FREE, memory_limit_bytes=1 << 30)
    assert judged(told, limited) is told
