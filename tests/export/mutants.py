"""Every small mistake that can be made in a golden file, one at a time."""

import copy


def nodes(data, path=()):
    """Yield the path of every node below the top."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield (*path, key)
            yield from nodes(value, (*path, key))
    elif isinstance(data, list):
        for position, value in enumerate(data):
            yield (*path, position)
            yield from nodes(value, (*path, position))


def retyped(value):
    """Return a value in another type; what reads as the same is not a mistake."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return [value]
    if isinstance(value, str):
        return int(value) if value.isdigit() else [value]
    return [] if isinstance(value, dict) else {}


def mutants(data):
    """Yield (what was done, path, mutant)."""
    for path in nodes(data):
        *above, last = path
        for what in ("drop", "retype", "twice", "slip"):
            mutant = copy.deepcopy(data)
            parent = mutant
            for step in above:
                parent = parent[step]
            if what == "drop":
                del parent[last]
            elif what == "retype":
                parent[last] = retyped(parent[last])
            elif what == "twice" and isinstance(parent, list):
                parent.insert(last, copy.deepcopy(parent[last]))
            elif what == "slip" and isinstance(parent, dict):
                parent[f"{last}x"] = parent.pop(last)
            else:
                continue
            yield what, path, mutant
