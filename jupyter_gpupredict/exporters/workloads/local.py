"""This machine, or any other with an MPS daemon: an environment file and a script that uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.core.deployment import Capability, Document
from jupyter_gpupredict.exporters import provenance

if TYPE_CHECKING:
    from jupyter_gpupredict.core.deployment import ExportRequest, Figures, SharePatch

RUN = """#!/bin/bash
# Starts the function, or the command given here, under the MPS daemon that mps.env names.
set -euo pipefail
cd "$(dirname "$0")"
set -a; . ./mps.env; set +a
if [ -f ../handler.py ]; then
  exec python ../handler.py "$@"
elif [ "$#" -gt 0 ]; then
  cd "$OLDPWD"
  exec "$@"
fi
echo "usage: run.sh COMMAND [ARGUMENT...], such as: run.sh python train.py" >&2
exit 2
"""


class Local:
    """`deploy/mps.env` and `deploy/run.sh`."""

    carries = frozenset(
        {Capability.ENV, Capability.HOST_IPC, Capability.HOST_PATH, Capability.MPS_CONFIG}
    )

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return the two files; the stamps stand at the top of the environment."""
        stamps = tuple(
            f"{key}: {value}" for key, value in provenance.stamps(figures, patch).items()
        )
        env = "".join(f"{key}={_quoted(value)}\n" for key, value in patch.env)
        return (
            Document("deploy/mps.env", env, (*stamps, *figures.warnings, *patch.comments)),
            Document("deploy/run.sh", RUN, executable=True),
        )


def _quoted(value: str) -> str:
    """Quote what a shell would not read as one plain word; our values hold nothing worse than =."""
    return value if value.replace("/", "").replace("-", "").isalnum() else f'"{value}"'
