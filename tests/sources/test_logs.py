"""Logs by a wall clock: what tells devices apart, what is repaired, and what is refused."""

import contextlib
import csv
import gzip
import lzma
import random
import tempfile
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import InvalidOption, Malformed, TraceError
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.sources.cells import Clock, number_in, numbers_in
from jupyter_gpupredict.sources.reading import open_traces, read_trace, read_traces
from jupyter_gpupredict.sources.tables import columns_of

MIB = 1 << 20
START = datetime(2026, 1, 5, 9, 0, 0, tzinfo=UTC)
TITLES = "timestamp, utilization.gpu [%], memory.used [MiB], memory.total [MiB]"


def stamp(second, form="%Y/%m/%d %H:%M:%S.%f"):
    return (START + timedelta(seconds=second)).strftime(form)


def rows(seconds, share=lambda k: 50 + k % 3, titles=TITLES, form="%Y/%m/%d %H:%M:%S.%f"):
    lines = [
        f"{stamp(s, form)}, {share(k)} %, {3000 + k} MiB, 32768 MiB" for k, s in enumerate(seconds)
    ]
    return "\n".join([titles, *lines, ""])


def read(text, **options):
    data = text if isinstance(text, bytes) else text.encode()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return read_trace(file, "x.csv", ReadOptions(**options))


def every(text, **options):
    with tempfile.TemporaryFile() as file:
        file.write(text.encode())
        file.seek(0)
        return read_traces(file, "x.csv", ReadOptions(**options))


def shares(trace):
    return list(trace.points(trace.share_series()))


PLAIN = rows(range(20))
EXPECTED = [(float(k), (50 + k % 3) * 0.01) for k in range(20)]


# ---- devices ----------------------------------------------------------------------------------

KEYS = {
    "index": ("0", "1"),
    "uuid": ("GPU-aaaa", "GPU-bbbb"),
    "gpu_uuid": ("GPU-aaaa", "GPU-bbbb"),
    "pci.bus_id": ("00000000:01:00.0", "00000000:02:00.0"),
    "gpu_bus_id": ("00000000:01:00.0", "00000000:02:00.0"),
    "serial": ("132", "133"),
    "gpu_serial": ("132", "133"),
    "name": ("NVIDIA A100", "NVIDIA A10"),
    "gpu_name": ("NVIDIA A100", "NVIDIA A10"),
}


def two(key, values, apart_s=0.03, count=20):
    lines = [f"timestamp, {key}, utilization.gpu [%], memory.used [MiB]"]
    for k in range(count):
        for number, value in enumerate(values):
            cells = f"{(90, 10)[number]} %, {1000 * number + 7} MiB"
            lines.append(f"{stamp(k + number * apart_s)}, {value}, {cells}")
    return "\n".join([*lines, ""])


@pytest.mark.parametrize("key", KEYS)
def test_devices_are_told_apart_by_every_key_of_nvidia_smi(key):
    text = two(key, KEYS[key])
    first, second = every(text, device="all")
    assert {v for _, v in shares(first)} == {0.9}
    assert {v for _, v in shares(second)} == {0.1}
    assert {v for _, v in first.points(first.memory_series())} == {7.0 * MIB}
    alone = read(text)
    assert (alone.rows, alone.devices) == (first.rows, first.devices)
    assert "also recorded: " + second.devices[0].label in alone.notes[-1]
    assert shares(read(text, device=second.devices[0].uuid)) == shares(second)


def test_a_device_by_its_index_its_name_or_a_prefix():
    text = two("index, name", ("3, NVIDIA A10", "5, NVIDIA A30"))
    for wanted in ("5", "nvidia a30"):
        assert shares(read(text, device=wanted))[0][1] == 0.1
    assert shares(read(two("uuid", ("GPU-aa", "GPU-ab")), device="GPU-ab"))[0][1] == 0.1
    for wanted in ("1", "GPU-", "", "3,"):
        with pytest.raises(InvalidOption, match="no single device"):
            every(text, device=wanted)
    assert [one.devices[0].index for one in every(text, device="5,3,5")] == [5, 3]


