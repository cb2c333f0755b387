"""What a session makes of a cap, known from the beginning or found at the end."""

from jupyter_gpupredict.core.events import ShareApplied, StateChanged
from jupyter_gpupredict.core.series import Batch, Readings
from jupyter_gpupredict.core.share import AppliedShare
from tests.session.test_session import SHARE, Listener, ScriptedSource, session

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
    assert shares == [FREE]  # told once: nothing changed
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
