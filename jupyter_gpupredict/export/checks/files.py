"""Checks the text of one file: parses it, finds what it is, and applies its shape and rules."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.export import documents
from jupyter_gpupredict.export.checks import (
    batch,
    clusters,
    companions,
    containers,
    functions,
    kubernetes,
    numbers,
    platforms,
    ranks,
    ray,
    serverless,
    tasks,
    values,
)
from jupyter_gpupredict.export.checks.ledger import Allowed, Ledger
from jupyter_gpupredict.export.checks.shapes import join
from jupyter_gpupredict.export.checks.values import at, items, table
from jupyter_gpupredict.export.function.detectors import has_shape
from jupyter_gpupredict.export.provenance import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

Rule = Callable[[dict[str, Any], Ledger], None]
RULES: dict[tuple[str, str], Rule] = {
    ("batch/v1", "Job"): batch.job,
    ("batch/v1", "CronJob"): batch.job,
    ("v1", "Pod"): batch.bare_pod,
    ("v1", "ConfigMap"): companions.config_map,
    ("resource.k8s.io/v1", "ResourceClaimTemplate"): companions.claim,
    ("resource.k8s.io/v1", "ResourceClaim"): companions.claim,
    ("serving.knative.dev/v1", "Service"): serverless.knative,
    ("serving.kserve.io/v1beta1", "InferenceService"): serverless.kserve,
    ("ray.io/v1", "RayJob"): ray.job,
    ("batch.volcano.sh/v1alpha1", "Job"): batch.volcano,
    ("fission.io/v1", "Environment"): functions.fission_environment,
    ("fission.io/v1", "Function"): functions.fission,
    ("fastgshare.caps.in.tum/v1", "FaSTPod"): tasks.fastpod,
    ("openfaas.com/v1", "Function"): functions.openfaas_function,
    ("openfaas.com/v1", "Profile"): functions.openfaas_profile,
    ("run.googleapis.com/v1", "Job"): serverless.cloudrun,
}
KINDS = {**kubernetes.KINDS, **platforms.KINDS, **clusters.KINDS}
GROUPS = {api.partition("/")[0] for api, _ in KINDS if "/" in api}
LONGEST = {"RayJob": 47, "CronJob": 52}
"""Kinds whose names become longer ones."""
LETTER_FIRST = ("serving.knative.dev", "serving.kserve.io", "ray.io", "run.googleapis.com")
ENV_FILE = {
    containers.PERCENTAGE,
    containers.MEMORY,
    containers.PIPE,
    "CUDA_MPS_LOG_DIRECTORY",
    "CUDA_VISIBLE_DEVICES",
}
SUFFIXES = (".yaml", ".yml", ".json", ".toml", ".env", ".env.example", ".sh")


def inspect(path: str, text: str, allowed: Allowed) -> tuple[Ledger, tuple[str, ...]]:
    """Return what is wrong with a file's text, and the kinds in it that nothing is known of.

    Args:
        path: The file's name; its ending says how it is read.
        text: Its text.
        allowed: What the user's platform allows, and what the figures should be.
    """
    ledger = Ledger(path, allowed)
    unknown: list[str] = []
    try:
        if path.endswith(".sh"):
            _script(text, ledger)
        elif path.endswith(".toml"):
            numbers.stamps(_comments(text), "comment", ledger)
            _secrets(parsed := documents.parse_toml(text), ledger)
            _mps_config(parsed, ledger)
        elif path.endswith((".env", ".env.example")):
            numbers.stamps(_comments(text), "comment", ledger)
            _env_file(path, text, ledger)
        else:
            _objects(path, text, ledger, unknown)
    except ValueError as error:
        ledger.add("parse", "", " ".join(str(error).split()))
    else:
        ledger.object = ""
        numbers.settle(ledger)
    return ledger, tuple(unknown)


def _objects(path: str, text: str, ledger: Ledger, unknown: list[str]) -> None:
    found: list[Any] = (
        [documents.parse_json(text)] if path.endswith(".json") else documents.parse_yaml(text)
    )
    if not found:
        raise ValueError("holds nothing")
    for one in found:
        if (at(one, "apiVersion"), at(one, "kind")) == ("v1", "Service"):
            ranks.service(one, ledger)  # wherever in the file what refers to it stands
    for one in found:
        if not isinstance(one, dict):
            ledger.add("parse", "", "a document is no mapping")
            continue
        kind, name = one.get("kind"), at(one, "metadata", "name")
        ledger.object = f"{kind}/{name}" if len(found) > 1 and kind else ""
        _secrets(one, ledger)
        try:
            known = _object(path, one, ledger)
        except (ArithmeticError, AttributeError, KeyError, TypeError) as error:
            # The shape is so wrong that a rule stumbled: its findings stand, the rest is not seen.
            ledger.add("schema", "", f"unexpected shape, not checked to the end: {error}")
        else:
            if not known:
                unknown.append(f"{one.get('apiVersion')} {kind}")


def _object(path: str, found: dict[str, Any], ledger: Ledger) -> bool:
    """Check one document; False where its kind is not known."""
    api, kind = found.get("apiVersion"), found.get("kind")
    if "containerDefinitions" in found:
        numbers.stamps(_tags(found), "tags", ledger)
        _shape(clusters.ECS_TASK, found, ledger)
        tasks.ecs(found, ledger)
    elif found.get("schema") == "jupyter-gpupredict/1" or path.endswith("gpupredict.json"):
        _record(found, ledger)
    elif at(found, "provider", "name") == "openfaas":
        for name, function in table(found.get("functions")).items():
            notes = table(function).get("annotations")
            numbers.stamps(notes, f"functions.{name}.annotations", ledger)
        _shape(platforms.OPENFAAS_STACK, found, ledger)
        functions.openfaas_stack(found, ledger)
    elif found.get("version") == "v1" and "sharing" in found and kind is None:
        companions.plugin(found, "", ledger)
    elif "specVersion" in found and kind is None:
        _func(found, ledger)
    elif isinstance(api, str) and api.startswith("nuclio.io/"):
        _metadata(found, ledger)
        _shape(platforms.NUCLIO, found, ledger)
        functions.nuclio(found, ledger)
    elif not isinstance(api, str) or not isinstance(kind, str):
        ledger.add("no-schema", "", "apiVersion and kind must be text")
    elif api == "serving.knative.dev/v1" and _on_cloudrun(found):
        _metadata(found, ledger)
        _shape(platforms.CLOUDRUN_SERVICE, found, ledger)
        serverless.cloudrun(found, ledger)
    elif (api, kind) in KINDS:
        _metadata(found, ledger)
        _shape(KINDS[api, kind], found, ledger)
        if (api, kind) in RULES:
            RULES[api, kind](found, ledger)
    elif api.partition("/")[0] in GROUPS:
        ledger.add("no-schema", "", f"{api} {kind} is not served, or is not what is exported")
    else:
        return False
    return True


def _shape(shape: Any, found: Any, ledger: Ledger) -> None:
    for where, message in shape(found, ""):
        # the value of a variable has a rule of its own, which says more
        rule = "env" if re.search(r"env\[\d+\]\.value$|\.environment\.\w+$", where) else "schema"
        ledger.add(rule, where, message)


def _metadata(found: dict[str, Any], ledger: Ledger) -> None:
    api, kind = str(found.get("apiVersion")), str(found.get("kind"))
    name = at(found, "metadata", "name")
    letter = api.partition("/")[0] in LETTER_FIRST or (api, kind) == ("v1", "Service")
    pattern = values.LABEL_1035 if letter else values.LABEL
    longest = LONGEST.get(kind, 63)
    if not isinstance(name, str) or not pattern.fullmatch(name) or len(name) > longest:
        form = "letter first, " if letter else ""
        message = f"{name!r} is no DNS label ({form}{longest} characters at most)"
        ledger.add("name", "metadata.name", message)
    numbers.stamps(at(found, "metadata", "annotations"), "metadata.annotations", ledger)


def _on_cloudrun(found: dict[str, Any]) -> bool:
    spec = table(at(found, "spec", "template", "spec"))
    notes = [
        *table(at(found, "metadata", "annotations")),
        *table(at(found, "spec", "template", "metadata", "annotations")),
    ]
    return serverless.ACCELERATOR in table(spec.get("nodeSelector")) or any(
        str(key).startswith("run.googleapis.com/") for key in notes
    )


def _tags(found: dict[str, Any]) -> dict[str, Any]:
    return {str(at(one, "key")): at(one, "value") for one in items(found.get("tags"))}


def _record(found: dict[str, Any], ledger: Ledger) -> None:
    """Check the figures of gpupredict.json, which the manifests are compared with."""
    for key, most in (("sm_percent", 100), ("time_percent", 100), ("memory_mib", 1 << 24)):
        value = at(found, "export", key)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most
        ):
            ledger.add("schema", f"export.{key}", f"{value!r} is no whole number from 1")
    source = at(found, "observation", "source")
    if not re.fullmatch(numbers.STAMPS["source"], str(source)):
        ledger.add("schema", "observation.source", f"{source!r} is no source")


def _func(found: dict[str, Any], ledger: Ledger) -> None:
    resources = at(found, "deploy", "options", "resources")
    for side in ("requests", "limits"):
        for key in table(at(resources, side)):
            if "gpu" in str(key):
                where = join(f"deploy.options.resources.{side}", str(key))
                ledger.add("func-gpu", where, "func.yaml holds no GPU: use a Knative Service")


def _mps_config(found: dict[str, Any], ledger: Ledger) -> None:
    ledger.stamped = True
    _shape(clusters.MPS_CONFIG, found, ledger)
    for name, server in table(found.get("servers")).items():
        path = join("servers", str(name))
        devices = at(server, "allowed_devices")
        if isinstance(devices, str) and not re.fullmatch(
            r"GPU-[0-9a-fA-F-]+(,GPU-[0-9a-fA-F-]+)*", devices
        ):
            ledger.add("schema", join(path, "allowed_devices"), "is a list of GPU UUIDs")
        _mps_limits(table(server), path, ledger)
        for space, client in table(at(server, "namespaces")).items():
            _mps_limits(table(client), join(join(path, "namespaces"), str(space)), ledger)


def _mps_limits(found: dict[str, Any], path: str, ledger: Ledger) -> None:
    percent, memory = found.get("active_thread_percentage"), found.get("pinned_memory_limit")
    if isinstance(percent, str):
        where = join(path, "active_thread_percentage")
        containers.variable(containers.PERCENTAGE, percent, where, None, ledger)
    if isinstance(memory, str):
        where = join(path, "pinned_memory_limit")
        containers.variable(containers.MEMORY, f"0={memory}", where, None, ledger)


def _env_file(path: str, text: str, ledger: Ledger) -> None:
    example = path.endswith(".example")
    ledger.stamped = not example
    seen = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        where = f"line {number}"
        found = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", line.strip())
        if found is None:
            raise ValueError(f"{where}: not NAME=value")
        name, value = found[1], found[2]
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
            if re.search(r"[\"'$`\\]", value):
                raise ValueError(f"{where}: a sign that a shell would read")
        elif re.search(r"[^\w./:,@%+-]", value):
            raise ValueError(f"{where}: a sign that a shell would read")
        if name in seen:
            ledger.add("env", where, f"{name} is given twice")
        seen.add(name)
        if value and (values.SECRET_NAME.fullmatch(name) or has_shape(value)):
            ledger.add("secret", where, f"{name} must have no value here")
        if not example:
            if name not in ENV_FILE and not name.startswith("GPUPREDICT_"):
                ledger.add("env", where, f"{name} does not belong here")
            containers.variable(name, value, where, None, ledger)


def _script(text: str, ledger: Ledger) -> None:
    """Check a script, as far as that goes without a shell: quotes that do not close, secrets."""
    ledger.stamped = False
    if not text.startswith("#!"):
        ledger.add("parse", "", "no shebang line")
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    words = re.findall(r"(?:^|[\n;]|&&|\|\||\bthen|\belse|\bdo)[ \t]*(\w+)\b", code)
    for opens, closes in (("if", "fi"), ("do", "done"), ("case", "esac")):
        started = len(re.findall(rf"(?:^|[\n;])[ \t]*{opens}\b", code))
        if opens in ("if", "case") and started != words.count(closes):
            ledger.add("parse", "", f"{started} {opens}, {words.count(closes)} {closes}")
    if code.replace('\\"', "").count('"') % 2:
        ledger.add("parse", "", "a quote does not close")
    for name in (containers.PERCENTAGE, containers.MEMORY):
        if re.search(rf"^\s*(export\s+)?{name}=", text, re.MULTILINE):
            ledger.add("env", "", f"{name} belongs in mps.env")
    if has_shape(text):
        ledger.add("secret", "", "something has the shape of a credential")


def _comments(text: str) -> dict[str, str]:
    pattern = rf"^#\s*({re.escape(PREFIX)}[\w-]+)\s*[:=]\s*(.+?)\s*$"
    return dict(re.findall(pattern, text, re.MULTILINE))


def _secrets(found: Any, ledger: Ledger) -> None:
    for where, text in _strings(found, ""):
        if where.endswith("functionSourceCode"):
            try:
                decoded = base64.b64decode(text, validate=True).decode("utf-8", "replace")
            except (binascii.Error, ValueError):
                ledger.add("nuclio", where, "is not base64")
                continue
        else:
            decoded = text
        if has_shape(decoded):
            ledger.add("secret", where, "a value has the shape of a credential")


def _strings(found: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(found, str):
        yield path, found
    elif isinstance(found, dict):
        for key, value in found.items():
            yield from _strings(str(key), join(path, "key"))
            yield from _strings(value, join(path, str(key)))
    elif isinstance(found, list):
        for position, value in enumerate(found):
            yield from _strings(value, f"{path}[{position}]")
