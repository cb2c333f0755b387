"""`POST sessions/{id}/export`: the function folder, looked at first or written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_gpupredict import config
from jupyter_gpupredict.core.cells import SECRETS_FROM
from jupyter_gpupredict.core.errors import ExportError, InvalidOption
from jupyter_gpupredict.frontends.server import records, replies, sent
from jupyter_gpupredict.frontends.server.base import ApiHandler, Problem
from jupyter_gpupredict.frontends.server.inside import folder_below, require_inside

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request asks for, checked."""

    name: str
    preview: bool = False
    workload: str = "job"
    sharing: str = ""
    """Empty: the workload's default."""
    output: str = ""
    image: str = ""
    node_selector: dict[str, str] = field(default_factory=dict)
    force: bool = False
    overwrite: bool = False
    sm_percent: int | None = None
    memory_mib: int | None = None
    cells: list[sent.SentCell] | None = None
    """The code cells of the notebook that the run's cell stands in; None: no code is written."""
    notebook: str = ""
    """Its path below the server's root: modules beside it are copied."""
    params: list[str] = field(default_factory=list)
    secrets: str = ""
    """Who gives what looks like a credential, as in `CodeRequest`."""
    allow_secrets: bool = False


_KINDS: dict[str, type] = {"preview": bool, "force": bool, "overwrite": bool, "allow_secrets": bool}
_LONGEST = 1000
_MOST_PARAMS = 50


def parse(body: bytes) -> Wish:
    """Return the wish in a request's body.

    Raises:
        InvalidOption: It is none; the first thing that is wrong is named.
    """
    try:
        given: Any = json.loads(body)
    except ValueError as error:
        raise InvalidOption("the body is no JSON", "see gpupredict/v1/openapi.json") from error
    if not isinstance(given, dict):
        raise InvalidOption("the body is no object", "see gpupredict/v1/openapi.json")
    known = [one.name for one in fields(Wish)]
    for key, value in given.items():
        if key not in known:
            raise InvalidOption(f"unknown option {key[:60]!r}", "known: " + ", ".join(known))
        _require(key, value)
    if "name" not in given:
        raise InvalidOption("the function has no name", "give it one")
    if ("cells" in given) != bool(given.get("notebook")):
        raise InvalidOption("cells and notebook go together", "send both, or neither")
    if "cells" in given:
        given["cells"] = sent.cells(given["cells"])
    return Wish(**given)


def _require(key: str, value: Any) -> None:
    if key == "cells":
        return
    if key == "node_selector":
        fits = isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    elif key == "params":
        fits = isinstance(value, list) and len(value) <= _MOST_PARAMS
        fits = fits and all(isinstance(one, str) and one.isidentifier() for one in value)
    elif key == "secrets":
        fits = value in ("", *SECRETS_FROM)
    elif key in ("sm_percent", "memory_mib"):
        fits = value is None or (isinstance(value, int) and not isinstance(value, bool))
    else:
        fits = isinstance(value, _KINDS.get(key, str))
        if isinstance(value, str) and len(value) > _LONGEST:
            raise InvalidOption(f"{key} is longer than {_LONGEST} characters", "shorten it")
    if not fits:
        raise InvalidOption(f"{key} has the wrong type", "see gpupredict/v1/openapi.json")


class ExportHandler(ApiHandler):
    """`POST sessions/{id}/export`."""

    @web.authenticated
    @authorized
    async def post(self, session_id: str) -> None:
        """Write the folder, or show what it would hold."""
        desk = self.desk
        run = await self.on(desk.files, desk.runs.summary, session_id)
        root = str(self.settings["server_root_dir"])
        reads = await self.may("read", "contents")
        text, written = await self.on(
            desk.reading, self._export, session_id, run.outcome, root, self.request.body, reads
        )
        if written:
            records.emit(self.event_logger, "export", session_id)
        self.reply(text)

    def _export(
        self, session_id: str, outcome: str, root: str, body: bytes, reads: bool
    ) -> tuple[str, bool]:
        wish = parse(body)
        if wish.cells is not None and not reads:
            raise Problem(403, "modules beside the notebook are read, and you may read no files")
        target: Path | None = None
        if wish.output or not wish.preview:
            target = folder_below(root, wish.output)
        run = self.desk.runs.run(session_id, outcome)
        code = None
        if wish.cells is not None:
            code = sent.code(
                run.started,
                wish.cells,
                root,
                wish.notebook,
                params=tuple(wish.params),
                secrets=wish.secrets,
                allow_secrets=wish.allow_secrets,
            )

        def export(dry_run: bool) -> config.ExportOutcome:
            return config.export(
                run,
                workload=wish.workload,
                sharing=wish.sharing or None,
                name=wish.name,
                output=target or root,
                image=wish.image,
                node_selector=wish.node_selector,
                force=wish.force,
                overwrite=wish.overwrite,
                sm_percent=wish.sm_percent,
                memory_mib=wish.memory_mib,
                dry_run=dry_run,
                code=code,
            )

        made = export(dry_run=True)
        if target is not None:
            require_inside(root, [target / path for path in made.texts])
        if not wish.preview:
            try:
                made = export(dry_run=False)
            except OSError as error:
                raise ExportError(f"cannot write: {error.strerror}", "choose another") from error
        told = {
            "preview": wish.preview,
            "output": wish.output,
            "paths": [f"{wish.output.rstrip('/')}/{path}" for path in made.texts]
            if target is not None
            else [],
            "texts": made.texts,
            "warnings": list(made.warnings),
        }
        return replies.dumps(told), not wish.preview