def test_a_recording_of_one_device_refuses_another():
    assert shares(read(PLAIN, device="0")) == EXPECTED
    with pytest.raises(InvalidOption):
        read(PLAIN, device="1")
    with pytest.raises(InvalidOption):
        read("t_s,gpu_util_pct\n0,1\n1,2\n", device="GPU-x")


@given(
    st.integers(2, 8),
    st.integers(4, 60),
    st.floats(0.001, 0.05),
    st.floats(0.8, 10.0),
    st.randoms(use_true_random=False),
)
def test_readings_of_several_gpus_without_a_key_are_refused(gpus, count, apart_s, period_s, drawn):
    lines = [TITLES]
    for k in range(count):
        begin = k * period_s * drawn.uniform(0.99, 1.01)
        for number in range(gpus):
            second = begin + number * apart_s / gpus
            lines.append(f"{stamp(second)}, {drawn.randint(0, 100)} %, 3000 MiB, 32768 MiB")
    with pytest.raises(Malformed, match=f"{gpus} readings of every moment") as caught:
        read("\n".join(lines))
    assert "add index" in caught.value.hint


@given(st.integers(4, 80), st.floats(0.05, 30.0), st.randoms(use_true_random=False))
def test_readings_of_one_gpu_are_not_taken_for_several(count, period_s, drawn):
    second, seconds = 0.0, []
    for _ in range(count):
        second += period_s * drawn.uniform(0.7, 1.4)
        seconds.append(second)
    assert len(read(rows(seconds)).rows) == count


def test_whole_seconds_with_several_readings_are_spread():
    text = rows([k / 4 for k in range(400)], form="%Y/%m/%d %H:%M:%S")
    found = read(text)
    assert [t for t, _ in found.rows] == [k / 4 for k in range(400)]
    assert any("spread" in note for note in found.notes)


def test_whole_seconds_of_two_gpus_are_refused_by_what_differs():
    lines = [TITLES]
    for k in range(40):
        lines += [
            f"{stamp(k, '%Y-%m-%d %H:%M:%S')}, {u} %, {m} MiB, 32768 MiB"
            for u, m in ((90, 3000 + k), (5, 9))
        ]
    with pytest.raises(Malformed, match="of several GPUs"):
        read("\n".join(lines))


# ---- the card ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("titles", "cells", "size"),
    [
        ("memory.used [MiB], memory.total [MiB]", "10 MiB, 100 MiB", 100 * MIB),
        ("memory.used [MiB], memory.free [MiB]", "10 MiB, 80 MiB", 90 * MIB),
        ("memory.used [MiB], memory.total [MiB]", "10 MiB, [N/A]", None),
        ("memory.used [MiB], memory.total [MiB]", "10 MiB, 2147483648 MiB", None),
        ("memory.used [MiB], memory.total [MiB]", "10 MiB, -1 MiB", None),
        ("mem_used_gb, mem_total_gb", "1.5, 24", 24 << 30),
        ("memory_used, memory_total", "1073741824, 25769803776", 24 << 30),
    ],
)
def test_the_cards_size(titles, cells, size):
    text = f"timestamp, utilization.gpu [%], {titles}\n" + "".join(
        f"{stamp(k)}, 9 %, {cells}\n" for k in range(3)
    )
    assert read(text).devices[0].memory_total_bytes == size


@pytest.mark.parametrize("word", [str(2**31), str(2**63), "-1", "18446744073709551615"])
def test_a_number_that_says_none_is_missing(word):
    found = read(
        f"timestamp, utilization.gpu, memory.used\n{stamp(0)}, {word}, {word}\n{stamp(1)}, 5, 9\n"
    )
    assert [values for _, values in found.rows] == [(None, None), (0.05, 9.0 * MIB)]
    found = read(f"t_s,gpu_util_pct,mem_used_mib\n0,{word},{word}\n1,5,9\n")
    assert [values for _, values in found.rows] == [(None, None), (0.05, 9.0 * MIB)]


# ---- tolerance --------------------------------------------------------------------------------

