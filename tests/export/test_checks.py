import copy
import json
import os
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from jupyter_gpupredict.export import validating
from jupyter_gpupredict.export.compatibility import adapters
from jupyter_gpupredict.export.documents import parse_json, parse_yaml
from jupyter_gpupredict.export.findings import Allowed
from jupyter_gpupredict.export.shapes import SCHEMAS
from tests.export.golden import FOLDER, files
from tests.export.mutants import mutants

BAD = FOLDER.parent / "bad"
EXPECTED = Allowed(sm_percent=37, time_percent=82, memory_mib=5874)
HARMLESS = (
    (r"drop .*gpupredict/(cell|cert|cov|gpu-|memory-f|pred|share|watched)\S*", "optional"),
    (r"drop .*tags.*", "an optional stamp, as ECS writes it"),
    (r"drop metadata.annotations(\.jupyter-gpupredict/(sm|memory)\S*)?", "inputs of a companion"),
    (r"(drop|twice) .*(command|args)\b.*", "the image's own command, or another one"),
    (r"(drop|twice) .*envFrom.*", "secrets are optional, and the same one twice is the same"),
    (r"(drop|twice) .*ports.*", "the port is the platform's default"),
    (r"(drop|twice|slip) .*tolerations.*", "where it may run, not what it is limited to"),
    (r"drop .*(resources|resources.requests|resources.limits)", "of the host: none carries a GPU"),
    (r"drop .*resources.(requests|limits).(cpu|memory)", "of the host"),
    (r"retype .*resources.(requests|limits).\S+", "a quantity reads the same as a number"),
    (r"drop (functions.train-resnet|spec).limits(.cpu|.memory)?", "of the host"),
    (r"drop .*(cpu|essential|networkMode|entrypointNumCpus|rayVersion)", "has a default"),
    (r"drop .*namespace", "the one that is applied to"),
    (r"(drop|slip) metadata.labels\S*", "the platform's default project"),
    (r"(drop|slip) .*(launch-stage|execution-environment)", "the platform's default"),
    (r"drop spec.template.metadata(.annotations)?", "no more than the two above"),
    (r"drop .*(MinScale|MaxScale|StrategyType|SpecializationTimeout)", "has a default"),
    (r"drop .*(poolsize|concurrency|requestsPerPod|functionName|replicas)", "has a default"),
    (r"drop .*(minReplicas|min-scale|scale-to-zero-pod-retention-period)", "one that stays up"),
    (r"(drop|slip) spec.labels\S*", "does not scale to zero"),
    (r"drop .*(activeDeadlineSeconds|eventTimeout)", "no limit: the run may end by itself"),
    (r"drop .*(predictor.timeout|responseStartTimeoutSeconds)", "the default is long enough"),
    (r"drop .*(ttlSecondsAfterFinished|backoffLimit|maxRetries|restartPolicy)", "has a default"),
    (r"drop .*(taskCount|parallelism)", "is one by default"),
    (r"(drop|twice) spec.build\S*", "another build of the same code"),
    (r"drop .*deploymentStrategy\S*", "the GPU is not a share that a second pod waits for"),
    (r"(drop|slip) spec.triggers\S*", "the default trigger has one worker"),
    (r"drop .*env.\d+", "the pipe directory is the default one, or KAI's is the choice of GPU"),
    (r"(drop|slip) spec.environment\S*", "information; the profile limits"),
    (r"(drop|retype) version", "any version is read"),
    (r"slip .*nodeSelector.example.com/mps", "another label of the nodes"),
    (r"slip data.mps-2", "the name that a node's label gives"),
    (r"slip functions.train-resnet", "another name"),
    (r"drop .*(runtimeClassName|schedulerName)", "the node's runtime; HAMi's webhook sets its own"),
    (r"drop .*containers.\d+.name", "a revision names its container itself"),
    (r"drop .*claims.\d+.request", "all requests of the claim: there is one"),
    (r"drop .*devices.config.\d+.requests\S*", "all requests of the claim: there is one"),
    (r"drop .*rayStartParams", "KubeRay counts nvidia.com/gpu by itself"),
    (r"twice requiresCompatibilities\S*", "the same twice"),
    (r"drop spec.tasks.\d.template.spec.containers.0.env", "rank 0 of a pod is what code assumes"),
    (r"(drop|twice) spec.plugins.pytorch.0", "the plug-in has a port of its own"),
    (r"(drop|twice) spec.policies(.0)?(.events.\d)?", "the others wait until the time limit"),
    (r"drop .*workerGroupSpecs.\d.maxReplicas", "nothing scales it up"),
    (r"(drop|slip) .*plasma-directory", "what KubeRay mounts stands in no file"),
    (r"drop spec.minAvailable", "Volcano takes all"),
    (r"twice .*podAntiAffinity.*", "the same twice"),
    (r"drop spec.podFailurePolicy", "a disruption counts as a failure, and the run is told"),
    (r"twice spec.podFailurePolicy\S*", "the same twice"),
    (r"drop requiresCompatibilities.\d", "one of both is enough"),
    (r"drop .*logConfiguration(.options.awslogs-(create-group|stream-prefix))?", "has a default"),
    (r"drop services.train.(build(.context)?|mem_limit|restart|stop_grace\S*|cpus)", "default"),
    (r"drop .*emptyDir(.medium)?", "a folder on the node's disk instead"),
    (r"drop spec.volumes(.0)?", "/dev/shm is then as small as the engine makes it"),
    (r"(drop|twice) services.train.env_file\S*", "nothing of it limits, and the same twice is one"),
    (r"(drop|slip) .*environment.CUDA_MPS_PIPE_DIRECTORY", "the default one"),
    (r"drop services.train.volumes.1|drop volumes.outputs", "the results are then not kept"),
    (r"slip services.train", "another name"),
    (r"drop \S*(linuxParameters|sharedMemorySize)", "/dev/shm is then as small as by default"),
    (r"drop spec.runtime.podspec", "/dev/shm is then as small as the engine makes it"),
)
"""(what was done where, why it changes nothing that is limited or promised)."""


