"""This machine, or any other with an MPS daemon: an environment file and a script that uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict.export import limits, provenance
from jupyter_gpupredict.export.deployment import Capability, Document, Restriction

if TYPE_CHECKING:
    from jupyter_gpupredict.export.deployment import ExportRequest, Figures, SharePatch

RUN = """#!/bin/bash
# Starts the function, or the command given here, under the MPS daemon that {where} names.
set -euo pipefail
cd "$(dirname "$0")"
{environment}
if [ -f ../handler.py ]; then
  exec python ../handler.py "$@"
elif [ "$#" -gt 0 ]; then
  cd "$OLDPWD"
  exec "$@"
fi
echo "usage: run.sh COMMAND [ARGUMENT...], such as: run.sh python train.py" >&2
exit 2
"""
SOURCED = "set -a; . ./mps.env; set +a"


class Local:
    """`deploy/mps.env` and `deploy/run.sh`; or `deploy/mps.toml`, which starts a daemon."""

    carries = frozenset(
        {
            Capability.ENV,
            Capability.HOST_IPC,
            Capability.HOST_PATH,
            Capability.NODE_SELECTOR,  # whoever runs the script chooses the machine
            Capability.MPS_CONFIG,
        }
    )
    switchable: frozenset[Capability] = frozenset()
    restricts = frozenset({Restriction.ONE_RANK})
    max_run_s = None

    def render(
        self, figures: Figures, request: ExportRequest, patch: SharePatch
    ) -> tuple[Document, ...]:
        """Return the two files; the stamps stand at the top of the first."""
        stamps = tuple(
            f"{key}: {value}" for key, value in provenance.stamps(figures, patch).items()
        )
        top = (*stamps, *figures.warnings, *patch.comments)
        if patch.config:
            chosen = dict(patch.env)[limits.PIPE_DIRECTORY].removeprefix(limits.PIPE)
            line = (
                f'export {limits.PIPE_DIRECTORY}="${{{limits.PIPE_DIRECTORY}:-{limits.PIPE}}}'
                f'{chosen}"'
            )
            return (
                Document("deploy/mps.toml", patch.config, top),
                _script("mps.toml", line),
            )
        env = "".join(f"{key}={_quoted(value)}\n" for key, value in patch.env)
        return (Document("deploy/mps.env", env, top), _script("mps.env", SOURCED))


def _script(where: str, environment: str) -> Document:
    text = RUN.format(where=where, environment=environment)
    return Document("deploy/run.sh", text, executable=True)


def _quoted(value: str) -> str:
    """Quote what a shell would not read as one plain word; our values hold nothing worse than =."""
    return value if value.replace("/", "").replace("-", "").isalnum() else f'"{value}"'
