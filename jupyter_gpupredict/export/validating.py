"""Manifests checked: a file, or all of an exported folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import InvalidOption, TraceError
from jupyter_gpupredict.core.files import read_given_text

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Validated:
    """What the checks say of one file."""

    path: str
    findings: tuple[dict[str, str], ...]
    """Each with `level`, `rule`, `where` and `message`."""
    unchecked: tuple[str, ...]
    """Kinds in it that nothing is known of."""

    @property
    def failed(self) -> bool:
        """Whether anything is wrong, and not only doubtful."""
        return any(finding["level"] == "error" for finding in self.findings)


def validate(
    target: str | Path,
    *,
    knative_features: Sequence[str] = (),
    max_timeout_s: int | None = None,
) -> list[Validated]:
    """Check a manifest, or all of a folder; a folder is compared with its gpupredict.json.

    Raises:
        InvalidOption: There is nothing to check, or it cannot be read.
    """
    from jupyter_gpupredict.export.checks import SUFFIXES, Allowed, inspect

    root = Path(target)
    files = [root]
    if root.is_dir():
        files = sorted(path for path in root.rglob("*") if path.name.endswith(SUFFIXES))
        files = [path for path in files if path.is_file() and ".git" not in path.parts]
    elif not root.name.endswith(SUFFIXES):
        raise InvalidOption(f"{root} is no manifest", f"known are {', '.join(SUFFIXES)}")
    if not files:
        raise InvalidOption(f"{root} holds no manifest", "name a file, or an exported folder")
    expected = _recorded(root) if root.is_dir() else {}
    allowed = Allowed(frozenset(knative_features), max_timeout_s, **expected)
    validated = []
    for path in files:
        try:
            text = read_given_text(path)
        except TraceError as error:
            raise InvalidOption(error.message, error.hint) from error
        except OSError as error:
            raise InvalidOption(f"cannot read {path}: {error.strerror}", "") from error
        except UnicodeDecodeError as error:
            raise InvalidOption(f"cannot read {path}: it is no text in UTF-8", "") from error
        ledger, unchecked = inspect(str(path), text, allowed)
        findings = tuple(
            {"level": one.level, "rule": one.rule, "where": one.where, "message": one.message}
            for one in ledger.findings
        )
        validated.append(Validated(str(path), findings, unchecked))
    return validated


def _recorded(folder: Path) -> dict[str, int | None]:
    """Return the figures that a folder's record says its manifests carry."""
    from jupyter_gpupredict.export.documents import parse_json

    try:
        record = parse_json(read_given_text(folder / "gpupredict.json"))
    except (OSError, ValueError, TraceError):
        return {}
    found = record.get("export") if isinstance(record, dict) else None
    figures: dict[str, int | None] = {}
    for key in ("sm_percent", "time_percent", "memory_mib"):
        value = found.get(key) if isinstance(found, dict) else None
        figures[key] = value if isinstance(value, int) else None
    return figures
