"""The shipped checks: our own adapters pass them, and what is broken does not."""

import copy
import io
import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from tqdm import tqdm
from tqdm.std import tqdm as base

from jupyter_gpupredict import registry
from jupyter_gpupredict.core.errors import SourceUnavailable
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.series import (
    Batch,
    Device,
    Readings,
    ReadOptions,
    Series,
    SourceInfo,
    SourceOptions,
    Unavailable,
)
from jupyter_gpupredict.export.deployment import Capability, Hosting
from jupyter_gpupredict.export.platforms.ecs import EcsMps
from jupyter_gpupredict.export.platforms.knative import Knative
from jupyter_gpupredict.export.sharing.hami import Hami
from jupyter_gpupredict.predict.rules.windows import WindowsRule
from jupyter_gpupredict.run.hints.tqdm import TqdmHint
from jupyter_gpupredict.sources.telemetry.cpu import CpuSource
from jupyter_gpupredict.sources.telemetry.nvml import GpmSource, NvmlSource
from jupyter_gpupredict.sources.telemetry.simulated import ReplaySource, SyntheticSource
from jupyter_gpupredict.testing import (
    check_hint,
    check_reader,
    check_rule,
    check_sharing,
    check_source,
    check_workload,
)
from tests.fake_nvml.scenario import FakeGpu, Script


def burn():
    sum(range(2_000_000))


def test_the_machines_own_source():
    info = check_source(lambda: CpuSource(SourceOptions(), SystemClock()), between=burn)
    assert (info.source, info.scope) == ("cpu", "process_tree")


def test_made_and_recorded_readings(clock, tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("t_s,gpu_util_pct\n" + "".join(f"{t},{40 + t % 3}\n" for t in range(9)))
    replayed = SourceOptions(path=str(trace), speed=0.0)
    for make in (
        lambda: SyntheticSource(SourceOptions(), clock),
        lambda: ReplaySource(replayed, clock),
    ):
        assert check_source(make, between=lambda: clock.advance(1.0)).simulated


@pytest.mark.parametrize("kind", [NvmlSource, GpmSource])
def test_the_drivers_sources(driver, clock, kind):
    driver.play(Script([FakeGpu(gpm=True)]))
    check_source(lambda: kind(SourceOptions(), clock), between=lambda: driver.tick(0.5))


def test_a_source_that_cannot_be_used_refuses(driver, clock):
    driver.play(Script([]))
    check_source(lambda: NvmlSource(SourceOptions(), clock), works=False)


class Broken:
    """A source with one thing wrong."""

    share = Series("gpu_util_ratio", "GPU-1")

    def __init__(self, **wrong):
        self.wrong = wrong
        self.now_s = itertools.count(1.0)

    def open(self):
        if "refuses" in self.wrong:
            raise SourceUnavailable("no such device", "no_device")
        return SourceInfo(
            source="broken",
            devices=(Device("GPU-1", "a device"),),
            series=(self.wrong.get("series", self.share),),
            share=self.share,
            memory=None,
            period_s=self.wrong.get("period_s", 1.0),
        )

    def read(self, *, slow):
        readings = Readings(
            self.wrong.get("of", self.share),
            (self.wrong.get("time_s", next(self.now_s)),),
            (self.wrong.get("value", 0.5),),
        )
        lacks = (Unavailable(self.share, self.wrong["reason"]),) if "reason" in self.wrong else ()
        return Batch((readings,) if "silent" not in self.wrong else (), lacks)

    def close(self):
        pass


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"refuses": True}, "does not open"),
        ({"period_s": 0.0}, "period_s is 0"),
        ({"series": Series("gpu_util_ratio", "GPU-2")}, "not among the series"),
        ({"of": Series("memory_used_bytes", "GPU-1")}, "was not announced"),
        ({"value": 47.0}, "a ratio is 0 to 1"),
        ({"value": float("inf")}, "a ratio is 0 to 1"),
        ({"time_s": float("nan")}, "a stamp is nan"),
        ({"silent": True}, "no reading of gpu_util_ratio"),
        ({"reason": "because"}, "is not a known reason"),
    ],
)
def test_a_broken_source_is_told_what_is_wrong(wrong, said):
    check_source(Broken)
    with pytest.raises(AssertionError, match=said):
        check_source(lambda: Broken(**wrong))


