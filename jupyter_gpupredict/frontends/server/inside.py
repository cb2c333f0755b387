"""Paths that a client names: below the server's root directory, or not at all."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import InvalidOption

if TYPE_CHECKING:
    from collections.abc import Iterable

_BEFORE = r"(?<![\w./~$}\])*-])"
"""Not within a relative path or a URL."""
_PLACE = re.compile(rf"""{_BEFORE}/(?!/)[^\s"'`\\,;:()<>|]*[^\s"'`\\,;:()<>|/.]""")
HINT = "name a folder below the one the server was started in, such as exports/train"


def folder_below(root: str, wanted: str) -> Path:
    """Return the folder that a client names, with every link above it followed.

    Args:
        root: The server's root directory.
        wanted: Relative, with forward slashes.

    Raises:
        InvalidOption: It is outside, hidden, the root itself, or no path.
    """
    parts = PurePosixPath(wanted).parts
    if not parts or wanted.startswith("/") or "\\" in wanted or "\0" in wanted:
        raise InvalidOption(f"{wanted[:80]!r} is no folder to write to", HINT)
    if any(part.startswith(".") for part in parts):  # `..` too
        raise InvalidOption(f"{wanted[:80]!r} is hidden or leads outside", HINT)
    named = Path(root, *parts)
    require_inside(root, [named])
    target = named.parent.resolve() / named.name
    require_inside(root, [target])  # as it is written: a link that comes later is not followed
    return target


def require_inside(root: str, paths: Iterable[Path]) -> None:
    """Let only paths pass that lie below the root, whatever links are on the way.

    Raises:
        InvalidOption: One does not.
    """
    base = Path(root).resolve()
    for path in paths:
        try:
            real = path.parent.resolve() / path.name
            outside = not real.is_relative_to(base) or not path.resolve().is_relative_to(base)
        except (OSError, RuntimeError, ValueError):  # a loop of links, a name that is too long
            outside = True
        if outside:
            raise InvalidOption(f"{path.name[:80]!r} leads outside the server's folder", HINT)


def without_places(text: str, root: str) -> str:
    """Return JSON without absolute paths: those below the root relative, of others the last name.

    >>> without_places('{"message": "cannot write /srv/nb/out/a or /etc/x/b"}', "/srv/nb")
    '{"message": "cannot write out/a or b"}'
    """
    for base in {root, str(Path(root).resolve())}:
        below = re.escape(json.dumps(base.rstrip("/"), ensure_ascii=False)[1:-1])
        text = re.sub(rf"{_BEFORE}{below}(/|(?![\w.-]))", lambda at: "" if at[1] else ".", text)
    return _PLACE.sub(lambda found: found[0].rpartition("/")[2], text)
