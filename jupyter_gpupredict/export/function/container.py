"""How platforms name, build and call the function: slug, image, adapters and Dockerfile."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import UnknownName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.export.deployment import Hosting


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


@dataclass(frozen=True, slots=True)
class Adapter:
    """One file of the folder, which calls the function as a platform's convention wants it."""

    path: str
    template: str
    requirement: str = ""
    """The line it adds to the requirements."""


RAY_VERSION = "2.60.0"
RAY = f"ray[default]=={RAY_VERSION}"
RANKS = Adapter("adapters/ranks.py", "ranks.py.txt", RAY)
ADAPTERS = {
    "serve": Adapter("adapters/serve.py", "serve.py.txt"),
    "functions-framework": Adapter(
        "adapters/main.py", "main.py.txt", "functions-framework==3.10.2"
    ),
    "runpod": Adapter("adapters/rp_handler.py", "rp_handler.py.txt", "runpod==1.12.0"),
    "openfaas": Adapter("function/handler.py", "openfaas.py.txt"),
    "func": Adapter("function/func.py", "func.py.txt", "func-python==0.7.0"),
    "ray": RANKS,
}
"""Versions are those that `make test-serve` runs the folder with."""


def chosen_adapters(hosting: Hosting, ranks: int, also: tuple[str, ...]) -> tuple[Adapter, ...]:
    """Return the adapters of a workload for so many ranks, and those asked for by name.

    Raises:
        UnknownName: There is no adapter of that name.
    """
    names = dict.fromkeys((*hosting.adapters, *hosting.rank_adapters * (ranks > 1), *also))
    for name in names:
        if name not in ADAPTERS:
            raise UnknownName("adapter", name, ADAPTERS)
    return tuple(ADAPTERS[name] for name in names)


UID = 65532
"""The number that distroless images gave to `nonroot`."""
HOME, OUTPUTS, OUTPUTS_VARIABLE = "/home/function", "/outputs", "GPUPREDICT_OUTPUTS"
"""Where the image has places to write to, and how the handler learns the second of them."""


def dockerfile(
    sources: Sequence[str],
    python: str,
    hosting: Hosting,
    *,
    as_root: bool,
    base_image: str = "",
    git: bool = False,
) -> str:
    """Return the Dockerfile that copies the sources beside the requirements.

    `python` is the notebook's, such as `3.11`; without a base image of the user's own, its slim
    image is taken, which brings no CUDA, as wheels bring their own. `as_root`: the MPS daemon runs
    as root, so its clients have to. `git`: a requirement comes from a repository.
    """
    wanted = [*hosting.packages, *[("git", "pip takes a requirement from a repository.")] * git]
    tools = "".join(f"# {reason}\n" for _, reason in wanted)
    if wanted and not base_image:  # which may not be Debian, or may have them
        packages = " ".join(name for name, _ in wanted)
        tools += (
            f"RUN apt-get update && apt-get install -y --no-install-recommends {packages} \\\n"
            "    && rm -rf /var/lib/apt/lists/*\n"
        )
    folders = sorted({path.partition("/")[0] for path in sources if "/" in path})
    return template("Dockerfile.txt").format(
        base=base_image or f"python:{python}-slim",
        tools=tools,
        files=" ".join(sorted(path for path in sources if "/" not in path)),
        folders="".join(f"COPY {name} ./{name}\n" for name in folders),
        home=HOME,
        outputs=OUTPUTS,
        outputs_variable=OUTPUTS_VARIABLE,
        uid=UID,
        user="" if as_root else f"USER {UID}:0\n",
        command="adapters/serve.py" if hosting.serves else "handler.py",
    )


def template(name: str) -> str:
    """Return a text that the folder is made from."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
