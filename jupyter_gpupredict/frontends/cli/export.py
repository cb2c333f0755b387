"""`jupyter gpupredict export ID --workload W --sharing S --name N -o DIR --notebook FILE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_gpupredict import config
from jupyter_gpupredict.frontends import report
from jupyter_gpupredict.frontends.options import (
    export_arguments,
    knative_features,
    node_selector,
    notebook_code,
)
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.frontends.waiting import from_store

if TYPE_CHECKING:
    import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add this verb's options."""
    parser.add_argument("id", help="a session id, a unique part of one, or last")
    export_arguments(parser)


def main(options: argparse.Namespace) -> int:
    """Write the function folder."""
    outcome = config.export(
        from_store(config.read_run, options.id),
        workload=options.workload,
        sharing=options.sharing,
        name=options.name,
        image=options.image,
        output=options.output,
        node_selector=node_selector(options),
        force=options.force,
        overwrite=options.overwrite,
        sm_percent=options.sm_percent,
        memory_mib=options.memory_mib,
        headroom_percent=options.headroom_percent,
        per_process=options.per_process,
        max_timeout_s=options.max_timeout,
        knative_features=knative_features(options),
        gpu_uuid=options.gpu_uuid,
        accelerator=options.accelerator,
        dry_run=options.dry_run,
        code=notebook_code(options),
    )
    say(report.export_text(outcome))
    return 0