def test_stamps_that_go_back():
    source = Broken()
    source.now_s = iter((5.0, 4.0))
    with pytest.raises(AssertionError, match="stamps go back"):
        check_source(lambda: source)


SAMPLES = {
    path.stem: path.read_bytes()
    for path in sorted((Path(__file__).parent / "data" / "recordings").iterdir())
}


@pytest.mark.parametrize("name", [name for name in registry.READERS if name != "foreign"])
def test_our_readers(name):
    others = [sample for other, sample in SAMPLES.items() if other != name]
    check_reader(
        registry.load("readers", name),
        SAMPLES[name],
        others=others,
        options=ReadOptions(sms=34, compute_capability="8.9"),
        cuts=20,
    )


class BrokenReader(registry.load("readers", "columns")):
    """A reader with one thing wrong."""

    def __init__(self, label="CSV", **wrong):
        self.label, self.wrong = label, wrong

    def detect(self, content):
        return self.wrong.get("greedy") or super().detect(content)

    def read(self, content, options):
        found = super().read(content, options)
        return replace(found, **self.wrong.get("trace", {}))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"label": ""}, "does not say what it reads"),
        ({"greedy": True}, "takes another format"),
        ({"trace": {"devices": ()}}, "names no device"),
        ({"trace": {"rows": ()}}, "no row was read"),
        ({"trace": {"rows": [(0.0, (0.5, 1.0)), (0.0, (0.5, 1.0))]}}, "times do not rise"),
        ({"trace": {"rows": [(0.0, (50.0, 1.0))]}}, "is 50.0"),
        ({"trace": {"rows": [(0.0, (0.5,))]}}, "one value for each series"),
    ],
)
def test_a_broken_reader_is_told_what_is_wrong(wrong, said):
    sample = b"t_s,gpu_util_pct,mem_used_mib\n0,1,2\n1,50,2\n"
    check_reader(BrokenReader, sample)
    with pytest.raises(AssertionError, match=said):
        check_reader(lambda: BrokenReader(**wrong), sample)


def test_our_rules():
    check_rule(WindowsRule)


class Hasty(WindowsRule):
    def predict(self):
        return super().predict() or self.update(1.0, 0.5, 1.0) or object()


class Never(WindowsRule):
    def update(self, *_, **__):
        return None


def test_a_broken_rule_is_told_what_is_wrong():
    with pytest.raises(AssertionError, match="before the first reading"):
        check_rule(Hasty)
    with pytest.raises(AssertionError, match="does not make it fire in 900 s"):
        check_rule(Never, fires_within_s=900.0)


@pytest.fixture
def no_monitor():
    """tqdm's own thread would be a leak."""
    before, base.monitor_interval = base.monitor_interval, 0
    yield
    base.monitor_interval = before


class Polled(TqdmHint):
    """Looks at each step of the loop below, as the sampler does once a second."""

    attached = None

    def attach(self, sink):
        super().attach(sink)
        Polled.attached = self

    def detach(self):
        super().detach()
        Polled.attached = None


def loop():
    found = 0
    for number in tqdm(range(20), desc="epoch", file=io.StringIO(), mininterval=0, miniters=1):
        found += number
        if Polled.attached is not None:
            try:
                Polled.attached.poll()
            except RuntimeError:
                Polled.attached.detach()
    return found


def test_a_hint_of_ours(no_monitor):
    heard = check_hint(Polled, loop)
    assert heard.progressed[-1][:3] == ("epoch", 20, 20)


class Changing:
    """A hint that changes what the loop computes."""

    module = "tests"
    changed = 0

    def attach(self, sink):
        Changing.changed = 1
        sink.progress("epoch", 1.0, 1.0, "changing")

    def poll(self):
        pass

    def detach(self):
        Changing.changed = 0


def test_a_hint_that_changes_the_loop_is_told():
    with pytest.raises(AssertionError, match="gives something else"):
        check_hint(Changing, lambda: Changing.changed)


def test_a_hint_that_hears_nothing_is_told():
    with pytest.raises(AssertionError, match="no step was reported"):
        check_hint(Changing, lambda: 0, unit="step")


@pytest.mark.parametrize("name", registry.WORKLOADS)
def test_our_workloads(name):
    assert check_workload(registry.load("workloads", name), name=name)


@pytest.mark.parametrize("name", registry.SHARING)
def test_our_sharing_backends(name):
    assert check_sharing(registry.load("sharing", name), name=name)


