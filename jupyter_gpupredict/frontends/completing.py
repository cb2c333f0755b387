"""What Tab offers on a `%%gpupredict` or `%gpupredict` line: verbs, options and their values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from IPython.core.completer import SimpleCompletion, context_matcher

from jupyter_gpupredict import registry
from jupyter_gpupredict.frontends.options import magic_parser
from jupyter_gpupredict.run import build_store, rule_names

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from IPython.core.completer import CompletionContext

NEWEST = 20
"""Session ids that are offered."""
_VALUES: dict[str, Any] = {
    "rule": rule_names,
    "source": lambda: ("auto", *registry.names("sources")),
    "workload": lambda: registry.names("workloads"),
    "sharing": lambda: registry.names("sharing"),
    "id": lambda: ("last", *build_store().ids()[:NEWEST]),
}
"""Option or argument -> the names that it may have, those of other packages included."""


def suggestions(text: str) -> list[str]:
    """Return what may stand at the end of a line of ours; nothing for any other line.

    >>> suggestions("%%gpupredict --rule qu")
    ['quick']
    """
    from jupyter_gpupredict.frontends.verbs import IN_NOTEBOOK, verb_parser

    words = text.split()
    begun = "" if not text or text[-1].isspace() else words.pop()
    head, *given = words or [""]
    if head not in ("%gpupredict", "%%gpupredict"):
        return []
    parser: argparse.ArgumentParser = magic_parser()
    if head == "%gpupredict":
        if not given:
            return _beginning(begun, IN_NOTEBOOK)
        if given[0] not in IN_NOTEBOOK:
            return []
        parser = verb_parser(given[0])
        given = given[1:]
    options = parser._option_string_actions
    before = options.get(given[-1]) if given else None
    if before is not None and before.nargs != 0:
        return _beginning(begun, _values(before))
    if begun.startswith("-"):
        return _beginning(begun, options)
    found: list[str] = []
    for one in parser._actions:
        if not one.option_strings:
            found += _beginning(begun, _values(one))
    return found or ([] if begun else _beginning("--", options))


def _values(action: argparse.Action) -> Iterable[str]:
    named = _VALUES.get(action.dest)
    return named() if named is not None else map(str, action.choices or ())


def _beginning(begun: str, names: Iterable[str]) -> list[str]:
    return sorted({name for name in names if name.startswith(begun)})


@context_matcher()  # type: ignore[untyped-decorator]  # IPython
def matcher(context: CompletionContext) -> dict[str, Any]:
    """Return the suggestions as IPython wants them; where there are some, nobody else's."""
    line = context.text_until_cursor
    cell = context.cursor_line == 0 and line.startswith("%%gpupredict")
    found = suggestions(line) if cell or line.lstrip().startswith("%gpupredict") else []
    return {
        "completions": [SimpleCompletion(text=one, type="magic") for one in found],
        "matched_fragment": "" if line[-1:].isspace() else "".join(line.split()[-1:]),
        "suppress": bool(found),
    }
