"""The rule that learns from epochs; phases of 8 s training at 0.8 and 2 s validation at 0.3."""

import pytest

from jupyter_gpupredict.core.progress import OTHER, Phase, Progress
from jupyter_gpupredict.core.recommendation import RuleOptions
from jupyter_gpupredict.predict.rules.epoch_mix import EpochMix

OPTIONS = RuleOptions(coverage=0.95, period_s=1.0)


class Loop:
    """Plays epochs second by second and remembers what fired."""

    def __init__(self, total=10, options=OPTIONS, cold=0.8):
        self.rule = EpochMix(options)
        self.total = total
        self.cold = cold
        self.now = 0.0
        self.done = 0
        self.fired = []
        self.tell(Progress(0.0, "epoch", 0, total, "api"))

    def tell(self, mark):
        found = self.rule.mark(mark)
        if found is not None:
            self.fired.append((self.done, found))

    def spend(self, seconds, value):
        for _ in range(seconds):
            self.now += 1.0
            self.rule.update(self.now, value, 1.0)

    def epoch(self, train=0.8, validation=0.3):
        self.tell(Phase(self.now, "train", "api"))
        self.spend(8, self.cold if self.done == 0 else train)
        if validation is not None:
            self.tell(Phase(self.now, "validation", "api"))
            self.spend(2, validation)
        self.done += 1
        self.tell(Progress(self.now, "epoch", self.done, self.total, "api"))


def test_it_fires_when_the_third_epochs_training_has_ended_with_the_whole_runs_mix():
    loop = Loop()
    for _ in range(3):
        loop.epoch()
    (done, early), (_, found) = loop.fired
    # of validation, which is still to come, the second epoch told
    assert (done, early.converged_at_s, early.target_ratio) == (2, 28.0, 0.8)
    assert early.mean_ratio == pytest.approx(0.7)
    assert found.converged_at_s == 30.0
    assert found.target_ratio == 0.8
    # 8 of 10 seconds at .8 and 2 at .3, in every epoch
    assert found.mean_ratio == pytest.approx(0.7)
    assert len(found.values) == 20  # epochs 2 and 3


def test_a_cold_first_epoch_is_part_of_the_run_but_not_of_what_is_still_to_come():
    loop = Loop(cold=0.2)
    for _ in range(3):
        loop.epoch()
    # seen 30 s: 8 at .2, 16 at .8, 6 at .3; to come 70 s: 56 at .8, 14 at .3
    whole = (8 * 0.2 + 72 * 0.8 + 20 * 0.3) / 100
    assert loop.fired[0][1].mean_ratio == pytest.approx(whole)
    assert whole == pytest.approx(0.652)  # the learned epochs have .7: 4.8 points off, just near


def test_a_beginning_that_weighs_too_much_is_waited_out():
    loop = Loop(cold=0.0, total=4)
    for _ in range(4):
        loop.epoch()
    # after three of four: (8 * 0 + 24 * .8 + 8 * .3) / 40 = .54, 16 points from the .7 to come
    assert loop.fired == []
    longer = Loop(cold=0.0, total=20)
    for _ in range(4):
        longer.epoch()
    assert [done for done, _ in longer.fired] == [2, 3, 3, 4]


def test_two_epochs_in_all_are_too_few_to_learn_from():
    loop = Loop(total=2)
    loop.epoch()
    loop.epoch()
    assert not loop.rule.knows


def test_epochs_that_differ_hold_it_back():
    loop = Loop()
    for level in (0.8, 0.6, 0.8, 0.6, 0.61):
        loop.epoch(train=level)
    assert [done for done, _ in loop.fired] == [4, 5]


def test_validation_in_the_middle_of_training_does_not_end_an_epoch():
    loop = Loop()
    for _ in range(3):
        loop.tell(Phase(loop.now, "train", "api"))
        loop.spend(4, 0.8)
        loop.tell(Phase(loop.now, "validation", "api"))
        loop.spend(1, 0.3)
        loop.epoch(validation=0.3)  # eight more of training, two of validation
    # of 15 s five were seen when the first validation began, 13 when the second did
    assert [found.converged_at_s for _, found in loop.fired] == [43.0, 45.0]


def test_an_open_epoch_does_not_count_where_what_is_to_come_is_unlike_the_run():
    loop = Loop(total=4, cold=0.5)
    for _ in range(3):
        loop.epoch(train=0.5, validation=0.95)
    # to come are 8 s at .5 and, of two epochs, 4 s at .95: .65, and .59 of the whole run
    assert [done for done, _ in loop.fired] == [3]
    longer = Loop(total=6, cold=0.5)
    for _ in range(3):
        longer.epoch(train=0.5, validation=0.95)
    assert [done for done, _ in longer.fired] == [2, 3]  # .61 is near enough
    shorter = Loop(total=3, cold=0.5)
    for _ in range(3):
        shorter.epoch(train=0.5, validation=0.95)
    assert [done for done, _ in shorter.fired] == [3]  # .95 alone is to come


