"""A package beside the notebooks, with relative imports of its own."""

from .parts import Model

VERSION = "1.2"
__all__ = ["VERSION", "Model"]
