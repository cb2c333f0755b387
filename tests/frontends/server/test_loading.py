"""The extension loads whatever is missing, and never keeps the server from starting."""

import logging
import subprocess
import sys
from types import SimpleNamespace

from jupyter_gpupredict.frontends.server import _load_jupyter_server_extension


def test_it_loads_without_driver_library_and_opens_nothing():
    code = """
import sys
sys.modules["pynvml"] = None
from types import SimpleNamespace
from jupyter_gpupredict.frontends.server import _load_jupyter_server_extension as load
from tornado.web import Application
import threading
class Logger:
    schemas = ()
    def register_event_schema(self, schema): pass
web = Application(base_url="/")
load(SimpleNamespace(web_app=web, event_logger=Logger(), log=None))
assert "gpupredict" in web.settings
assert threading.active_count() == 1
print([m for m in ("numpy", "psutil", "yaml", "bokeh", "IPython") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_fault_of_ours_is_a_warning(caplog):
    broken = SimpleNamespace(web_app=None, log=logging.getLogger("test"))
    with caplog.at_level(logging.WARNING):
        _load_jupyter_server_extension(broken)
    assert "jupyter_gpupredict has no routes" in caplog.text