CLEAN = {
    "BOM": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16 big": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "UTF-16 bare": lambda text: text.encode("utf-16-le"),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "UTF-16 CRLF": lambda text: text.replace("\n", "\r\n").encode("utf-16"),
    "gzip": lambda text: gzip.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "semicolons": lambda text: text.replace(", ", "; ").encode(),
    "tabs": lambda text: text.replace(", ", "\t").encode(),
    "empty lines": lambda text: text.replace("\n", "\n\n").encode(),
    "no last newline": lambda text: text.rstrip("\n").encode(),
}


@pytest.mark.parametrize("kind", CLEAN)
def test_what_is_no_fault_is_read_without_a_note(kind):
    found = read(CLEAN[kind](PLAIN))
    assert (shares(found), found.notes) == (EXPECTED, ())


@pytest.mark.parametrize(
    ("broken", "note"),
    [
        (PLAIN.replace("\n2026/01/05 09:00:10", f"\n{TITLES}\n2026/01/05 09:00:10"), "1 lines"),
        (
            PLAIN.replace("\n2026/01/05 09:00:10", "\nGPU monitor: hello\n2026/01/05 09:00:10"),
            "1 lines",
        ),
        ("Starting\n\n" + PLAIN, None),
        ("sep=,\n" + PLAIN, None),
        (PLAIN + "2026/01/05 09:00:2", "torn"),
        (PLAIN + "2026/01/05 09:00:20.000, 50 %, 30", "torn"),
        (PLAIN + "2026/01/05 09:00:20.000, 50 %, 3000 MiB, 327", "torn"),
        (PLAIN + "2026/01/05 08:30:00.000, 50 %, 3000 MiB, 32768 MiB\n", "1 rows"),
    ],
)
def test_what_is_repaired_is_said(broken, note):
    found = read(broken)
    assert shares(found) == EXPECTED
    assert [note in one for one in found.notes] == ([True] if note else [])


@pytest.mark.parametrize(
    "word", ["ERR!", "-", "Not Supported", "[N/A]", "[Unknown Error]", "", "N/A"]
)
def test_what_says_that_there_is_none_is_missing(word):
    found = read(PLAIN.replace("51 %", word))
    assert shares(found) == [(t, v) for t, v in EXPECTED if v != 51 * 0.01]
    assert len(found.rows) == 20


def test_decimal_commas():
    lines = [f"{stamp(k)};50,5;1000,25" for k in range(5)]
    found = read("\n".join(["timestamp;utilization.gpu [%];memory.used [MiB]", *lines]))
    assert found.rows[0] == (0.0, (50.5 * 0.01, 1000.25 * MIB))


# ---- times ------------------------------------------------------------------------------------

