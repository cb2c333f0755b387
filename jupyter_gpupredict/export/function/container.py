"""The recipe of the container image: small, explicit, and not root where that is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_gpupredict.core.deployment import Hosting

_USER = "65532:65532"
"""The number that distroless images gave to `nonroot`."""


def dockerfile(
    sources: Sequence[str], python: str, hosting: Hosting, *, as_root: bool, base_image: str = ""
) -> str:
    """Return the Dockerfile.

    Args:
        sources: What to copy beside the requirements.
        python: The notebook's Python, such as `3.11`.
        hosting: What the workload needs: the command and packages.
        as_root: Whether the sharing backend's daemon runs as root, whose clients have to.
        base_image: The user's own base; the default brings no CUDA, as wheels bring their own.
    """
    base = base_image or f"python:{python}-slim"
    top = sorted(path for path in sources if "/" not in path)
    folders = sorted({path.partition("/")[0] for path in sources if "/" in path})
    command = "adapters/serve.py" if hosting.serves else "handler.py"
    tools = [f"# {reason}" for _, reason in hosting.packages]
    if hosting.packages and not base_image:  # which is no Debian, perhaps, or has them
        packages = " ".join(name for name, _ in hosting.packages)
        tools += [
            f"RUN apt-get update && apt-get install -y --no-install-recommends {packages} \\",
            "    && rm -rf /var/lib/apt/lists/*",
        ]
    lines = [
        f"FROM {base}",
        "# Wheels of torch and of CUDA bring their runtime; code that is compiled against CUDA",
        "# needs a base image that has it: --base-image.",
        "ENV PYTHONUNBUFFERED=1",
        *tools,
        "WORKDIR /app",
        "COPY requirements.txt ./",
        "RUN pip install --no-cache-dir -r requirements.txt",
        f"COPY {' '.join(top)} gpupredict.json ./",
        *(f"COPY {name} ./{name}" for name in folders),
        *([] if as_root else [f"USER {_USER}"]),
        f'CMD ["python", "{command}"]',
    ]
    return "\n".join(lines) + "\n"


def dockerignore() -> str:
    """Return what stays out of the image: above all `.env`."""
    return "".join(
        f"{one}\n" for one in (".env", ".env.*", ".git", "__pycache__", "*.pyc", "deploy")
    )
