"""Manifests checked: a file, all of an exported folder, or documents about to be written."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_gpupredict.core.errors import InvalidOption, TraceError
from jupyter_gpupredict.core.files import read_given_text
from jupyter_gpupredict.export import stamps
from jupyter_gpupredict.export.compatibility import adapters
from jupyter_gpupredict.export.findings import Allowed, Finding, Manifest, Node, Report
from jupyter_gpupredict.export.function.detectors import has_shape
from jupyter_gpupredict.export.shapes import check_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jupyter_gpupredict.export.compatibility import Adapters
    from jupyter_gpupredict.export.deployment import Document, Figures
    from jupyter_gpupredict.export.request import ExportRequest

DATA = (".yaml", ".yml", ".json")
RECORD = "gpupredict.json"


@dataclass(frozen=True, slots=True)
class Validated:
    """What the checks say of one file."""

    path: str
    findings: tuple[dict[str, str], ...]
    """Each with `level`, `rule`, `where` and `message`."""
    unchecked: tuple[str, ...]
    """Kinds in it that no adapter knows."""

    @property
    def failed(self) -> bool:
        """Whether anything is wrong, and not only doubtful."""
        return any(finding["level"] == "error" for finding in self.findings)


def validate(
    target: str | Path, *, knative_features: Sequence[str] = (), max_timeout_s: int | None = None
) -> list[Validated]:
    """Check a manifest, or all of a folder; a folder is compared with its gpupredict.json.

    Raises:
        InvalidOption: There is nothing to check, or it cannot be read.
    """
    known, root = adapters(), Path(target)
    suffixes = (*DATA, *dict.fromkeys(one.suffix for one in known.manifests() if one.suffix))
    files = [root]
    if root.is_dir():
        files = sorted(path for path in root.rglob("*") if path.name.endswith(suffixes))
        files = [path for path in files if path.is_file() and ".git" not in path.parts]
    elif not root.name.endswith(suffixes):
        raise InvalidOption(f"{root} is not a manifest", f"known are {', '.join(suffixes)}")
    if not files:
        raise InvalidOption(f"{root} holds no manifest", "name a file, or an exported folder")
    expected = _recorded(root) if root.is_dir() else {}
    allowed = Allowed(frozenset(knative_features), max_timeout_s, **expected)
    validated = []
    for path in files:
        report, unchecked = inspect(str(path), _read(path), allowed, known)
        keys = ("level", "rule", "where", "message")
        findings = tuple({key: getattr(one, key) for key in keys} for one in report.findings)
        validated.append(Validated(str(path), findings, unchecked))
    return validated


def _read(path: Path) -> str:
    try:
        return read_given_text(path)
    except TraceError as error:
        raise InvalidOption(error.message, error.hint) from error
    except OSError as error:
        raise InvalidOption(f"cannot read {path}: {error.strerror}", "") from error
    except UnicodeDecodeError as error:
        raise InvalidOption(f"cannot read {path}: it is not text in UTF-8", "") from error


def _recorded(folder: Path) -> dict[str, int | None]:
    """Return the figures that a folder's record says its manifests carry."""
    from jupyter_gpupredict.export.documents import parse_json

    try:
        record = parse_json(read_given_text(folder / RECORD))
    except (OSError, ValueError, TraceError):
        return {}
    keys = ("sm_percent", "time_percent", "memory_mib")
    return {key: Node(record)["export"][key].whole for key in keys}


def check(
    manifests: Sequence[Document], figures: Figures, request: ExportRequest, known: Adapters
) -> list[Finding]:
    """Return everything that is wrong with documents about to be written.

    What is checked is their text, read back: nothing may be lost or changed on the way.
    """
    from jupyter_gpupredict.export.documents import render

    allowed = Allowed(
        frozenset(request.knative_features),
        request.max_timeout_s,
        figures.sm_percent,
        figures.time_percent,
        figures.memory_mib,
    )
    findings = []
    for document in manifests:
        report, unknown = inspect(document.path, render(document), allowed, known)
        findings += [one for one in report.findings if one.level == "error"]
        if unknown:
            findings.append(Finding("no-schema", document.path, "", f"{unknown[0]} is unknown"))
        written = [*document.before, document.content]
        if not isinstance(document.content, str) and report.documents != written:
            said = "the text does not read back as it was"
            findings.append(Finding("read-back", document.path, "", said))
    return findings