FORMS = [
    "%Y/%m/%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%fZ", "%Y-%m-%d %H:%M:%S+01:00",
    "%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%Y%m%d %H:%M:%S",
    "%Y%m%d_%H%M%S", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S UTC %Y", "%H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_times_in_all_their_forms(form):
    # 90 min before midnight to 90 min behind it, one reading a minute
    seconds = [13.5 * 3600 + 60 * k for k in range(180)]
    found = read(rows(seconds, form=form))
    assert [t for t, _ in found.rows] == [60.0 * k for k in range(180)]


@pytest.mark.parametrize(("scale", "digits"), [(1, 3), (1000, 0), (10**6, 0), (10**9, 0)])
def test_unix_times(scale, digits):
    lines = [f"{(START.timestamp() + k / 2) * scale:.{digits}f},{50},1" for k in range(9)]
    found = read("\n".join(["timestamp,gpu_util_pct,x", *lines]))
    assert [t for t, _ in found.rows] == [k / 2 for k in range(9)]


@pytest.mark.parametrize(("form", "first"), [("%d/%m/%Y", "day"), ("%m/%d/%Y", "month")])
def test_day_or_month_first_by_what_follows(form, first):
    # 5 to 7 January: 05/01 and 01/05 are dates both ways
    seconds = range(0, 3 * 86400, 1800)
    found = read(rows(seconds, form=f"{form} %H:%M:%S"))
    assert [t for t, _ in found.rows] == [float(s) for s in seconds]
    assert f"read {first} first" in " ".join(found.notes)


def test_a_clock_that_steps_back_is_joined():
    seconds = [*range(100), *range(-3000, -2900)]
    found = read(rows(seconds))
    assert [t for t, _ in found.rows] == [float(k) for k in range(200)]
    assert "set anew 1 times" in found.notes[0]


def test_a_clock_that_is_set_after_the_first_rows_is_joined():
    found = read(rows([*range(-86400 * 20000, -86400 * 20000 + 5), *range(100)]))
    assert [t for t, _ in found.rows] == [float(k) for k in range(105)]
    assert "set anew 1 times" in found.notes[0]


@pytest.mark.parametrize("at", [0, 1, 10, 19, 20])
@pytest.mark.parametrize("wild", [-86400 * 999, 86400 * 999, -90000, 3600])
def test_a_single_wild_stamp_is_left_out(at, wild):
    seconds = list(range(20))
    seconds.insert(at, wild + at)
    found = read(rows(seconds, share=lambda k: 77 if k == at else 50))
    times = [t for t, _ in found.rows]
    assert 0.77 not in [v for _, v in shares(found)]
    assert times == [float(k) for k in range(20)]
    assert len(found.notes) == 1


def test_where_most_rows_would_go_it_is_refused():
    with pytest.raises(Malformed, match="does not fit") as caught:
        read(rows(range(100, 0, -1)))
    assert "sort" in caught.value.hint


def test_a_hole_and_rare_readings_are_kept():
    assert read(rows([0, 1, 2, 90000, 90001])).rows[-1][0] == 90001.0
    rare = [0, 1, 2, 5000, 90000, 200000, 200001]
    assert [t for t, _ in read(rows(rare)).rows] == [float(s) for s in rare]


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_clear_error(text):
    with contextlib.suppress(ValueError):
        assert Clock().one(text) == Clock().many([text])[0]


# ---- shares -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "cells"),
    [
        ("gpu_util", ("50", "51")), ("gpu_util_percent", ("50", "51")),
        ("GPU Util (%)", ("50", "51")), ("GPU Load [%]", ("50", "51")),
        ("gpu_utilization_ratio", ("0.5", "0.51")), ("gpuUtil%", ("50", "51")),
        ("gpu_util", ("50 %", "51 %")), ("gpu_util_pct", ("50.0", "51.0")),
    ],
)  # fmt: skip
def test_shares_by_the_names_that_people_give_them(title, cells):
    found = read(f"time,{title}\n{stamp(0)},{cells[0]}\n{stamp(1)},{cells[1]}\n")
    assert shares(found) == [(0.0, pytest.approx(0.5)), (1.0, pytest.approx(0.51))]


def test_a_share_between_0_and_1_without_a_unit_is_asked_back():
    lines = [f"{stamp(k)},0.{k}" for k in range(9)]
    with pytest.raises(Malformed, match="percent, or a share") as caught:
        read("\n".join(["time,gpu_util", *lines]))
    assert "gpu_util_ratio" in caught.value.hint


def test_devices_in_columns():
    lines = [f"{stamp(k)},10,100,90,900" for k in range(4)]
    text = "\n".join(["timestamp,gpu0_util,gpu0_mem_used_mb,gpu1_util,gpu1_mem_used_mb", *lines])
    first, second = every(text, device="all")
    assert (shares(first)[0][1], shares(second)[0][1]) == (0.1, 0.9)
    assert second.rows[0][1][1] == 900.0 * MIB


def test_a_log_without_titles():
    headless = PLAIN.partition("\n")[2]
    with pytest.raises(Malformed) as caught:
        read(headless)
    assert "--columns" in caught.value.hint
    names = "timestamp,utilization.gpu,memory.used,memory.total"
    assert shares(read(headless, columns=names)) == EXPECTED
    assert shares(read(PLAIN, columns=names)) == EXPECTED
    with pytest.raises(TraceError):
        read(headless, columns="timestamp,utilization.gpu")


def test_a_log_without_times():
    timeless = "\n".join(["utilization.gpu [%], memory.used [MiB]", *["50 %, 9 MiB"] * 5])
    with pytest.raises(Malformed) as caught:
        read(timeless)
    assert "--interval" in caught.value.hint
    found = read(timeless, interval_s=2.0)
    assert [t for t, _ in found.rows] == [0.0, 2.0, 4.0, 6.0, 8.0]
    assert "2 s apart" in found.notes[0]


