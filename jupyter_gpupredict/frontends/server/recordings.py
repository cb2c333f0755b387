"""A recording that a user has, in a file below the server's root or sent whole, kept as a run."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_server.auth.decorator import authorized
from jupyter_server.services.contents.fileio import FileManagerMixin
from jupyter_server.utils import ensure_async
from tornado import web

from jupyter_gpupredict.core.errors import Malformed
from jupyter_gpupredict.core.files import open_given
from jupyter_gpupredict.core.series import ReadOptions
from jupyter_gpupredict.frontends.server import replies
from jupyter_gpupredict.frontends.server.base import ApiHandler, Problem
from jupyter_gpupredict.frontends.server.schemas import RECORDING_BYTES
from jupyter_gpupredict.frontends.server.state import RECORDING_S

if TYPE_CHECKING:
    from typing import BinaryIO

_LONG = f"the file is longer than {RECORDING_BYTES >> 20} MiB"
_LONG_HINT = "`jupyter gpupredict predict FILE` in a terminal reads one of any length"


class RecordingsHandler(ApiHandler):
    """`POST recordings`."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Keep what is in the file that is named, or in the body, as a run of each device."""
        asked = self.query("recordings")
        path, name = asked.pop("path"), Path(asked.pop("name")).name or "recording"
        body = self.request.body
        if bool(path) == bool(body):
            raise Problem(400, "which recording?", "send one, or name one with path")
        if len(body) > RECORDING_BYTES:
            raise Problem(422, _LONG, _LONG_HINT)
        if self.state.recordings.unfinished > 1:  # each is held in memory
            raise Problem(503, "other recordings are being read", "try again when that is done")
        place = await self._place(path) if path else ""
        options = ReadOptions(**asked)

        def kept() -> tuple[str, ...]:
            from jupyter_gpupredict.run import keep_recordings  # numpy: not before it is needed

            with _opened(place) if place else io.BytesIO(body) as file:
                called = Path(place).name if place else name
                return keep_recordings(file, called, options, RECORDING_S)

        def listed(found: tuple[str, ...]) -> str:
            host, runs = self.state.host, self.state.runs
            every = [replies.summary(runs.summary(one), host) for one in found]
            return replies.dumps({"sessions": every})

        found = await self.on(self.state.recordings, kept)
        self.send(await self.on(self.state.files, listed, found))

    async def _place(self, path: str) -> str:
        """Return where a file lies that the user may read, as the contents manager says.

        Raises:
            Problem: The user may not, or it is no such file.
        """
        if not await self.may("read", "contents"):
            raise Problem(403, "the recording is a file of the server, and you may read none")
        manager = self.contents_manager
        model = await ensure_async(manager.get(path, content=False))  # type: ignore[no-untyped-call]
        if model["type"] == "directory":
            hint = "`jupyter gpupredict predict FOLDER` in a terminal reads all that are in it"
            raise Problem(422, "that is a folder, not a recording", hint)
        if not isinstance(manager, FileManagerMixin):
            hint = "download it, and drop it on the panel"
            raise Problem(422, "this server keeps its files elsewhere", hint)
        return str(manager._get_os_path(path))  # type: ignore[no-untyped-call]


def _opened(place: str) -> BinaryIO:
    try:
        file = open_given(place)
    except OSError as error:
        raise Malformed(f"it cannot be read: {error.strerror}", "is it there?") from error
    if os.fstat(file.fileno()).st_size > RECORDING_BYTES:
        file.close()
        raise Malformed(_LONG, _LONG_HINT)
    return file
