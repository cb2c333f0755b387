"""Drives one real kernel."""

from __future__ import annotations

import math
import os
import queue
import re
import time
from dataclasses import dataclass, field
from typing import Any

from jupyter_client.manager import KernelManager

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Reply:
    status: str
    messages: list[dict[str, Any]] = field(default_factory=list)

    def of(self, *kinds):
        return [m["content"] for m in self.messages if m["msg_type"] in kinds]

    @property
    def result(self):
        found = self.of("execute_result")
        return found[-1]["data"]["text/plain"] if found else None

    @property
    def tracebacks(self):
        return [ANSI.sub("", "\n".join(m["traceback"])) for m in self.of("error")]

    def text(self, name=None):
        return "".join(m["text"] for m in self.of("stream") if name in (None, m["name"]))

    @property
    def summaries(self):
        return [
            m["data"]["text/html"]
            for m in self.of("display_data", "update_display_data")
            if "gpupredict-result" in m["data"].get("text/html", "")
        ]

    @property
    def order(self):
        return [
            "summary" if "gpupredict-result" in str(m["content"].get("data", "")) else m["msg_type"]
            for m in self.messages
            if m["msg_type"] in ("stream", "execute_result", "display_data", "error")
        ]


class Kernel:
    def __init__(self, **environ):
        self.manager = KernelManager()
        self.environ = {**os.environ, **environ}

    def __enter__(self):
        self.manager.start_kernel(env=self.environ)
        self._connect()
        return self

    def restart(self):
        self.client.stop_channels()
        self.manager.restart_kernel(now=True)
        self._connect()

    def _connect(self):
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)
        assert self.run("%load_ext jupyter_gpupredict").status == "ok"

    def __exit__(self, *error):
        self.client.stop_channels()
        if self.manager.is_alive():
            self.manager.shutdown_kernel()
        self.manager.context.destroy()

    def run(self, code, interrupt_after=None, limit=60.0, **options):
        """Run a cell to its end; interrupt it so many seconds after it first printed."""
        message_id = self.client.execute(code, **options)
        began, messages, interrupt_at = time.monotonic(), [], math.inf
        while time.monotonic() - began < limit:
            if time.monotonic() >= interrupt_at:
                self.manager.interrupt_kernel()
                interrupt_at, interrupt_after = math.inf, None
            try:
                message = self.client.get_iopub_msg(timeout=0.2)
            except queue.Empty:
                continue
            if message["parent_header"].get("msg_id") != message_id:
                continue
            messages.append(message)
            content = message["content"]
            if interrupt_after is not None and content.get("name") == "stdout":
                interrupt_at = min(interrupt_at, time.monotonic() + interrupt_after)
            if message["msg_type"] == "status" and content["execution_state"] == "idle":
                break
        else:
            raise TimeoutError(code)
        while True:
            reply = self.client.get_shell_msg(timeout=10)
            if reply["parent_header"].get("msg_id") == message_id:
                break
        if reply["content"]["status"] == "aborted":  # it came while a failure's queue was emptied
            return self.run(code, interrupt_after, limit, **options)
        return Reply(reply["content"]["status"], messages)
