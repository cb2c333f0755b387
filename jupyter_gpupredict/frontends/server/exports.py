"""`POST sessions/{id}/export`: the function folder, looked at first or written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_gpupredict.core.errors import ExportError
from jupyter_gpupredict.export import ExportOutcome, export_run
from jupyter_gpupredict.frontends.server import given, records, replies, sent
from jupyter_gpupredict.frontends.server.base import ApiHandler, Problem
from jupyter_gpupredict.frontends.server.inside import folder_below, require_inside, without_places

if TYPE_CHECKING:
    from pathlib import Path


class ExportHandler(ApiHandler):
    """`POST sessions/{id}/export`."""

    @web.authenticated
    @authorized
    async def post(self, session_id: str) -> None:
        """Write the folder, or show what it would hold."""
        desk = self.desk
        run = await self.on(desk.files, desk.runs.summary, session_id)
        reads = await self.may("read", "contents")
        text, written = await self.on(
            desk.reading, self._export, session_id, run.outcome, self.request.body, reads
        )
        if written:
            records.emit(self.event_logger, "export", session_id)
        self.reply(text)

    def _export(self, session_id: str, outcome: str, body: bytes, reads: bool) -> tuple[str, bool]:
        wish, root = given.body(body, "ExportRequest"), self.root
        cells, output, preview = wish.get("cells"), wish["output"], wish["preview"]
        if cells is not None and not reads:
            raise Problem(403, "modules beside the notebook are read, and you may read no files")
        target: Path | None = None
        if output or not preview:
            target = folder_below(root, output)
        run = self.desk.runs.run(session_id, outcome)
        code = None
        if cells is not None:
            code = sent.code(
                run.started,
                cells,
                root,
                wish["notebook"],
                params=tuple(wish["params"]),
                secrets=wish["secrets"],
                allow_secrets=wish["allow_secrets"],
            )

        def export(dry_run: bool) -> ExportOutcome:
            return export_run(
                run,
                workload=wish["workload"],
                sharing=wish["sharing"] or None,
                name=wish["name"],
                output=target or root,
                image=wish["image"],
                node_selector=wish["node_selector"],
                force=wish["force"],
                overwrite=wish["overwrite"],
                sm_percent=wish.get("sm_percent"),
                memory_mib=wish.get("memory_mib"),
                dry_run=dry_run,
                code=code,
            )

        made = export(dry_run=True)
        if target is not None:
            require_inside(root, [target / path for path in made.texts])
        if not preview:
            try:
                made = export(dry_run=False)
            except OSError as error:
                raise ExportError(f"cannot write: {error.strerror}", "choose another") from error
        told = {
            "preview": preview,
            "output": output,
            "paths": [f"{output.rstrip('/')}/{path}" for path in made.texts]
            if target is not None
            else [],
            "texts": made.texts,
            "warnings": [without_places(one, root) for one in made.warnings],
        }
        return replies.dumps(told), not preview
