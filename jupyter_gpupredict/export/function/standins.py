"""Our own functions that cells call to tell their progress: in a function they do nothing."""

from __future__ import annotations

import ast

from jupyter_gpupredict.core.errors import UnsupportedCell

_PACKAGE = "jupyter_gpupredict"
_BODIES = {
    "track": (
        "def {name}(iterable, *_arguments, **_options):\n"
        '    """Nothing is measured here: the iterable as it is."""\n'
        "    return iterable\n"
    ),
    "phase": (
        "def {name}(*_arguments, **_options):\n"
        '    """Nothing is measured here: a context that does nothing."""\n'
        "    import contextlib\n\n"
        "    return contextlib.nullcontext()\n"
    ),
    "epoch": ('def {name}(*_arguments, **_options):\n    """Nothing is measured here."""\n'),
}


def stand_in(node: ast.Import | ast.ImportFrom, name: str, place: str) -> str | None:
    """Return the text that takes the place of an import of ours; None for any other import.

    Args:
        node: An import of one name.
        name: What it binds.
        place: Where it stands, for a message.

    Raises:
        UnsupportedCell: It imports what has no meaning in a function.
    """
    if isinstance(node, ast.ImportFrom):
        if (node.module or "").split(".")[0] != _PACKAGE or node.level:
            return None
        wanted = node.names[0].name
        if wanted in _BODIES:
            return _BODIES[wanted].format(name=name)
    elif node.names[0].name.split(".")[0] != _PACKAGE:
        return None
    else:
        methods = "".join(
            "    @staticmethod\n    "
            + body.format(name=one).replace("\n", "\n    ").rstrip()
            + "\n"
            for one, body in _BODIES.items()
        )
        return f'class {name}:\n    """Nothing is measured here."""\n\n{methods}'
    raise UnsupportedCell(
        f"{place}: {_PACKAGE} is there for notebooks, not for functions",
        f"of it, {', '.join(_BODIES)} may stand in the cell",
    )