ADAPTERS = adapters()


def inspect(name, text, allowed):
    return validating.inspect(name, text, allowed, ADAPTERS)


def read(path):
    text = path.read_text(encoding="utf-8")
    return [parse_json(text)] if path.suffix == ".json" else parse_yaml(text)


def told(path, documents):
    text = "\n---\n".join(json.dumps(one) for one in documents)  # JSON is YAML, and quick
    ledger, unknown = inspect(path.name, text, EXPECTED)
    return ledger.findings or unknown


@pytest.mark.parametrize("path", files(), ids=lambda path: "/".join(path.parts[-2:]))
def test_a_golden_file_has_no_finding(path):
    ledger, unknown = inspect(path.name, path.read_text(encoding="utf-8"), EXPECTED)
    assert [str(finding) for finding in ledger.findings] == []
    assert unknown == ()


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.long)])
def test_every_slip_in_a_golden_file_is_found_or_harmless(step):
    """Keys and items dropped, misspelt, given twice or of another type, one at a time."""
    missed, count, found = set(), 0, 0
    for path in files():
        if path.suffix not in (".yaml", ".json"):
            continue
        documents = read(path)
        for position, document in enumerate(documents):
            for what, place, mutant in islice(mutants(document), count % step, None, step):
                count += 1
                changed = [*documents[:position], mutant, *documents[position + 1 :]]
                if told(path, changed):
                    found += 1
                    continue
                done = f"{what} {'.'.join(map(str, place))}"
                if not any(re.fullmatch(pattern, done) for pattern, _ in HARMLESS):
                    missed.add(f"{path.parent.name}: {done}")
    assert sorted(missed) == []
    assert found > 0.8 * count > 5000 / step


