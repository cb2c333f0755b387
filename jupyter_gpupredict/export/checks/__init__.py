"""Rules that a manifest must keep, checked on its text before it is written, and for any file.

`check` is for documents about to be written; `inspect` for the text of any file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import documents
from jupyter_gpupredict.export.checks.files import SUFFIXES, inspect
from jupyter_gpupredict.export.checks.ledger import Allowed, Finding, Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.export.deployment import Document, ExportRequest, Figures

__all__ = ["SUFFIXES", "Allowed", "Finding", "Ledger", "check", "inspect"]


def check(manifests: Sequence[Document], figures: Figures, request: ExportRequest) -> list[Finding]:
    """Return everything that is wrong with documents about to be written.

    What is checked is their text, read back: nothing may be lost or changed on the way.
    """
    allowed = Allowed(
        frozenset(request.knative_features),
        request.max_timeout_s,
        figures.sm_percent,
        figures.time_percent,
        figures.memory_mib,
    )
    findings = []
    for document in manifests:
        text = documents.render(document)
        ledger, unknown = inspect(document.path, text, allowed)
        findings += [one for one in ledger.findings if one.level == "error"]
        if unknown:
            findings.append(Finding("no-schema", document.path, "", f"{unknown[0]} is unknown"))
        if not _same(document, text):
            findings.append(
                Finding("read-back", document.path, "", "the text does not read back as it was")
            )
    return findings


def _same(document: Document, text: str) -> bool:
    if document.path.endswith((".yaml", ".yml")):
        return documents.parse_yaml(text) == [*document.before, document.content]
    if document.path.endswith(".json"):
        return documents.parse_json(text) == document.content
    if document.path.endswith(".toml"):
        return documents.parse_toml(text) == document.content
    return True
