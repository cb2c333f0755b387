"""Names that every target accepts, and what an image is called."""

from __future__ import annotations

import hashlib
import re

MAX_NAME = 47
"""The shortest limit among the targets (RayJob)."""
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*")
"""The letters of an image reference: registry, path, tag and digest."""


def slug(name: str) -> str:
    """Return a DNS label, letter first, at most 47 characters, the same for the same name.

    A name that had to be cut, or of which nothing was left, gets six hex digits of its SHA-256.

    >>> slug("train_resnet"), slug("Train ResNet 50!")
    ('train-resnet', 'train-resnet-50')
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    plain = re.sub(r"^[^a-z]+", "", plain)
    if plain and len(plain) <= MAX_NAME:
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    cut = plain[: MAX_NAME - 7].strip("-") or "function"
    return f"{cut}-{digest}"
