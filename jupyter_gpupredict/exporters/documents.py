"""Text of a document: stable YAML and JSON, with comments on top. The only importer of yaml."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from jupyter_gpupredict.core.errors import Unrepresentable

if TYPE_CHECKING:
    from jupyter_gpupredict.core.deployment import Document


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key and never writes anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def render(document: Document) -> str:
    """Return the text of a document; two calls give the same bytes.

    Raises:
        Unrepresentable: The content does not fit the file's form.
    """
    comments = "".join(f"# {_one_line(comment)}\n" for comment in document.comments)
    content = document.content
    if document.path.endswith(".json"):
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if document.path.endswith((".yaml", ".yml")):
        return comments + yaml.dump(
            content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
        )
    if not isinstance(content, str):
        raise Unrepresentable(f"{document.path} needs text", "")
    if document.executable and content.startswith("#!"):
        first, _, rest = content.partition("\n")
        return f"{first}\n{comments}{rest}"
    return comments + content


def _one_line(text: str) -> str:
    return " ".join(text.split())
