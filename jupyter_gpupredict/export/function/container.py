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

    from jupyter_gpupredict.core.deployment import ExportRequest


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


RAY_VERSION = "2.49.0"
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


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the folder of one workload has of its own."""

    adapters: tuple[str, ...] = ()
    """Without one, the platform calls `handler.py` itself."""
    rank_adapters: tuple[str, ...] = ()
    """Those that a run with several ranks needs."""
    requirement: str = ""
    """The line without which the platform does not start the image."""
    asks_with_wget: bool = False
    """The platform runs wget in the container to ask whether it is well, as KubeRay does."""
    serves: bool = False
    """The container listens instead of running to its end."""
    deploy: str = "kubectl apply -f {manifest}"
    """The command that hands it to the platform; `{manifest}` is the first one's path."""


_SERVER = Recipe(("serve",), serves=True)
_RECIPES = {
    "knative": _SERVER,
    "kserve": _SERVER,
    "fastpod": _SERVER,
    "cloudrun": Recipe(("serve",), deploy="gcloud run jobs replace deploy/cloudrun-job.yaml"),
    "openfaas": Recipe(("openfaas",), deploy="faas-cli up -f deploy/stack.yaml"),
    "rayjob": Recipe(rank_adapters=("ray",), requirement=RAY, asks_with_wget=True),
    "nuclio": Recipe(deploy="nuctl deploy -f function.yaml --path ."),
    "ecs": Recipe(
        deploy="aws ecs register-task-definition --cli-input-json file://deploy/ecs-task.json"
    ),
    "local": Recipe(deploy="bash deploy/run.sh"),
}


def recipe(workload: str) -> Recipe:
    """Return what a workload's folder has of its own."""
    return _RECIPES.get(workload, Recipe())


def chosen_adapters(workload: str, ranks: int, also: tuple[str, ...]) -> tuple[Adapter, ...]:
    """Return the adapters of a workload for so many ranks, and those asked for by name.

    Raises:
        UnknownName: There is no adapter of that name.
    """
    for name in also:
        if name not in ADAPTERS:
            raise UnknownName("adapter", name, ADAPTERS)
    needs = recipe(workload)
    names = dict.fromkeys((*needs.adapters, *needs.rank_adapters * (ranks > 1), *also))
    return tuple(ADAPTERS[name] for name in names)


ROOT_SHARING = frozenset({"device-plugin"})
"""Sharing backends whose MPS daemon runs as root: its clients have to be the daemon's user."""
_USER = "65532:65532"
"""The number that distroless images gave to `nonroot`."""


def dockerfile(
    sources: Sequence[str], python: str, request: ExportRequest, base_image: str = ""
) -> str:
    """Return the Dockerfile that copies the sources beside the requirements.

    `python` is the notebook's, such as `3.11`; without a base image of the user's own, its slim
    image is taken, which brings no CUDA, as wheels bring their own.
    """
    needs, tools = recipe(request.workload), ""
    if needs.asks_with_wget:
        tools = "# KubeRay asks with wget whether Ray is well.\n"
        if not base_image:  # which may not be Debian, or may have it
            tools += (
                "RUN apt-get update && apt-get install -y --no-install-recommends wget \\\n"
                "    && rm -rf /var/lib/apt/lists/*\n"
            )
    folders = sorted({path.partition("/")[0] for path in sources if "/" in path})
    return template("Dockerfile.txt").format(
        base=base_image or f"python:{python}-slim",
        tools=tools,
        files=" ".join(sorted(path for path in sources if "/" not in path)),
        folders="".join(f"COPY {name} ./{name}\n" for name in folders),
        user="" if request.sharing in ROOT_SHARING else f"USER {_USER}\n",
        command="adapters/serve.py" if needs.serves else "handler.py",
    )


def template(name: str) -> str:
    """Return a text that the folder is made from."""
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
