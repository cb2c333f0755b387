"""Earlier runs: blocks of 30 s at 1 Hz. A run of two regimes, 40 % for 2 minutes, then 80 %."""

import pytest

from jupyter_gpupredict.predict.prior import MAX_BLOCKS, PriorTest, ProfileBuilder

STEP = [0.4] * 120 + [0.8] * 600


def build(values):
    builder = ProfileBuilder(0.0, 1.0, 0.95)
    blocks = []
    for second, value in enumerate(values, 1):
        blocks += builder.add(float(second), value, 1.0)
    return builder.profile(), blocks


def compared(former, values):
    """Return (seconds, estimate) at which the prior fires; None when it never does."""
    profile, _ = build(former)
    test = PriorTest(profile, 0.95)
    for block in build(values)[1]:
        found = test.update(block)
        if found is not None:
            return found
    return None


def test_a_profile_keeps_the_first_blocks_and_the_rest_together():
    profile, _ = build([0.5] * 30 + [0.7] * (30 * MAX_BLOCKS + 45))
    assert len(profile.blocks) == MAX_BLOCKS
    assert profile.blocks[0].bins == ((50, 30.0),)
    assert profile.rest.seconds == pytest.approx(75.0)  # one block and the open half of another
    assert profile.active_s == pytest.approx(30 * MAX_BLOCKS + 75)


def test_a_run_that_goes_alike_knows_the_regime_to_come_after_a_minute():
    found = compared(STEP, STEP)
    assert found.converged_at_s == 60.0
    # to come: 60 s at 40 %, 600 s at 80 %: covering usage 80, two points of tolerance on top
    assert found.target_ratio == 0.82
    assert found.mean_ratio == pytest.approx((60 * 0.4 + 600 * 0.8) / 660)
    assert len(found.values) == 60


def test_a_run_that_goes_another_way_gets_nothing():
    assert compared(STEP, [0.9] * 700) is None


def test_one_minute_alike_by_chance_is_not_enough():
    # the second minute and on are alike, but the first was so different that the whole is not
    assert compared([0.0] * 60 + [0.8] * 600, [0.8] * 660) is None
    # while a start that differs a little is forgiven
    found = compared([0.74] * 30 + [0.8] * 600, [0.8] * 660)
    assert found.converged_at_s == 90.0


def test_a_run_longer_than_the_former_one_gets_nothing_beyond_it():
    assert compared([0.5] * 59, [0.5] * 400) is None


def test_blocks_with_holes_or_of_another_length_are_not_compared():
    profile, _ = build(STEP)
    test = PriorTest(profile, 0.95)
    slow = ProfileBuilder(0.0, 10.0, 0.95)  # blocks of 100 s
    assert all(
        test.update(block) is None
        for second in range(10, 700, 10)
        for block in slow.add(float(second), 0.4, 10.0)
    )
    holes = PriorTest(profile, 0.95)
    builder = ProfileBuilder(0.0, 1.0, 0.95)
    fired = []
    for second in range(1, 200, 3):  # a third of the readings
        fired += [holes.update(block) for block in builder.add(float(second), 0.4, 1.0)]
    assert not any(fired)
