"""Profiles of kernels, by whoever wrote them."""

import csv
import gzip
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import InvalidOption, Malformed, TraceError, Truncated
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.frontends.cli import main
from jupyter_gpupredict.run import predict_recordings
from jupyter_gpupredict.sources import profiles
from jupyter_gpupredict.sources.reading import open_trace

SAMPLES = Path(__file__).parents[1] / "data" / "recordings"
ADA = ReadOptions(sms=34, compute_capability="8.9")
FORMATS = ("kernels.csv", "kineto.json", "xla.json", "nsys-csv.csv", "nsys-sqlite.sqlite")


def test_every_format_tells_the_same_of_the_same_kernels():
    found = [open_trace(str(SAMPLES / name), ADA) for name in FORMATS]
    for one in found:
        (geometry,) = one.geometry.values()
        assert (geometry.sms, geometry.kernels) == (34, 60)
        (first,) = found[0].geometry.values()
        assert geometry.need() == first.need()
        assert geometry.busy_ratio == pytest.approx(first.busy_ratio, rel=1e-3)
        assert geometry.collective_sms == 8
    assert {one.origin for one in found} == {"kernels", "torch.profiler", "XLA", "Nsight Systems"}
    assert found[1].devices[0].memory_total_bytes == 8_585_216_000
    assert found[4].devices[0].uuid == "GPU-11111111-2222-3333-4444-555555555555"


def kernel(start=0.0, duration=10.0, blocks=40, device=0, cat="kernel", **more):
    details = {
        "device": device, "registers per thread": 32, "shared memory": 0,
        "grid": [blocks, 1, 1], "block": [256, 1, 1], **more,
    }  # fmt: skip
    event = {"ph": "X", "cat": cat, "name": "gemm", "ts": start, "dur": duration}
    return event | {"args": details}


A100 = {
    "name": "NVIDIA A100", "computeMajor": 8, "computeMinor": 0, "numSms": 108,
    "maxThreadsPerMultiprocessor": 2048, "sharedMemPerMultiprocessor": 167936,
}  # fmt: skip


def written(folder, events, name="x.json", **beside):
    path = folder / name
    path.write_text(json.dumps({"schemaVersion": 1, **beside, "traceEvents": events}))
    return str(path)


def predicted(path, read=None, device=None):
    return predict_recordings(path, replace(read or ReadOptions(), device=device))


def test_the_answer_of_a_profile(tmp_path):
    # 100 us of 40 blocks, 100 us of nothing, 100 us of 216 blocks on 108 SMs
    events = [kernel(0.0, 100.0, 40), kernel(200.0, 100.0, 216)]
    path = written(tmp_path, events, deviceProperties=[{"id": 0, **A100}])
    found = predicted(path)
    geometry = found["geometry"]
    assert set(geometry) == {
        "sms", "busy_share", "mean_breadth", "speed_goal", "need_low_pct", "need_high_pct",
        "curve", "kernels", "not_understood_share", "interval_ms",
    }  # fmt: skip
    assert geometry["busy_share"] == pytest.approx(2 / 3, abs=1e-4)
    assert geometry["mean_breadth"] == pytest.approx((40 / 108 + 1) / 2, abs=1e-4)
    # eight blocks on an SM: the gap of 100 us absorbs 100 us of delay
    assert geometry["need_low_pct"] < geometry["need_high_pct"] == found["recommended_pct"]
    # 108/n - 1 = .1111 * 300 / 100, so that n = 81; the narrow kernel then has room
    assert geometry["need_high_pct"] == 75.0
    percents = [point[0] for point in geometry["curve"]]
    assert percents == sorted({*map(float, range(5, 101, 5)), 75.0, geometry["need_low_pct"]})
    assert predicted(path, read=ReadOptions(speed=0.5))["geometry"]["need_high_pct"] < 75.0


def test_a_profile_of_moments_answers_with_what_its_kernels_need(tmp_path, capsys):
    # busy for 1 % of 20 ms: for the rules no activity at all
    events = [kernel(0.0, 150.0, 40), kernel(19_950.0, 50.0, 216)]
    path = written(tmp_path, events, deviceProperties=[{"id": 0, **A100}])
    found = predicted(path)
    told = found["answer"]
    low, high = (found["geometry"][f"need_{end}_pct"] for end in ("low", "high"))
    assert told["headline"] == "Recorded: needs 1 to 5 % of the GPU's SMs"
    assert (told["word"], told["figure"]["method"]) == ("observed", "geometry")
    assert told["meaning"] == "for 90 % of full speed, by kernel geometry · busy 1 % of the time"
    assert told["evidence"] == "A100 · from a profile by torch.profiler of 0.02 s, 2 kernels"
    assert (low, high, found["mean_pct"]) == (0.9, 4.6, 1.0)
    assert found["reason"] == "a profile of 0.02 s is too short to predict the busy time"
    assert main(["predict", path]) == 0
    said = capsys.readouterr().out
    assert said.count("SMs: 0.9 to 4.6 % of the GPU's 108 for 90 %") == 1
    assert "no activity" not in said
    assert "too short to say" not in said