# ---- numbers ----------------------------------------------------------------------------------


@given(
    st.lists(
        st.sampled_from(["5 %", "7", "9.5 %", "[N/A]", "3 MiB", "-1", "x", "1e3", "2147483648"]),
        min_size=1,
    )
)
def test_many_numbers_are_as_one_by_one(cells):
    try:
        alone = [number_in(cell, 0.01) for cell in cells]
    except ValueError:
        with pytest.raises(ValueError, match="is not a number"):
            numbers_in(cells, 0.01)
        return
    assert repr(numbers_in(cells, 0.01)) == repr(alone)


@given(st.lists(st.lists(st.text('a0 ,;"\r', max_size=3), max_size=4).map(", ".join), min_size=1))
def test_plain_lines_are_cut_as_csv_does(lines):
    found = columns_of(lines, ",")
    if found:
        rows = csv.reader(lines, skipinitialspace=True)
        assert [list(row) for row in zip(*found, strict=True)] == list(rows)


@pytest.mark.parametrize("minute", ["60:", "5 :", "-1:"])
def test_an_hour_that_is_known_takes_no_minute_that_there_is_not(minute):
    clock = Clock()
    clock.many(["2026/01/01 10:00:00", "2026/01/01 10:01:00"])
    with pytest.raises(ValueError, match="not a time"):
        clock.many([f"2026/01/01 10:{minute}00"])


def test_rows_with_a_second_time_before_those_of_nvidia_smi():
    lines = PLAIN.splitlines()
    text = "\n".join(
        [lines[0], *(f"{stamp(k, '%Y-%m-%d %H:%M:%S')},{one}" for k, one in enumerate(lines[1:]))]
    )
    found = read(text)
    assert (shares(found), len(found.notes)) == (EXPECTED, 1)


def test_a_comma_in_the_seconds_splits_no_time():
    lines = [f"{stamp(k / 4, '%Y-%m-%d %H:%M:%S')},{250 * (k % 4):03d}, 50 %" for k in range(9)]
    found = read("\n".join(["timestamp, utilization.gpu [%]", *lines, ""]))
    assert ([t for t, _ in found.rows], found.notes) == ([k / 4 for k in range(9)], ())
    other = [f"{stamp(k, '%Y-%m-%d %H:%M:%S')},{k}, 50 %, 7" for k in range(9)]
    with pytest.raises(Malformed):
        read("\n".join(["timestamp, utilization.gpu [%]", *other, ""]))


def test_the_machines_own_figures_are_not_the_gpus():
    with pytest.raises(TraceError):
        read("time,utilization\n" + "".join(f"{stamp(k)},50\n" for k in range(5)))
    rows_ = "".join(f"{stamp(k)},12,900,50,3000\n" for k in range(5))
    found = read("time,cpu_percent,mem_used_mb,gpu_util,gpu_mem_used_mb\n" + rows_)
    assert found.rows[0] == (0.0, (0.5, 3000.0 * MIB))
    found = read("time,cpu_percent,mem_used_mb,gpu_util,x\n" + rows_)
    assert found.rows[0] == (0.0, (0.5,))


def test_zstd():
    zstandard = pytest.importorskip("zstandard")
    data = zstandard.compress(PLAIN.encode())
    assert shares(read(data)) == EXPECTED
    with pytest.raises(TraceError):
        read(data[:10] + b"?" + data[11:])


def test_a_compressed_file_by_its_path(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(gzip.compress(PLAIN.encode()))
    assert shares(open_traces(str(path))[0]) == EXPECTED


def test_mutated_logs_give_a_recording_or_one_line():
    drawn = random.Random(20)
    sample = two("index", ("0", "1")).encode()
    for _ in range(200):
        changed = bytearray(sample)
        for _ in range(drawn.randint(1, 12)):
            at = drawn.randrange(len(changed))
            changed[at : at + drawn.randint(0, 3)] = bytes(
                drawn.choices(b'\n,;% 0123456789-/:."\0\xff', k=drawn.randint(0, 3))
            )
        try:
            found = read(bytes(changed))
        except TraceError as error:
            assert "\n" not in str(error)
        else:
            assert all(0.0 <= v <= 1.0 for _, v in shares(found))
