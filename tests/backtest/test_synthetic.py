import hashlib
import itertools
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.backtest import synthetic
from jupyter_gpupredict.core.errors import UnknownName
from jupyter_gpupredict.core.progress import Phase, Progress

RUNS = st.tuples(st.sampled_from(list(synthetic.SCENARIOS)), st.integers(0, 39))


def digest(made):
    return hashlib.sha256(repr((made.trace.rows, made.marks, made.epochs_total)).encode()).digest()


def column(made, index):
    return np.array([values[index] for _, values in made.trace.rows])


@settings(max_examples=30, deadline=None)
@given(RUNS)
def test_the_same_seed_gives_the_same_bytes(chosen):
    assert digest(synthetic.run(*chosen)) == digest(synthetic.run(*chosen))


def test_scenarios_and_seeds_differ():
    found = {digest(synthetic.run(n, s)) for n in synthetic.SCENARIOS for s in range(4)}
    assert len(found) == 4 * len(synthetic.SCENARIOS)


@settings(max_examples=60, deadline=None)
@given(RUNS)
def test_readings_are_what_a_driver_shows(chosen):
    made = synthetic.run(*chosen)
    times = np.array([time_s for time_s, _ in made.trace.rows])
    share, memory = column(made, 0), column(made, 1)
    steps = np.diff(times)
    assert np.allclose(steps, steps[0], atol=1e-6)
    long = chosen[0] in synthetic.LONG
    polls = synthetic.SLOW_POLLS_S if long else synthetic.POLLS_S
    assert min(abs(steps[0] - poll) for poll in polls) < 1e-6
    assert times[-1] <= (synthetic.LONG_S if long else synthetic.LENGTHS_S)[1]
    assert (share.min() >= 0.0, share.max() <= 1.0) == (True, True)
    assert np.allclose(100 * share, np.rint(100 * share))  # whole percent
    assert share[times < 0.9].max(initial=0.0) == 0.0  # it begins idle
    assert share.max() > 0.0
    assert (memory > 0).all()
    assert memory.max() <= synthetic.TOTAL_BYTES
    assert np.array_equal(memory % (1 << 20), np.zeros_like(memory))


@pytest.mark.parametrize("scenario", ["epoch_vlow", "epoch_vhigh"])
@pytest.mark.parametrize("seed", range(5))
def test_epochs_are_told_exactly(scenario, seed):
    made = synthetic.run(scenario, seed)
    times = [mark.time_s for mark in made.marks]
    assert times == sorted(times)
    done = [mark for mark in made.marks if isinstance(mark, Progress)]
    assert [mark.done for mark in done] == list(range(made.epochs_total + 1))
    assert {mark.total for mark in done} == {float(made.epochs_total)}
    names = [mark.name for mark in made.marks if isinstance(mark, Phase)]
    assert names == ["train", "validation", "checkpoint"] * made.epochs_total + ["other"]


def levels(made):
    """Return the mean reading in each phase from the second epoch on."""
    stamps = np.array([time_s for time_s, _ in made.trace.rows])
    share = column(made, 0)
    phases = [mark for mark in made.marks if isinstance(mark, Phase)][3:]
    held = {}
    for begins, ends in itertools.pairwise(phases):
        inside = (stamps > begins.time_s + 1.5) & (stamps <= ends.time_s)
        held.setdefault(begins.name, []).extend(share[inside])
    return {name: np.mean(values) for name, values in held.items() if values}


@pytest.mark.parametrize("seed", range(5))
def test_the_phases_are_where_the_marks_say(seed):
    low, high = (levels(synthetic.run(f"epoch_v{kind}", seed)) for kind in ("low", "high"))
    assert low["validation"] < low["train"]
    assert high["validation"] > high["train"]


def test_scenarios_without_epochs_have_no_marks():
    for scenario in set(synthetic.SCENARIOS) - {"epoch_vlow", "epoch_vhigh"}:
        made = synthetic.run(scenario, 0)
        assert (made.marks, made.epochs_total) == ((), None)


def test_lengths_are_spread_as_they_should_be():
    ends = [synthetic.run("steady", seed).trace.rows[-1][0] for seed in range(40)]
    assert min(ends) >= 600 - 1
    assert max(ends) <= 7200
    # log-uniform from 600 to 7200: half of them lie below sqrt(600 x 7200) = 2078; within 3 sigma
    assert 10 <= sum(end < 2078 for end in ends) <= 30


def test_the_longest_run_is_made_in_no_time(monkeypatch):
    monkeypatch.setattr(synthetic, "POLLS_S", (0.1,))
    monkeypatch.setattr(synthetic, "_log_uniform", lambda draw, low, high: high)
    took = []
    for scenario in ("steady", "epoch_vhigh", "rl"):
        began = time.process_time()
        made = synthetic.run(scenario, 0)
        took.append(time.process_time() - began)
        assert len(made.trace.rows) > 60_000
    assert min(took) < 0.3


def test_an_unknown_scenario_is_refused():
    with pytest.raises(UnknownName, match="stedy"):
        synthetic.run("stedy", 0)