def test_every_key_given_twice_is_found():
    for path in files():
        if path.suffix != ".yaml":
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            if re.match(r"\s*[\w./\"-]+: \S", line) and not line.startswith(("#", " - ")):
                if any("|" in before for before in lines[max(0, number - 8) : number]):
                    continue  # inside a block of text
                text = "\n".join([*lines[:number], line, *lines[number:]])
                ledger, _ = inspect(path.name, text, EXPECTED)
                assert {one.rule for one in ledger.findings} == {"parse"}, (path, line)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: "---\n".join(reversed(text.split("---\n"))),  # the Service behind the Job
        lambda text: text.replace("-0.train-resnet", "-0.train-resnet.ns.svc.cluster.local"),
        lambda text: text.replace("    job-name: t", "    batch.kubernetes.io/job-name: t", 1),
    ],
)
def test_other_ways_to_say_the_same_are_no_findings(edit):
    text = (FOLDER / "job-mps-ranks" / "job.yaml").read_text(encoding="utf-8")
    changed = edit(text)
    assert changed != text
    assert [str(one) for one in inspect("job.yaml", changed, EXPECTED)[0].findings] == []


def test_workers_without_a_gpu_are_no_ranks():
    path = FOLDER / "rayjob-device-plugin-ranks" / "rayjob.yaml"
    (job,) = read(path)
    groups = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    other = copy.deepcopy(groups[0])
    other["groupName"], other["rayStartParams"] = "loaders", {}
    del other["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu.shared"]
    groups.append(other)
    assert not told(path, [job])
    groups.append(copy.deepcopy(groups[0]))
    assert [one.rule for one in told(path, [job])] == ["ranks"]


def bad_files():
    return sorted(BAD.iterdir())


@pytest.mark.parametrize("path", bad_files(), ids=lambda path: path.name)
def test_a_bad_file_breaks_the_rule_it_is_named_after(path):
    ledger, _ = inspect(path.name, path.read_text(encoding="utf-8"), Allowed())
    assert path.name.partition(".")[0] in {finding.rule for finding in ledger.findings}
    for finding in ledger.findings:
        assert "\n" not in str(finding)


JOB = "spec.template.spec"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("image: registry.example.com/train-resnet:0.1.0", "image: [a]"),
            ("error", "schema", f"{JOB}.containers[0].image", "must be text, not a list"),
        ),
        (
            ("memory: 8Gi", "memory: [8]"),
            (
                "error", "schema", f"{JOB}.containers[0].resources.requests.memory",
                "must be text or a number, not a list",
            ),
        ),
        (
            ("backoffLimit: 0", "backofLimit: 0"),
            ("error", "schema", "spec.backofLimit", "unknown field; did you mean backoffLimit?"),
        ),
        (
            ("backoffLimit: 0", "backoffLimit: -1"),
            ("error", "schema", "spec.backoffLimit", "must be a whole number from 0, not -1"),
        ),
        (
            ("operator: Exists", "operator: Exist"),
            (
                "error", "schema", f"{JOB}.tolerations[0].operator",
                "must be 'Exists' or 'Equal', not 'Exist'",
            ),
        ),
        (
            ("restartPolicy: Never", "restartPolicy: Always"),
            ("error", "job-restart", f"{JOB}.restartPolicy", "must be Never or OnFailure"),
        ),
        (
            ("name: train-resnet\n", "name: Train\n"),
            (
                "error", "name", "metadata.name",
                "'Train' is not a DNS label (63 characters at most)",
            ),
        ),
        (
            ('value: "37"', "value: 37"),
            ("error", "env", f"{JOB}.containers[0].env[0].value", "must be quoted text, not 37"),
        ),
        (
            ("    - secretRef:\n", "    - secretRf:\n"),
            (
                "error", "env", f"{JOB}.containers[0].envFrom[0]",
                "needs one of secretRef and configMapRef",
            ),
        ),
    ],
)  # fmt: skip
def test_a_shape_says_where_and_what_is_wrong(change, expected):
    text = (FOLDER / "job-device-plugin" / "job.yaml").read_text(encoding="utf-8")
    assert change[0] in text
    report, _ = inspect("job.yaml", text.replace(*change, 1), EXPECTED)
    found = [(one.level, one.rule, one.where, one.message) for one in report.findings]
    assert expected in found