def test_a_phase_that_ran_only_in_the_cold_epoch_holds_it_back_and_is_named():
    loop = Loop()
    loop.epoch()
    for _ in range(3):
        loop.epoch(validation=None)
    assert loop.fired == []
    assert loop.rule.lacking() == ("validation",)
    loop.epoch()
    loop.epoch()
    assert loop.rule.lacking() == ()


def test_validation_every_other_epoch_is_weighted_by_how_often_it_comes():
    loop = Loop(total=100)
    for number in range(9):
        loop.epoch(validation=0.3 if number % 2 else None)
    found = loop.rule.predict()
    # learned epochs 2..9: 8 x 8 s of training, 4 x 2 s of validation: .8 * 64 + .3 * 8 over 72
    assert found.mean_ratio == pytest.approx((0.8 * 64 + 0.3 * 8) / 72, abs=0.002)


def test_the_rest_of_the_run():
    loop = Loop()
    assert loop.rule.remaining(0.0) is None
    loop.epoch()
    assert loop.rule.remaining(10.0).expected_s == pytest.approx(90.0)
    loop.epoch()
    loop.epoch()
    loop.tell(Phase(30.0, "train", "api"))
    loop.spend(3, 0.8)
    rest = loop.rule.remaining(33.0)
    assert rest.expected_s == pytest.approx(67.0)  # 5 + 2 of this epoch, 60 of the six after it
    assert (rest.low_s, rest.high_s) == (pytest.approx(67.0), pytest.approx(67.0))


def test_without_a_total_it_does_not_decide():
    loop = Loop(total=None)
    for _ in range(5):
        loop.epoch()
    assert not loop.rule.knows
    assert loop.fired == []


def test_the_total_may_come_from_an_option():
    loop = Loop(total=None, options=RuleOptions(coverage=0.95, period_s=1.0, epochs=10))
    for _ in range(3):
        loop.epoch()
    assert [done for done, _ in loop.fired] == [2, 3]


def test_a_new_loop_begins_anew():
    loop = Loop()
    for _ in range(3):
        loop.epoch()
    loop.done = 0
    loop.tell(Progress(loop.now, "epoch", 0, 10, "api"))
    before = len(loop.fired)
    loop.epoch()
    loop.epoch()
    assert len(loop.fired) == before
    loop.epoch()
    assert len(loop.fired) == before + 2


def test_steps_with_validation_between_make_epochs_of_their_own():
    rule = EpochMix(OPTIONS)
    now, fired = 0.0, []
    rule.mark(Progress(0.0, "step", 0, 1000, "api"))
    for cycle in range(4):
        for second in range(8):
            now += 1.0
            rule.update(now, 0.8, 1.0)
            rule.mark(Progress(now, "step", 80 * cycle + 10 * (second + 1), 1000, "api"))
        rule.mark(Phase(now, "validation", "api"))
        for _ in range(2):
            now += 1.0
            rule.update(now, 0.3, 1.0)
        fired.append(rule.mark(Phase(now, OTHER, "api")))
    assert [found is not None for found in fired] == [False, False, True, True]
    assert fired[2].mean_ratio == pytest.approx(0.7)
    # 320 of 1000 steps done, 80 a cycle of 10 s: 8.5 cycles left
    assert rule.remaining(now).expected_s == pytest.approx(85.0)


def test_the_guard_may_allow_a_phase_what_it_was_seen_to_exceed():
    loop = Loop()
    for _ in range(3):
        loop.epoch(train=0.2, validation=0.9)  # validation is a fifth of the time: it counts
    assert loop.fired[0][1].target_ratio == 0.9
    rare = Loop(total=100)
    for _ in range(3):
        rare.tell(Phase(rare.now, "train", "api"))
        rare.spend(98, 0.2)
        rare.tell(Phase(rare.now, "checkpoint", "api"))
        rare.spend(2, 0.9)
        rare.done += 1
        rare.tell(Progress(rare.now, "epoch", rare.done, 100, "api"))
    found = rare.fired[0][1]
    assert found.target_ratio == 0.2  # two percent of the time lie above
    assert found.allowed_exceedance == {"train": 0.1, "checkpoint": pytest.approx(1.05)}