def test_a_profile_of_minutes_is_predicted_from_too(tmp_path):
    events = [kernel(1e5 * number, 5e4, 216) for number in range(9000)]
    path = written(tmp_path, events, deviceProperties=[{"id": 0, **A100}])
    found = predicted(path)
    assert found["state"] == "converged"
    assert (found["answer"]["word"], found["answer"]["figure"]["method"]) == ("settled", "geometry")
    assert found["answer"]["headline"].startswith("Recorded: needs ")


def test_several_devices_have_an_answer_each(tmp_path):
    events = [kernel(0.0, 100.0, 216), kernel(5.0, 100.0, 8, device=3)]
    both = [{"id": 0, **A100}, {"id": 3, **A100}]
    path = written(tmp_path, events, deviceProperties=both)
    found = predicted(path)
    assert [one["index"] for one in found["devices"]] == [0, 3]
    wide, narrow = (one["geometry"]["need_high_pct"] for one in found["devices"])
    assert wide > narrow == predicted(path, device="3")["geometry"]["need_high_pct"]
    assert "devices" not in predicted(path, device="3")
    with pytest.raises(InvalidOption, match="no single device '1'"):
        predicted(path, device="1")


def test_collectives_are_a_floor(tmp_path):
    wide = kernel(0.0, 100.0, 64, **{"shared memory": 90_000})
    wide["name"] = "ncclDevKernel_AllReduce"
    path = written(tmp_path, [wide, kernel(100.0, 5.0, 1)], deviceProperties=[{"id": 0, **A100}])
    found = predicted(path)
    assert found["geometry"]["need_high_pct"] == 0.9
    assert found["recommended_pct"] == round(100 * 64 / 108, 1)  # one of its blocks on an SM


def test_without_limits_the_answer_is_partial_and_asks(tmp_path):
    old = kernel(blocks=160, cat="Kernel", **{"warps per SM": 16.0})  # 160 * 8 / 16 = 80
    found = predicted(written(tmp_path, [old, old]))
    assert found["geometry"]["sms"] == 80
    assert found["geometry"]["need_high_pct"] is found["recommended_pct"] is None
    assert found["geometry"]["not_understood_share"] == 1.0
    assert "--compute-capability" in found["notes"][0]
    assert "--compute-capability" in found["answer"]["meaning"]
    volta = ReadOptions(compute_capability="7.0")
    assert predicted(written(tmp_path, [old]), read=volta)["recommended_pct"] > 50
    strange = predicted(written(tmp_path, [kernel()]))
    assert "geometry" not in strange
    assert "--sms N --compute-capability" in strange["notes"][0]


def test_tables_that_cannot_name_their_gpu_ask_for_it():
    for name in ("kernels.csv", "nsys-csv.csv"):
        with pytest.raises(Malformed, match="--sms N --compute-capability"):
            open_trace(str(SAMPLES / name))
    for text in ("8", "x.y", "99.9"):
        with pytest.raises(InvalidOption, match="compute"):
            open_trace(str(SAMPLES / "kernels.csv"), ReadOptions(34, text))


def test_what_is_of_another_make_or_empty_is_one_line(tmp_path):
    amd = {"id": 0, **A100, "name": "AMD Instinct MI300X", "computeMajor": 9}
    with pytest.raises(Malformed, match="AMD GPU"):
        predicted(written(tmp_path, [kernel()], deviceProperties=[amd]))
    with pytest.raises(Malformed, match="AMD GPU"):
        predicted(written(tmp_path, [kernel(**{"registers per thread": 2191500840})]))
    with pytest.raises(Truncated, match="no kernels"):
        predicted(written(tmp_path, [kernel(cat="cpu_op")], deviceProperties=[{"id": 0, **A100}]))
    with pytest.raises(Truncated, match="no kernel that lasted"):
        predicted(written(tmp_path, [kernel(duration=0)], deviceProperties=[{"id": 0, **A100}]))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"==PROF== Profiling k - 0: 0%....50%....100% - 10 passes\n", "Nsight Compute"),
        (b"\x0a\xa1\xf0\x08\x12\x0e/host:metadata\x22", "binary profile"),
    ],
)
def test_what_cannot_be_predicted_from_is_named(tmp_path, data, said):
    path = tmp_path / "x"
    path.write_bytes(data)
    with pytest.raises(Malformed, match=said):
        open_trace(str(path))