def edited(make, change):
    """Return a class like another, whose first document is changed."""

    class Edited(make):
        def render(self, plan):
            first, *more = super().render(plan)
            return (change(first), *more)

    return Edited


def within(path, change):
    """Return what changes the mapping at a path of a document."""

    def changed(document):
        content = copy.deepcopy(document.content)
        found = content
        for step in path:
            found = found[step]
        change(found)
        return replace(document, content=content)

    return changed


STAMPS = ("metadata", "annotations")
POD = ("spec", "template", "spec")
ENV = (*POD, "containers", 0)


def judged(make, **changes):
    """Return a workload like another, whose documents are judged in another way."""
    manifests = tuple(replace(one, **changes) for one in make.manifests)
    return type(make.__name__, (make,), {"manifests": manifests})


def blind(found, report):
    """Finds the figures that it expects, whatever stands in the file."""
    for kind in ("sm", "time"):
        if getattr(report.allowed, f"{kind}_percent"):
            report.carried.add(kind)
    report.carried.add("mem")
    report.limit(270, "spec")


class Forgetful(Knative):
    """It carries no figure to the container."""

    def render(self, plan):
        return super().render(replace(plan, patch=replace(
            plan.patch, env=(), limits=()
        )))  # fmt: skip


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (judged(Knative, schema=""), "knative.yaml passes with an unknown field"),
        (judged(Knative, check=blind), r"passes with 38 in the place of 37 at .*env\[0\].value"),
        (judged(Knative, check=None), "applied nowhere"),
        (Forgetful, "applied nowhere"),
        (edited(Knative, within(STAMPS, lambda at: at.pop("jupyter-gpupredict/source"))), "source"),
        (
            edited(
                Knative,
                within(STAMPS, lambda at: at.update({"jupyter-gpupredict/source": "nvml"})),
            ),
            "a simulated run: no file is stamped with the source, synthetic",
        ),
        (
            edited(Knative, within(POD, lambda at: at.update(timeoutSeconds=900))),
            "above the cap",
        ),
        (edited(Knative, within(POD, lambda at: at.update(mistyped=1))), "unknown field"),
        (
            edited(Knative, within(ENV, lambda at: at.update(command=["--user=checked-user"]))),
            "checked-user is written",
        ),
        (
            edited(Knative, lambda one: replace(one, path="../knative.yaml")),
            "is not in the folder",
        ),
        (type("Lost", (Knative,), {"hosting": Hosting("apply deploy/other.yaml")}), "not written"),
        (type("Alone", (Knative,), {"sharing": "ecs-mps"}), "does not go with it"),
        (type("Odd", (Knative,), {"refuses": (("hammi", "no"),)}), "not a sharing backend"),
        (type("Unjudged", (Knative,), {"manifests": ()}), "names no manifests"),
    ],
)
def test_a_broken_workload_is_told_what_is_wrong(make, said):
    with pytest.raises(AssertionError, match=said):
        check_workload(make, name="knative")


class Restless(Knative):
    """No two renderings are the same."""

    count = 0

    def render(self, plan):
        Restless.count += 1
        first, *more = super().render(plan)
        return (replace(first, comments=(str(Restless.count),)), *more)


def test_a_workload_that_renders_differently_each_time():
    with pytest.raises(AssertionError, match="two renderings differ"):
        check_workload(Restless, name="knative")


class Inventive(Hami):
    """It fills in a share that nobody measured."""

    def patch(self, figures, request):
        return super().patch(replace(figures, time_percent=50), request)


class Jealous(Hami):
    def judge(self, pod, report):
        pod.limiter = "jealous"


class Quiet(Hami):
    """It does not look at what it wrote."""

    def judge(self, pod, report):
        pass


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            Inventive,
            "an SM share: .*a figure is applied that the stamp time-percent does not state",
        ),
        (Jealous, "claims a pod that is not its own"),
        (Quiet, "applied nowhere"),
        (type("More", (Hami,), {"expresses": frozenset({"disk"})}), "expresses more than"),
        (type("Nowhere", (EcsMps,), {"needs": frozenset(Capability)}), "goes with no workload"),
    ],
)
def test_a_broken_sharing_backend_is_told_what_is_wrong(make, said):
    with pytest.raises(AssertionError, match=said):
        check_sharing(make, name="hami")
