"""`status`, `devices`, `doctor` and `openapi.json`: what is here and what works."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.export import targets
from jupyter_gpupredict.frontends import doctor
from jupyter_gpupredict.frontends.server import openapi, replies
from jupyter_gpupredict.frontends.server.base import ApiHandler
from jupyter_gpupredict.frontends.server.devices import GLANCE_S
from jupyter_gpupredict.mps import mps_daemon
from jupyter_gpupredict.run import store_problem

if TYPE_CHECKING:
    from jupyter_gpupredict.mps.states import MpsDaemon

API = 1
"""The routes' version; raised when one takes or gives something else."""


DOCTOR_S = 20.0
"""It opens the driver anew, which takes seconds where nothing else keeps it loaded."""


class StatusHandler(ApiHandler):
    """`GET status`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write versions, host, and the state of driver, MPS and store."""
        reading = await self.desk.devices.now(GLANCE_S)
        mps, problem, targets = await self.on(self.desk.reading, _surroundings)
        self.tell(
            replies.dumps(
                {
                    "version": __version__,
                    "api": API,
                    "host": self.desk.host,
                    "pid": os.getpid(),
                    "nvml": {
                        "works": not reading.reason,
                        "reason": reading.reason,
                        "message": reading.message,
                        "hint": reading.hint,
                        "driver_version": reading.table.driver_version if reading.table else "",
                        "stuck_threads": int(self.desk.devices.hangs),
                    },
                    "mps": asdict(mps),
                    "store": {
                        "works": not problem,
                        "message": problem,
                        "stuck": self.desk.runs.stuck(),
                    },
                    "workers_replaced": self.desk.replaced,
                    "targets": targets,
                }
            )
        )


class DevicesHandler(ApiHandler):
    """`GET devices`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write the server's own devices."""
        reading = await self.desk.devices.now()
        self.tell(replies.dumps(replies.devices(reading, self.desk.host)))


class DoctorHandler(ApiHandler):
    """`GET doctor`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write what works here and what does not."""
        lines = await self.on(self.desk.doctor, doctor.examine, limit_s=DOCTOR_S)
        works = all(line.works for line in lines)
        self.tell(replies.dumps({"works": works, "lines": [asdict(line) for line in lines]}))


class OpenApiHandler(ApiHandler):
    """`GET openapi.json`."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Write the OpenAPI document."""
        self.reply(replies.dumps(openapi.document(self.base_url)))


def _surroundings() -> tuple[MpsDaemon, str, list[dict[str, Any]]]:
    return mps_daemon(), store_problem(), targets()