def test_a_trace_that_was_cut_is_read_as_far_as_it_goes(tmp_path):
    events = [kernel(float(start)) for start in range(0, 1000, 20)]
    text = json.dumps({"deviceProperties": [{"id": 0, **A100}], "traceEvents": events})
    path = tmp_path / "x.json"
    path.write_text(text[: len(text) // 2])
    found = predicted(str(path))
    assert 10 < found["geometry"]["kernels"] < 30
    assert "ends in its middle" in found["notes"][0]
    packed = gzip.compress(text.encode(), mtime=0)
    path.write_bytes(packed[: len(packed) - 40])
    assert any("ends in its middle" in note for note in predicted(str(path))["notes"])


def test_old_traces_with_strange_characters_are_read(tmp_path):
    event = json.dumps(kernel()).encode().replace(b"gemm", b"ge\x01\xff\tmm")
    path = tmp_path / "x.json"
    path.write_bytes(b"[\n" + event + b",\n" + event + b"]")
    found = open_trace(str(path), ReadOptions(80, "7.0"))
    assert found.geometry["device-0"].kernels == 2


def test_metadata_is_never_copied(tmp_path):
    secret = "hf_0123456789abcdefghij"
    beside = {"distributedInfo": {"host": secret}, "INFO": [secret], "env": {"TOKEN": secret}}
    events = [kernel(), {"ph": "M", "name": secret, "args": {"name": secret}}]
    path = written(tmp_path, events, deviceProperties=[{"id": 0, **A100}], **beside)
    assert secret not in json.dumps(predicted(path))
    assert secret not in repr(open_trace(path))


def test_device_limits_that_come_last_count(tmp_path):
    path = tmp_path / "x.json"
    late = {"traceEvents": [kernel(blocks=216)], "deviceProperties": [{"id": 0, **A100}]}
    path.write_text(json.dumps(late))
    assert predicted(str(path))["geometry"]["sms"] == 108


def test_many_launches_are_folded_while_they_are_read(tmp_path, monkeypatch):
    events = [kernel(30.0 * number, 20.0, 1 + number % 200) for number in range(5000)]
    path = written(tmp_path, events, deviceProperties=[{"id": 0, **A100}])
    whole = predicted(path)
    monkeypatch.setattr(profiles, "PIECE", 64)
    monkeypatch.setattr(profiles, "HELD", 500)
    assert predicted(path) == whole


def test_a_database_with_fewer_columns_is_read_by_name(tmp_path):
    path = tmp_path / "x.sqlite"
    with sqlite3.connect(path) as database:
        database.execute(
            "create table CUPTI_ACTIVITY_KIND_KERNEL(gridX, gridY, gridZ, blockX, blockY, blockZ, "
            "deviceId, end, start)"
        )
        database.execute("create table TARGET_INFO_GPU(id, name, smCount)")
        database.execute("insert into CUPTI_ACTIVITY_KIND_KERNEL values (64,1,1,64,1,1,0,9000,0)")
    database.close()
    found = open_trace(str(path), ReadOptions(80, "7.0"))
    assert found.geometry["device-0"].breadth_ratio == 0.8
    with sqlite3.connect(path) as database:
        database.execute("drop table CUPTI_ACTIVITY_KIND_KERNEL")
    database.close()
    with pytest.raises(Truncated, match="no kernels"):
        open_trace(str(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


class Held:
    """Content of some bytes, which are read in small pieces."""

    name = "x"

    def __init__(self, data, step):
        self.data, self.step = data, step

    def stream(self):
        return self

    def read(self, _):
        piece, self.data = self.data[: self.step], self.data[self.step :]
        return piece


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=5), JSON), max_size=5),
    st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    st.integers(1, 40),
)
def test_events_are_what_json_reads_however_the_file_comes(events, beside, step):
    beside = {f"k{key}": value for key, value in beside.items()}
    data = json.dumps({**beside, "traceEvents": events, "last": 12.5}).encode()
    trace = profiles.ChromeTrace(Held(data, step), {*beside, "last"})
    assert list(trace.events()) == events
    assert trace.about == beside | {"last": 12.5}
    assert not trace.torn


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400))
def test_any_damage_gives_a_recording_or_one_line(damage, at):
    data = json.dumps({"deviceProperties": [{"id": 0, **A100}], "traceEvents": [kernel()] * 3})
    broken = data.encode()[:at] + damage + data.encode()[at:]
    try:
        trace = profiles.ChromeTrace(Held(broken, 64))
        assert all(isinstance(event, dict) for event in trace.events())
    except TraceError as error:
        assert "\n" not in str(error)


def test_the_originals_are_read_or_refused_as_they_should_be(shared):
    with (shared / "kernels/raw/INDEX.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    seen = 0
    for row in rows:
        path, note = str(shared / "kernels/raw" / row["file"]), row["note"]
        options = ADA if note.startswith("read with") else None
        if note.startswith("refused"):
            with pytest.raises(TraceError) as caught:
                open_trace(path, options)
            for word in ("AMD", "no kernels", "binary", "Nsight Compute"):
                assert word not in note or word in str(caught.value), row["file"]
        else:
            found = open_trace(path, options)
            asked = "".join(found.notes)
            for word in ("--sms", "--compute-capability"):
                assert word not in note or options or word in asked, row["file"]
            assert note.startswith("partial") or found.geometry, row["file"]
        seen += 1
    assert seen == len(rows) >= 17
