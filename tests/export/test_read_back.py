"""What is written says what was predicted, whatever the names around it are."""

import itertools
import json
import math
import re
import shlex
import tomllib

import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from jupyter_gpupredict.core.errors import ExportError, InvalidOption, Unrepresentable
from jupyter_gpupredict.export.function.container import slug
from tests.export.runs import PAIRS, UUID, breadth, export, manifests, ranked, run

FEATURES = tuple(
    f"kubernetes.podspec-{end}"
    for end in ("hostipc", "volumes-hostpath", "nodeselector", "schedulername", "runtimeclassname")
)
FEATURED = list(itertools.product(("knative", "kserve"), ("mps", "gke", "kai", "volcano")))
"""Pairs that a Knative with these features on runs."""
CAP_S = {"knative": 600, "kserve": 600, "cloudrun": 3600}
SELECTS = ("job", "nuclio", "rayjob")
"""Workloads with a node selector."""
BY_TIME = ("hami", "volcano")
TOGETHER = ("job", "rayjob", "fastpod", "ecs", "slurm")
"""Workloads that start several ranks."""
PERCENTS = {
    "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": "sm",
    "GPUPREDICT_SM_PERCENT": "sm",
    "GPUPREDICT_TIME_PERCENT": "time",
    "nvidia.com/gpucores": "time",
    "volcano.sh/vgpu-cores": "time",
    "defaultActiveThreadPercentage": "sm",
    "maxComputePercent": "sm",
    "active_thread_percentage": "sm",
    "jupyter-gpupredict/sm-percent": "sm",
    "jupyter-gpupredict/time-percent": "time",
}
MIBS = {
    "GPUPREDICT_MEM_MIB", "nvidia.com/gpumem", "volcano.sh/vgpu-memory", "gpu-memory",
    "jupyter-gpupredict/memory-mib",
}  # fmt: skip
HOSTILE = [
    "no", "1e3", "", "a: b", "#x", "{{x}}", "${HOME}", "~", "- a", "'", '"', "\x00", "a\nb: c",
    "x" * 300, "é\u2028ß", "null", "0x1F", "&a", "*a", "!!python/x", "`id`", "$(id)", "%TAG",
    "\\", "a\r\nb", "\ufeff", "@x", "|", ">", "?", "true", "1_000", "12:30", "=", "<<", "y",
]  # fmt: skip


def parsed(path, text):
    """Return the documents of a file, read by a library that the product does not read with."""
    if path.endswith(".json"):
        return [json.loads(text)]
    if path.endswith(".toml"):
        return [tomllib.loads(text), comments(text)]
    if path.endswith(".env"):
        pairs = re.findall(r"^(\w+)=\"?([^\"\n]*)\"?$", text, re.MULTILINE)
        assert text.count("=") >= len(pairs) > 0
        return [dict(pairs), comments(text)]
    if path.endswith(".sbatch"):
        return [script(text), comments(text)]
    if path.endswith(".sh"):
        return [{}]
    return list(yaml.load_all(text, Loader=yaml.SafeLoader))  # noqa: S506 - the pure one


def script(text):
    """Return directives, exports and the words of the last command of a batch script."""
    exports = re.findall(r"^export (\w+)=(.*)$", text, re.MULTILINE)
    given = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))
    assert {"job-name", "gres", "mem"} <= set(given)
    plain = {name: "".join(shlex.split(value)) for name, value in exports}
    counted = re.search(r"^# A GPU counts (\d+) ", text, re.MULTILINE)
    words = shlex.split(text.splitlines()[-1])
    return given | plain | {"words": words, "counted": counted and int(counted[1])}


def comments(text):
    return dict(re.findall(r"^# (\S+): (.*)$", text, re.MULTILINE))