def test_a_backend_says_where_and_what_is_wrong():
    text = (FOLDER / "job-hami" / "job.yaml").read_text(encoding="utf-8")
    changed = text.replace("nvidia.com/gpucores: 82", "nvidia.com/gpucores: 820")
    report, _ = inspect("job.yaml", changed, EXPECTED)
    where = f'{JOB}.containers[0].resources.limits."nvidia.com/gpucores"'
    message = "820 is not a whole percent from 1 to 100"
    assert ("hami", where, message) in {
        (one.rule, one.where, one.message) for one in report.findings
    }


def test_no_message_is_a_dump():
    for path in bad_files():
        ledger, _ = inspect(path.name, path.read_text(encoding="utf-8"), Allowed())
        for one in ledger.findings:
            assert len(one.message) <= 200, one
            assert not re.search(r"[{}]|properties|is not valid under|pattern", one.message), one


@pytest.mark.parametrize("path", sorted(SCHEMAS.iterdir()), ids=lambda path: path.name)
def test_a_schema_is_one_and_its_references_resolve(path):
    schema = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    common = json.loads((SCHEMAS / "kubernetes.json").read_text(encoding="utf-8"))["$defs"]
    for name in re.findall(r'"\$ref": "[^"#]*#/\$defs/([^"]+)"', path.read_text()):
        assert name in common


def test_a_kind_that_nothing_is_known_of_is_unchecked():
    text = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\n"
    ledger, unknown = inspect("x.yaml", text, Allowed())
    assert ledger.findings == []
    assert unknown == ("example.com/v1 Thing",)


@pytest.mark.parametrize(
    "text", ["", "- 1\n", "a: [", "kind: Job\n", "a: &a [*a]\n", "{}\n", "1\n", "a: !!python/x 1\n"]
)
def test_a_text_that_is_no_manifest_is_a_finding(text):
    ledger, _ = inspect("x.yaml", text, Allowed())
    assert ledger.failed


def shared_examples(shared, kind):
    folder = shared / "crds" / "examples" / kind
    if not folder.is_dir():
        pytest.skip("the examples of shared/crds are not there")
    return sorted(path for path in folder.iterdir() if path.is_file())


def inspected(path):
    return inspect(path.name, Path(path).read_text(encoding="utf-8"), Allowed())


def test_good_examples_pass(shared):
    unchecked = []
    for path in shared_examples(shared, "good"):
        ledger, unknown = inspected(path)
        assert [str(finding) for finding in ledger.findings] == []
        unchecked += [path.name] * bool(unknown)
    assert unchecked == ["openfunction.yaml"]


def test_bad_examples_fail(shared):
    passed = [path.name for path in shared_examples(shared, "bad") if not inspected(path)[0].failed]
    assert passed == []


def test_doubtful_examples_are_warned_of(shared):
    for path in shared_examples(shared, "warn"):
        ledger, _ = inspected(path)
        assert ledger.findings
        assert not ledger.failed


def test_a_name_with_a_newline_at_its_end_is_found():
    text = (FOLDER / "job-device-plugin" / "job.yaml").read_text(encoding="utf-8")
    changed = text.replace("name: train-resnet\n", 'name: "train-resnet\\n"\n', 1)
    assert "name" in {one.rule for one in inspect("job.yaml", changed, EXPECTED)[0].findings}


def test_a_record_is_known_by_its_name():
    report, unknown = inspect("f/gpupredict.json", '{"export": {"sm_percent": 101}}', Allowed())
    assert {(one.where, one.message) for one in report.findings} == {
        ("export.sm_percent", "must be a whole percent from 1 to 100, not 101"),
        ("observation", "is missing"),
    }
    assert unknown == ()


def test_the_grammar_that_takes_seconds_is_loaded_by_who_needs_it(tmp_path):
    (tmp_path / "rfc3987_syntax.py").write_text(
        "def is_valid_syntax(term, value):\n    return (term, value) == ('iri', 'good')\n"
    )
    script = """
import sys
from jupyter_gpupredict.export.shapes import problems

assert problems((), {"a": 1}) == ["a: unknown field"]
assert "jsonschema" in sys.modules
assert "rfc3987_syntax" not in sys.modules
from jsonschema import FormatChecker

assert FormatChecker().conforms("good", "iri")
assert not FormatChecker().conforms("bad", "iri")
assert sys.modules["rfc3987_syntax"].__file__
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=60)
