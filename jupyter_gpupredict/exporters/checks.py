"""Rules that no schema sees, checked on every manifest before it is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.exporters.provenance import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.core.deployment import Document, Figures

LABEL = re.compile(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?")
LABEL_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
PERCENT = re.compile(r"[1-9][0-9]?|100")
MEM_LIMIT = re.compile(r"0=[1-9][0-9]*[MG]")
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
TOKEN = re.compile(
    r"AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{30,}|sk-[A-Za-z0-9_-]{20,}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
"""Shapes of credentials that services publish so that they can be searched for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that a document breaks."""

    rule: str
    path: str
    message: str


def check(documents: Sequence[Document], figures: Figures) -> list[Finding]:
    """Return everything that is wrong with documents about to be written."""
    findings: list[Finding] = []
    for document in documents:
        for rule, message in _rules(document, figures):
            findings.append(Finding(rule, document.path, message))
    return findings


def _rules(document: Document, figures: Figures) -> Iterator[tuple[str, str]]:
    content = document.content
    for text in _strings(content):
        if TOKEN.search(text):
            yield "secret", "a value looks like a credential"
    if isinstance(content, dict) and content.get("kind") == "Job":
        yield from _job(content, figures)
    if document.path.endswith(".env") and isinstance(content, str):
        pairs = (line.partition("=") for line in content.splitlines() if line)
        yield from _environment([(key, value.strip('"')) for key, _, value in pairs], figures)


def _job(job: dict[str, Any], figures: Figures) -> Iterator[tuple[str, str]]:
    metadata, pod = job["metadata"], job["spec"]["template"]["spec"]
    if not LABEL.fullmatch(metadata["name"]):
        yield "name", f"{metadata['name']!r} is no DNS label"
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        yield "job-restart", "a Job's pod restarts Never or OnFailure"
    for key, value in metadata["annotations"].items():
        if not isinstance(value, str):
            yield "provenance-value", f"{key} is not a string"
    stamped = metadata["annotations"].get(PREFIX + "memory-mib")
    if stamped is not None and stamped != str(figures.memory_mib):
        yield "read-back", "the memory stamp is not the predicted figure"
    for key, value in pod.get("nodeSelector", {}).items():
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value):
            yield "node-selector", f"{key}={value!r} is no label of a node"
    for container in pod["containers"]:
        pairs = [(one["name"], one["value"]) for one in container.get("env", [])]
        yield from _environment(pairs, figures)
        if not IMAGE.fullmatch(container["image"]):
            yield "image", f"{container['image']!r} is no image reference"
        elif ":" not in container["image"].rsplit("/", 1)[-1] and "@" not in container["image"]:
            yield "image-tag", f"image {container['image']!r} has no fixed tag"
        for kind, amounts in container["resources"].items():
            for name, amount in amounts.items():
                if not QUANTITY.fullmatch(str(amount)):
                    yield "quantity", f"{kind}.{name}={amount!r} is no quantity"


def _environment(pairs: Sequence[tuple[str, Any]], figures: Figures) -> Iterator[tuple[str, str]]:
    names = [name for name, _ in pairs]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "env", f"{name} is given twice"
    for name, value in pairs:
        if not isinstance(value, str):
            yield "env", f"{name} is not a string"
        elif name == "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE":
            if not PERCENT.fullmatch(value):
                yield "mps-percent", f"{value!r} is no whole percent"
            elif value != str(figures.sm_percent):
                yield "basis", "the SM limit is not the predicted SM share"
        elif name == "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT":
            if not MEM_LIMIT.fullmatch(value):
                yield "mps-memory", f"{value!r} is no memory limit"
            elif value != f"0={figures.memory_mib}M":
                yield "read-back", "the memory limit is not the predicted figure"


def _strings(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _strings(key)
            yield from _strings(value)
    elif isinstance(content, list):
        for item in content:
            yield from _strings(item)