def figures(node, found=None):
    """Return kind -> every value in a tree of data, in percent or MiB."""
    found = {"sm": set(), "time": set(), "mem": set()} if found is None else found
    if isinstance(node, list):
        for one in node:
            figures(one, found)
    elif isinstance(node, dict):
        if {"name", "value"} <= set(node) or {"key", "value"} <= set(node):
            figures({node.get("name", node.get("key")): node["value"]}, found)
        for key, value in node.items():
            if key in PERCENTS:
                found[PERCENTS[key]].add(int(value))
            elif key in MIBS:
                found["mem"].add(int(value))
            elif key == "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT":
                found["mem"] |= {int(size) for size in re.findall(r"\d+=(\d+)M", value)}
            elif key == "pinned_memory_limit":
                found["mem"].add(int(value.removesuffix("M")))
            elif key == "defaultPinnedDeviceMemoryLimit":
                found["mem"].add(int(value.removesuffix("Mi")))
            elif key == "fastgshare/gpu_mem":
                found["mem"].add(int(value) / (1 << 20))
            elif key == "fastgshare/gpu_sm_partition" and value != "100":
                found["sm"].add(int(value))
            elif key == "fastgshare/gpu_quota_limit" and float(value) < 1:
                found["time"].add(round(100 * float(value)))
            elif key == "nvidiaMps":
                found["mem"].add(value["memory"])
                figures({"maxComputePercent": value.get("maxComputePercent", 0)}, found)
            elif key == "runtimeEnvYAML":
                figures(yaml.safe_load(value), found)
            else:
                figures(value, found)
    found["sm"].discard(0)
    return found


def swapped(node, words):
    """Return a tree with words put in place of others, wherever they stand in a text."""
    if isinstance(node, str):
        for old, new in words:
            node = node.replace(old, new)
        return node
    if isinstance(node, list):
        return [swapped(one, words) for one in node]
    if isinstance(node, dict):
        return {swapped(key, words): swapped(value, words) for key, value in node.items()}
    return node


def written(found, pair, **options):
    workload, sharing = pair
    outcome = export(
        found, workload=workload, sharing=sharing, knative_features=FEATURES, dry_run=True,
        **options,
    )  # fmt: skip
    check_implied(outcome, found, sharing)
    again = export(
        found, workload=workload, sharing=sharing, knative_features=FEATURES, dry_run=True,
        **options,
    )  # fmt: skip
    assert outcome.texts == again.texts
    return {path: parsed(path, text) for path, text in manifests(outcome).items()}


def check_implied(outcome, found, sharing):
    """No manifest grants less of the SMs or the time than is known, or without saying so."""
    texts = manifests(outcome)
    kind, name = ("time", "time") if sharing in BY_TIME else ("sm", "SM")
    shares = {one.basis: one.target_ratio for one in (found.recommendation, *found.others)}
    known = shares.get(f"{kind}_share")
    granted = implied([one for path, text in texts.items() for one in parsed(path, text)], kind)
    if known is not None:
        assert granted >= min(100, math.ceil(100 * known - 1e-9)), texts
    elif granted < 100:
        assert f"No {name} share is set" in "".join(outcome.warnings)
        bases = re.findall(r"basis\W+(?:value\W+)?(\w+)", "".join(texts.values()))
        assert set(bases) == {"none"}


