"""A DCGM exporter's series through Prometheus: recorded answers, faults, and a real server."""

import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import (
    InvalidOption,
    PermissionDenied,
    SourceLost,
    SourceUnavailable,
    TelemetryError,
)
from jupyter_gpupredict.core.protocols import SystemClock
from jupyter_gpupredict.core.series import SourceOptions
from jupyter_gpupredict.frontends.cli import main
from jupyter_gpupredict.run import SessionConfig
from jupyter_gpupredict.sources.driver import prometheus as api
from jupyter_gpupredict.sources.telemetry.prometheus import PrometheusSource
from tests.sources.prometheus_servers import (
    OTHER,
    UUID,
    RealPrometheus,
    Reply,
    Scripted,
    labels,
    matrix,
    scalar,
)

UTIL, ENGINE, SM, USED, POWER = (
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "DCGM_FI_PROF_SM_ACTIVE",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_POWER_USAGE",
)
NOW = 1_800_000_000.0
"""The server's wall clock when a test begins; ours says something else."""


class Fleet:
    """Recorded samples and the server that holds them; its clock moves with ours."""

    def __init__(self, clock):
        self.clock = clock
        self.start_s = clock.now_s
        self.streams = []
        self.fault = None
        self.server = Scripted(self.answer)

    def now_s(self):
        return NOW + self.clock.now_s - self.start_s

    def hold(self, field, samples, **more):
        self.streams.append((labels(field, **more), samples))

    def answer(self, path, query):
        assert path == "/api/v1/query"
        if self.fault is not None:
            return self.fault
        if query["query"] == "time()":
            return Reply(scalar(self.now_s()))
        span_s = float(query["query"].rpartition("[")[2].removesuffix("ms]")) / 1000
        end_s = float(query["time"])
        found = [
            (about, [(t, v) for t, v in samples if end_s - span_s < t <= end_s])
            for about, samples in self.streams
            if f'UUID="{about["UUID"]}"' in query["query"] or "UUID" not in query["query"]
        ]
        return Reply(matrix(*((about, samples) for about, samples in found if samples)))


@pytest.fixture
def fleet(clock):
    made = Fleet(clock)
    yield made
    made.server.close()


def source_of(fleet, clock, environ=None, **options):
    return PrometheusSource(
        SourceOptions(url=fleet.server.url, environ=environ or {}, **options), clock
    )


def every(step_s, values, start_s=NOW - 300):
    return [(start_s + step_s * n, value) for n, value in enumerate(values)]


def test_each_field_becomes_our_metric_in_our_unit(fleet, clock):
    fleet.hold(UTIL, every(15, range(10, 50, 2)))
    fleet.hold(ENGINE, every(15, [0.5] * 20))
    fleet.hold(SM, every(15, [0.2] * 20))
    fleet.hold(USED, every(15, [2048] * 20))
    fleet.hold(POWER, every(15, [321.5] * 20))
    source = source_of(fleet, clock)
    info = source.open()
    assert (info.source, info.simulated, info.scope) == ("prometheus", False, "device")
    assert info.devices[0].uuid == UUID
    assert info.devices[0].index == 0
    assert info.versions == (("driver", "580.82"),)
    assert (info.share.metric, info.duty.metric) == ("breadth_ratio", "gr_active_ratio")
    assert info.memory.metric == "memory_used_bytes"
    assert "other tenants" in info.notes[0]
    clock.advance(15.0)
    for about, samples in fleet.streams:
        samples.append((NOW + 15, {UTIL: 77, ENGINE: 0.8, SM: 0.4, USED: 4096}.get(
            about["__name__"], 100)))  # fmt: skip
    batch = source.read(slow=True)
    newest = {one.series.metric: one.values[-1] for one in batch.readings}
    assert newest == {
        "gpu_util_ratio": 0.77,
        "gr_active_ratio": 0.8,
        "sm_active_ratio": 0.4,
        "breadth_ratio": pytest.approx(0.5),  # 0.4 / 0.8
        "memory_used_bytes": 4096 * 2**20,
        "power_watts": 100.0,
    }
    # the server's clock is not ours: its NOW + 15 is this very moment
    for one in batch.readings:
        assert one.times_s[-1] == pytest.approx(clock.now_s, abs=0.2)
    source.close()