def inspect(
    path: str, text: str, allowed: Allowed, known: Adapters
) -> tuple[Report, tuple[str, ...]]:
    """Return what is wrong with a file's text, and the kinds in it that no adapter knows.

    Args:
        path: The file's name; its ending says how it is read.
        text: Its text.
        allowed: What the user's platform allows, and what the figures should be.
        known: The adapters, whose schemas and rules are applied.
    """
    report = Report(path, allowed, tuple(known.sharings.values()))
    unknown: list[str] = []
    try:
        if not path.endswith(DATA):
            stamps.read_stamps(Node(_comments(text), "comment"), report)
        report.documents = _parsed(path, text)
        nodes = [Node(one) for one in report.documents]
        strange = [one for one in nodes if not _inspect_one(one, report, known)]
        unknown = [f"{one['apiVersion'].value} {one['kind'].value}" for one in strange]
    except ValueError as error:
        report.add("parse", "", " ".join(str(error).split()))
    else:
        report.object = ""
        stamps.settle(report)
    return report, tuple(unknown)


def _parsed(path: str, text: str) -> list[Any]:
    """Return the documents of a text; what is in no format known here is one of them itself.

    Raises:
        ValueError: It cannot be read, or holds nothing.
    """
    from jupyter_gpupredict.export.documents import parse_json, parse_toml, parse_yaml

    if path.endswith(".json"):
        return [parse_json(text)]
    if path.endswith(".toml"):
        return [parse_toml(text)]
    if not path.endswith(DATA):
        return [text]
    if found := parse_yaml(text):
        return list(found)
    raise ValueError("holds nothing")


def _inspect_one(found: Node, report: Report, known: Adapters) -> bool:
    """Check one document; False where no adapter knows its kind."""
    manifest = _recognised(report.file, found, known)
    if not isinstance(found.value, dict) and not (manifest and manifest.suffix):
        report.add("parse", "", "a document is not a mapping")
        return True
    api, kind, name = (found.at(path).value for path in ("apiVersion", "kind", "metadata.name"))
    report.object = f"{kind}/{name}" if len(report.documents) > 1 and kind else ""
    if isinstance(found.value, dict) and not _check_texts(found, report):
        return True
    if manifest is None:
        if not isinstance(api, str) or not isinstance(kind, str):
            report.add("no-schema", "", "apiVersion and kind must be text")
        elif api.partition("/")[0] in {one.api.partition("/")[0] for one in known.manifests()}:
            message = f"{api} {kind} is not served, or is not what is exported"
            report.add("no-schema", "", message)
        else:
            return False
        return True
    report.stamped |= manifest.stamped
    stamps.read_stamps(found.at("metadata.annotations"), report)
    try:
        if manifest.schema:
            check_shape(manifest.schema, found, report)
        if manifest.check is not None:
            manifest.check(found, report)
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        # The shape is so wrong that a rule stumbled: its findings stand, the rest is not seen.
        report.add("schema", "", f"unexpected shape, not checked to the end: {error}")
    return True


def _recognised(path: str, found: Node, known: Adapters) -> Manifest | None:
    every = (_OURS, *known.manifests())
    type_ = (found["apiVersion"].value, found["kind"].value)
    tests = (
        lambda one: bool(one.suffix) and path.endswith(one.suffix),
        lambda one: one.only is not None and one.only(found),
        lambda one: bool(one.api) and (one.api, one.kind) == type_,
    )
    return next((one for test in tests for one in every if test(one)), None)


def _check_record(found: Node, report: Report) -> None:
    """Check the source in gpupredict.json, whose figures the manifests are compared with."""
    source = found.at("observation.source")
    if isinstance(source.value, str) and not stamps.known_source(source.value):
        report.add("schema", source, f"{source.value!r} is not the name of a telemetry source")


_OURS = Manifest(
    suffix=RECORD,
    schema="gpupredict",
    check=_check_record,
    only=lambda one: one["schema"].value == "jupyter-gpupredict/1",
    stamped=False,
)


def _comments(text: str) -> dict[str, str]:
    known = f"{re.escape(stamps.METHOD)}|{re.escape(stamps.PREFIX)}[\\w-]+"
    pattern = rf"^#\s*({known})\s*[:=]\s*(.+?)\s*$"
    return dict(re.findall(pattern, text, re.MULTILINE))


def _check_texts(found: Node, report: Report) -> bool:
    """Look for credentials in all texts of a document; False where a key is not text."""
    readable = True
    for node in _texts(found):
        text = node.value
        if not isinstance(text, str):
            report.add("schema", node, f"the key {text!r} must be text")
            readable = False
            continue
        if node.path.endswith("functionSourceCode"):
            try:
                text = base64.b64decode(text, validate=True).decode("utf-8", "replace")
            except (binascii.Error, ValueError):
                report.add("nuclio", node, "is not base64")
                continue
        if has_shape(text):
            report.add("secret", node, "a value has the shape of a credential")
    return readable


def _texts(node: Node) -> Iterator[Node]:
    """Yield all texts, and every key."""
    if isinstance(node.value, str):
        yield node
    for key, value in node.pairs():
        yield Node(key, node["key"].path)
        yield from _texts(value)
    for value in node:
        yield from _texts(value)