def implied(documents, kind):
    """Return the least percent that a client gets: of what limits it, and of equal parts."""
    least = [100.0, *figures([unstamped(one) for one in documents])[kind]]
    for one in nodes(documents):
        if kind == "sm" and str(one.get("gres")).startswith("mps:"):  # Slurm sets it of the count
            least.append(100 * int(one["gres"][4:]) // one["counted"])
        if kind == "sm" and "cloud.google.com/gke-max-shared-clients-per-gpu" in one:
            least.append(100 // int(one["cloud.google.com/gke-max-shared-clients-per-gpu"]))
        for text in one.get("data", {}).values() if one.get("kind") == "ConfigMap" else ():
            (resource,) = yaml.safe_load(text)["sharing"]["mps"]["resources"]
            least.append(100 // resource["replicas"])
    shared = any("nvidia.com/gpu.shared" in one for one in nodes(documents))
    assert not shared or any(one.get("kind") == "ConfigMap" for one in nodes(documents))
    return min(least)


def nodes(node):
    """Yield every mapping of a tree."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for one in node if isinstance(node, list) else ():
        yield from nodes(one)


hostile = st.one_of(st.text(max_size=300), st.sampled_from(HOSTILE))
labels = st.one_of(
    st.sampled_from(["", "no", "1e3", "true", "0x1F", "null", "1_000", "a.b-c", "12", "y", "0o7"]),
    st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?", fullmatch=True),
)


@pytest.mark.parametrize("pair", PAIRS + FEATURED, ids="-".join)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    share=st.floats(0.0001, 1.0),
    memory=st.floats(1.0, 1_572_864.0),
    by_time=st.booleans(),
    sms=st.one_of(st.none(), st.integers(2, 200)),
    total=st.one_of(st.none(), st.integers(1000, 2_000_000)),
    seconds=st.one_of(st.none(), st.floats(0.1, 1e6)),
    name=hostile,
    image=st.from_regex(r"[a-z0-9][a-z0-9./-]{0,30}:[a-z0-9.]{1,9}", fullmatch=True),
    value=labels,
    gpu=hostile,
    ranks=st.sampled_from([1, 2, 64]),
)
def test_what_is_written_reads_back(
    pair, share, memory, by_time, sms, total, seconds, name, image, value, gpu, ranks
):
    workload, sharing = pair
    assume(total is None or memory <= total - 1)
    assume(not image.endswith((".", ":latest")))
    if workload == "cloudrun":
        memory = min(memory, 23_000.0)
    if seconds is not None:
        seconds = min(seconds, CAP_S.get(workload, 1e6))
    basis = run if by_time else breadth

    def make(**options):
        found = basis(**options)
        return ranked(found, ranks) if ranks > 1 and workload in TOGETHER else found

    common = {
        "target": share, "memory": memory, "sm_count": sms, "total": total,
        "outcome": "running", "total_s": seconds,
    }  # fmt: skip
    selector = {}
    if workload in SELECTS or (pair in FEATURED and sharing in ("mps", "gke")):
        selector = {"node_selector": {"k": value}}
    found = make(**common, name=gpu)
    documents = written(found, pair, name=name, image=image, **selector)
    stated = figures(list(documents.values()))
    applied = figures([unstamped(one) for one in documents.values()])
    if sharing not in ("fast-gshare", "none"):  # the one has both shares, the other has none
        kind = "time" if by_time else "sm"
        informed = any("GPUPREDICT_MEM_MIB" in repr(one) for one in documents.values())
        told = {"sm", "time"} if informed else set()
        fits = by_time == (sharing in BY_TIME) or kind in told
        assert {"sm", "time"} & {one for one in applied if applied[one]} == (
            {kind} if fits else set()
        )
        assert applied["mem"] == stated["mem"]
    mib = math.ceil(memory - 1e-6)
    assert stated["mem"] <= {mib, mib + 1}  # the share of a MiB that a float is off
    assert len(stated["mem"]) == 1
    assert abs(next(iter(stated["mem"])) - memory) <= 1 + 1e-3
    if by_time:
        assert stated["sm"] == set()
        assert (stated["time"] or {100}) == {min(100, max(1, math.ceil(100 * share - 1e-9)))}
    else:
        assert stated["time"] == set()
        (percent,) = stated["sm"] or {100}
        if sms is None:
            assert percent == min(100, max(1, math.ceil(100 * share - 1e-9)))
        else:
            wanted = math.ceil(share * sms - 1e-9)
            assert 2 * (percent * sms // 200) >= min(wanted, 2 * (sms // 2))
    harmless = written(
        make(**common, name="PLAIN-GPU"), pair, name="plainname", image="plain/image:1",
        **({"node_selector": {"k": "PLAIN-LABEL"}} if selector else {}),
    )  # fmt: skip
    shown = " ".join("".join(c if c.isprintable() else " " for c in gpu).split())
    for path, content in documents.items():
        expected = [without_gpu(one) for one in harmless[path]]
        words = [("plainname", slug(name)), ("plain/image:1", image), ("PLAIN-LABEL", value)]
        assert [without_gpu(one) for one in content] == swapped(expected, words), path
        for one in content:
            assert stamped_gpu(one) in (None, shown, re.sub(r"[^\w .:/=+@-]", "_", shown)[:256])


PARTS = [pair for pair in PAIRS if pair[1] in ("device-plugin", "gke", "slurm-mps")]


@pytest.mark.parametrize("pair", PARTS, ids="-".join)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    share=st.floats(0.0001, 1.0),
    known=st.booleans(),
    memory=st.floats(1.0, 80_000.0),
    total=st.one_of(st.none(), st.integers(80_001, 200_000)),
    clients=st.one_of(st.none(), st.integers(2, 48)),
    count=st.one_of(st.none(), st.integers(1, 1000)),
    headroom=st.sampled_from([0.0, 30.0, 100.0]),
)
def test_a_count_never_implies_less_than_is_known(
    pair, share, known, memory, total, clients, count, headroom
):
    """Whoever divides the GPU: what was measured, the user's clients, or the site's count."""
    workload, sharing = pair
    found = (breadth if known else run)(target=share, memory=memory, total=total, duration_s=200.0)
    options = {"clients": clients, "headroom_sm_percent": headroom}
    if workload == "slurm":
        options = {"gres_count": count, "headroom_sm_percent": headroom}
    try:
        outcome = export(found, workload=workload, sharing=sharing, dry_run=True, **options)
    except Unrepresentable as error:
        assert clients is not None
        assert "which is less than the run needs" in str(error)
        return
    check_implied(outcome, found, sharing)


STAMP = "jupyter-gpupredict/"
GPU_NAME = STAMP + "gpu-name"


def unstamped(node):
    """Return a tree without stamps: what is left is what a platform applies."""
    if isinstance(node, list):
        return [unstamped(one) for one in node if not stamp(one)]
    if isinstance(node, dict):
        return {key: unstamped(one) for key, one in node.items() if not key.startswith(STAMP)}
    return node


def stamp(node):
    return isinstance(node, dict) and str(node.get("key", "")).startswith(STAMP)


def without_gpu(node):
    """Return a tree without the stamp of the GPU's name, which may be empty."""
    if isinstance(node, list):
        return [without_gpu(one) for one in node if stamped_gpu(one) is None or "key" not in one]
    if isinstance(node, dict):
        return {key: without_gpu(value) for key, value in node.items() if key != GPU_NAME}
    return node


def stamped_gpu(node):
    if isinstance(node, dict):
        if node.get("key") == GPU_NAME:
            return node["value"]
        if GPU_NAME in node:
            return node[GPU_NAME]
        node = list(node.values())
    if isinstance(node, list):
        return next((name for name in map(stamped_gpu, node) if name is not None), None)
    return None


@example(("fission", "device-plugin"), "", "", "\0", UUID, "")
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(PAIRS), hostile, hostile, hostile,
    st.one_of(hostile, st.just(UUID)), hostile,
)  # fmt: skip
def test_hostile_words_are_refused_or_written_as_they_are(pair, key, value, image, uuid, card):
    workload, sharing = pair
    selector = {key: value} if workload in SELECTS else {}
    options = {"image": image, "gpu_uuid": uuid, "accelerator": card, "node_selector": selector}
    found = breadth(duration_s=200.0)
    try:
        documents = written(found, pair, **options)
    except (ExportError, InvalidOption) as error:
        assert "\n" not in str(error)
        return
    texts = list(strings(list(documents.values())))
    if image and workload != "local" and "function.yaml" not in documents:
        assert (f"docker://{image}" if workload == "slurm" else image) in texts
    if selector:
        assert key in texts
        assert value in texts
    if sharing == "mps-v3":
        assert texts.count(uuid) == 1
    assert "\x00" not in "".join(texts)


def strings(node):
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(node, list):
        for one in node:
            yield from strings(one)