def test_every_sample_is_handed_on_once_and_none_is_made_up(fleet, clock):
    fleet.hold(UTIL, every(15, [50] * 20))
    source = source_of(fleet, clock)
    source.open()
    samples = fleet.streams[0][1]
    got = []
    for step in range(1, 13):
        clock.advance(5.0)
        if step % 3 == 0 and step != 9:  # every 15 s, one scrape missing
            samples.append((NOW + 5 * step, step))
        for one in source.read(slow=True).readings:
            got += one.values
    # the sample of NOW - 15 (the last of the past) is there once; the rest as scraped
    assert got[-3:] == [0.03, 0.06, 0.12]
    assert len(got) == len({*got}) or got.count(0.5) <= 1
    source.close()


def test_a_missing_scrape_is_a_gap_and_nan_stays_nan(fleet, clock):
    fleet.hold(UTIL, every(15, [50] * 21))
    source = source_of(fleet, clock)
    source.open()
    fleet.streams[0][1].extend([(NOW + 15, "NaN"), (NOW + 90, 40), (NOW + 105, 20)])
    clock.advance(105.0)
    batch = source.read(slow=True)
    values = batch.readings[0].values
    assert math.isnan(values[-3])
    assert values[-2:] == (0.4, 0.2)
    (gap,) = batch.gaps
    assert gap.cause == "source"
    assert gap.to_s - gap.from_s == pytest.approx(75.0, abs=0.01)
    source.close()


@pytest.mark.parametrize(("field", "blank"), [(UTIL, 2**63 - 16), (USED, 2**63 - 16), (UTIL, -1)])
def test_blank_values_of_dcgm_are_no_readings(fleet, clock, field, blank):
    fleet.hold(UTIL, every(15, [50] * 20))
    fleet.hold(USED, every(15, [100] * 20))
    source = source_of(fleet, clock)
    source.open()
    for about, samples in fleet.streams:
        samples.append((NOW + 15, blank if about["__name__"] == field else 1))
    clock.advance(15.0)
    metric = {UTIL: "gpu_util_ratio", USED: "memory_used_bytes"}[field]
    found = {one.series.metric: one.values[-1] for one in source.read(slow=True).readings}
    assert math.isnan(found[metric])
    source.close()


def test_the_period_is_measured_from_what_changes(fleet, clock):
    """Collected every 30 s, scraped every 15 s: each value stands twice."""
    fleet.hold(UTIL, every(15, [n // 2 for n in range(20)]))
    source = source_of(fleet, clock)
    info = source.open()
    assert info.period_s == 30.0
    assert "scraped every 15 s, new about every 30 s" in info.notes
    source.close()


def test_a_pod_that_is_replaced_does_not_end_the_series(fleet, clock):
    fleet.hold(UTIL, every(15, [10] * 10, NOW - 300), pod="a")
    fleet.hold(UTIL, every(15, [30] * 10, NOW - 150), pod="b")
    source = source_of(fleet, clock)
    recording = source.record(NOW - 301, NOW)
    assert [values[0] for _, values in recording.rows] == [0.1] * 10 + [0.3] * 10


def test_several_gpus_want_a_choice(fleet, clock):
    fleet.hold(UTIL, every(15, [10] * 20))
    fleet.hold(UTIL, every(15, [20] * 20), uuid=OTHER, gpu="1")
    with pytest.raises(SourceUnavailable, match="2 GPUs match"):
        source_of(fleet, clock).open()
    assert source_of(fleet, clock, device="GPU-99").open().devices[0].uuid == OTHER
    assert source_of(fleet, clock, device="1").open().devices[0].uuid == OTHER
    with pytest.raises(SourceUnavailable, match="no series of such a GPU"):
        source_of(fleet, clock, device="GPU-7").open()


def test_a_divided_gpu_wants_an_instance(fleet, clock):
    for part in ("1", "2"):
        fleet.hold(UTIL, every(15, [10] * 20), GPU_I_ID=part)
    with pytest.raises(SourceUnavailable, match="MIG") as caught:
        source_of(fleet, clock).open()
    assert caught.value.reason == "mig"


# ---- credentials ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "sent"),
    [
        ({}, None),
        ({api.TOKEN: "s3cr3t"}, "Bearer s3cr3t"),
        ({api.USER: "me", api.PASSWORD: "s3cr3t"}, "Basic bWU6czNjcjN0"),
    ],
)
def test_credentials_come_from_the_environment(fleet, clock, environ, sent):
    fleet.hold(UTIL, every(15, [10] * 20))
    source_of(fleet, clock, environ).open()
    assert {headers.get("Authorization") for _, _, headers in fleet.server.asked} == {sent}


def test_credentials_stay_out_of_errors_and_of_redirects(fleet, clock):
    environ = {api.TOKEN: "s3cr3t"}
    elsewhere = Scripted(lambda *_: Reply(scalar(NOW)))
    try:
        for fault, kind in (
            (Reply(b"no", 401), PermissionDenied),
            (Reply(b"no", 403), PermissionDenied),
            (Reply(b"", 302, Location=f"{elsewhere.url}/x"), SourceUnavailable),
            (Reply({"status": "error", "error": "parse error"}, 400), SourceUnavailable),
            (Reply(b"<html>"), SourceUnavailable),
        ):
            fleet.fault = fault
            with pytest.raises(kind) as caught:
                source_of(fleet, clock, environ).open()
            assert "s3cr3t" not in str(caught.value)
            assert "s3cr3t" not in repr(caught.value.__cause__)
        assert elsewhere.asked == []
    finally:
        elsewhere.close()


@pytest.mark.parametrize(
    ("url", "environ", "words"),
    [
        ("https://me:pw@h:9090", {}, "holds a user or password"),
        ("ftp://h", {}, "not a server's URL"),
        ("h:9090", {}, "not a server's URL"),
        ("http://", {}, "not a server's URL"),
        ("http://[::1", {}, "cannot be read"),
        ("http://h:99999999", {}, "cannot be read"),
        ("http://h/?x=1", {}, "not a server's URL"),
        ("http://h/a b", {}, "blanks"),
        ("http://prom.example", {api.TOKEN: "x"}, "not https"),
        ("http://127.0.0.1", {api.TOKEN: "x\ny"}, "no header"),
    ],
)
def test_a_bad_url_is_one_clear_line(url, environ, words):
    with pytest.raises(InvalidOption, match=words) as caught:
        api.PrometheusApi(url, environ)
    assert "pw" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_match_is_a_list_of_matchers_and_nothing_else(fleet, clock):
    for good in ('a="b"', 'Hostname=~"gpu.*",pod!="x"', 'a="}\\"[5m]"', 'a="b",'):
        api.matchers(good)
    for bad in ("", "a", 'a="b"} or {b="c"', 'a="b', "a='b'", 'a="b"[5m]', 'a=="b"', "up"):
        with pytest.raises(InvalidOption):
            api.matchers(bad)
    fleet.hold(UTIL, every(15, [10] * 20))
    source_of(fleet, clock, match='Hostname=~"gpu.*"').open()
    assert 'Hostname=~"gpu.*"}[' in fleet.server.asked[-1][1]["query"]


@given(st.text())
def test_no_matcher_escapes_the_braces(text):
    try:
        kept = api.matchers(text)
    except InvalidOption:
        return
    outside, quoted, skip = [], False, False
    for sign in kept:
        if skip:
            skip = False
        elif quoted and sign == "\\":
            skip = True
        elif sign == '"':
            quoted = not quoted
        elif not quoted:
            outside.append(sign)
    assert not quoted
    assert not {*outside} & set("{}[]()'")


# ---- faults -----------------------------------------------------------------------------------


def opened(fleet, clock):
    fleet.hold(UTIL, every(15, [10] * 21))
    source = source_of(fleet, clock)
    source.open()
    return source


def test_an_outage_is_told_once_backs_off_and_is_caught_up(fleet, clock):
    source = opened(fleet, clock)
    before = len(fleet.server.asked)
    fleet.fault = Reply(b"", 503)
    told = []
    for second in range(1, 181):
        clock.advance(1.0)
        if second % 15 == 0:
            fleet.streams[0][1].append((NOW + second, second % 100))
        batch = source.read(slow=True)
        assert batch.readings == ()
        told += batch.unavailable
    assert [one.reason for one in told] == ["timed_out"]
    # asked after 15 s; then the waits double from 5 s but never below a scrape: 15, 15, 20, 40, 60
    assert len(fleet.server.asked) - before <= 7
    fleet.fault = None
    clock.advance(61.0)
    batch = source.read(slow=True)
    scraped = [second % 100 / 100 for second in range(15, 181, 15)]
    assert batch.readings[0].values == pytest.approx([0.1, *scraped])  # the first: as we began
    assert batch.gaps == ()
    source.close()


def test_the_server_says_how_long_to_wait(fleet, clock):
    source = opened(fleet, clock)
    fleet.fault = Reply(b"", 429, Retry_After="40")
    clock.advance(15.0)
    source.read(slow=True)
    asked = len(fleet.server.asked)
    clock.advance(39.0)
    source.read(slow=True)
    assert len(fleet.server.asked) == asked
    clock.advance(2.0)
    source.read(slow=True)
    assert len(fleet.server.asked) == asked + 1
    source.close()


def test_without_an_answer_for_minutes_the_source_is_lost(fleet, clock):
    source = opened(fleet, clock)
    fleet.fault = Reply(b"", 500)
    for _ in range(19):  # 300 s after the last answer and not a second sooner
        clock.advance(15.0)
        source.read(slow=True)
    clock.advance(61.0)
    with pytest.raises(SourceLost):
        source.read(slow=True)
    source.close()


def test_a_refusal_while_running_is_a_loss_at_once(fleet, clock):
    source = opened(fleet, clock)
    fleet.fault = Reply(b"", 401)
    clock.advance(15.0)
    with pytest.raises(SourceLost) as caught:
        source.read(slow=True)
    assert caught.value.reason == "no_permission"
    source.close()


def broken(kind):
    whole = json.dumps(scalar(NOW)).encode()
    if kind == "truncated":
        reply = Reply(whole)
        reply.cut = True
        return reply
    return {
        "cut JSON": Reply(whole[:20]),
        "no data": Reply({"status": "success"}),
        "list": Reply([1]),
        "error": Reply({"status": "error", "error": "x" * 9999}),
        "vector": Reply({"status": "success", "data": {"resultType": "scalar", "result": []}}),
        "too much": Reply(b" " * (api.MAX_BYTES + 10)),
        "404": Reply(b"\xff\xfe", 404),
        "empty": Reply(b""),
        "deep": Reply(b'{"status":"success","data":' + 100_000 * b"["),
        "deep error": Reply(b'{"error":' + 1000 * b"[", 400),
        "no number": Reply(b'{"status":"success","data":{"result":[NaN,"1"]}}'),
        "beyond a number": Reply(b'{"status":"success","data":{"result":[1e400,"1"]}}'),
        "many digits": Reply(b'{"status":"success","data":{"result":[%s,"1"]}}' % (400 * b"9")),
        "beyond all time": Reply(scalar(1e18)),
        "before all time": Reply(scalar(-5.0)),
        "text for a time": Reply({"status": "success", "data": {"result": ["nan", "1"]}}),
    }[kind]


BROKEN = [
    *("truncated", "cut JSON", "no data", "list", "error", "vector", "too much", "404", "empty"),
    *("deep", "deep error", "no number", "beyond a number", "many digits", "beyond all time"),
    *("before all time", "text for a time"),
]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_is_one_line(fleet, clock, kind):
    fleet.fault = broken(kind)
    with pytest.raises(TelemetryError) as caught:
        source_of(fleet, clock).open()
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("status", [200, 404])
def test_an_answer_that_drips_is_given_up(fleet, clock, monkeypatch, head, status):
    monkeypatch.setattr(api, "TIMEOUT_S", 0.3)
    fleet.fault = Reply(b" " * 2000, status)
    fleet.fault.drip_s = 0.05  # each byte in time, the whole in minutes
    fleet.fault.head_drips = head
    with pytest.raises(TelemetryError) as caught:
        source_of(fleet, clock).open()
    given_up = "takes more than" if head or status == 200 else "HTTP 404"
    assert given_up in str(caught.value)


@pytest.mark.parametrize(
    "series",
    [
        {"metric": labels(UTIL), "values": [[NOW + 1e6, "1"]]},
        {"metric": labels(UTIL), "values": [[NOW - 1e6, "1"]]},
        {"metric": labels(UTIL), "values": [[True, "1"]]},
        {"metric": labels(UTIL), "values": [[str(NOW), "1"]]},
        {"metric": labels(UTIL), "values": [[NOW, []]]},
        {"metric": labels(UTIL), "values": [NOW]},
        {"metric": {**labels(UTIL), "pod": [[]]}, "values": []},
        {"metric": [], "values": []},
        [],
    ],
)
def test_a_series_of_another_form_is_one_line(fleet, clock, series):
    source = opened(fleet, clock)
    fleet.fault = Reply({"status": "success", "data": {"resultType": "matrix", "result": [series]}})
    clock.advance(15.0)
    with pytest.raises(SourceLost, match="not one of Prometheus's API: a series of another form"):
        source.read(slow=True)
    source.close()


def test_nobody_there(clock):
    with pytest.raises(SourceUnavailable, match="does not answer"):
        PrometheusSource(SourceOptions(url="http://127.0.0.1:9", environ={}), clock).open()


# ---- a recording ------------------------------------------------------------------------------


def test_a_recording_is_asked_for_in_pieces_and_whole(fleet, clock):
    fleet.hold(UTIL, every(60, [n % 100 for n in range(1000)], NOW - 60_000))
    recording = source_of(fleet, clock).record(NOW - 60_000 - 1, NOW)
    assert len(fleet.server.asked) == 3  # 16.7 h, 6 h each
    assert [round(100 * row[1][0]) for row in recording.rows] == [n % 100 for n in range(1000)]
    assert recording.origin == "prometheus"
    with pytest.raises(InvalidOption):
        source_of(fleet, clock).record(NOW, NOW)


def test_predict_reads_a_server(fleet, clock, capsys):
    fleet.hold(UTIL, every(5, [80] * 720, NOW - 3600))
    words = ["predict", "--prometheus", fleet.server.url, "--from", str(NOW - 3601)]
    assert main([*words, "--to", str(NOW), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["target_pct"], told["source"]) == ("converged", 80, "prometheus")
    assert "device-wide" in told["notes"][0]
    for wrong in (["--from", "yesterday"], ["--from", "1e99"], []):
        assert main(["predict", "--prometheus", fleet.server.url, *wrong]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert main(["predict"]) == 2
    assert main(["predict", "x.csv", *words[1:]]) == 2


def test_an_option_is_missing():
    with pytest.raises(InvalidOption, match="needs a server"):
        SessionConfig(source="prometheus")


# ---- Debian's Prometheus ----------------------------------------------------------------------


def openmetrics(samples):
    lines = [f"# TYPE {UTIL} gauge"]
    about = ",".join(f'{k}="{v}"' for k, v in labels(UTIL).items() if k != "__name__")
    lines += [f"{UTIL}{{{about}}} {value} {time_s:.3f}" for time_s, value in samples]
    return "\n".join([*lines, "# EOF", ""])


@pytest.mark.integration
def test_a_real_server_gives_back_what_it_stored(tmp_path, clock):
    """Its samples to the sample, with the hole in them, and nothing carried into the hole."""
    now_s = math.floor(time.time())
    past = [(now_s - 7200 + 15 * n, n % 101) for n in range(400) if not 100 <= n < 140]
    server = RealPrometheus(tmp_path, openmetrics(past))
    try:
        source = PrometheusSource(SourceOptions(url=server.url, environ={}), clock)
        recording = source.record(now_s - 7201, now_s)
    finally:
        server.close()
    held = [(round(t + now_s - 7201, 3), round(100 * v[0])) for t, v in recording.rows]
    assert held == past
    assert recording.period_s(recording.share_series()) == 15.0


@pytest.mark.integration
def test_a_real_server_that_scrapes_is_followed(tmp_path, data_dir):
    scraped = []

    def exporter(path, _query):
        scraped.append(len(scraped) % 100)
        about = ",".join(f'{k}="{v}"' for k, v in labels(UTIL).items() if k != "__name__")
        body = f"# TYPE {UTIL} gauge\n{UTIL}{{{about}}} {scraped[-1]}\n"
        return Reply(body.encode(), Content_Type="text/plain; version=0.0.4")

    target = Scripted(exporter)
    server = RealPrometheus(tmp_path, target=target.url.removeprefix("http://"))
    try:
        deadline = time.monotonic() + 20
        while len(scraped) < 15 and time.monotonic() < deadline:
            time.sleep(0.05)
        source = PrometheusSource(SourceOptions(url=server.url, environ={}), SystemClock())
        info = source.open()
        assert 0.1 < info.period_s < 0.6
        opened_s, values = time.monotonic(), []
        while len(values) < 20 and time.monotonic() < opened_s + 30:
            for one in source.read(slow=True).readings:
                values += [round(100 * value) for value in one.values]
                # a sample is never from the future, and its stamp is on our clock
                assert max(one.times_s) <= time.monotonic() + 0.5
            time.sleep(0.1)
        source.close()
    finally:
        server.close()
        target.close()
    assert values == list(range(values[0], values[0] + len(values)))
