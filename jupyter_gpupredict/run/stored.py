"""The stored runs of this user."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_gpupredict.core.errors import TraceError
from jupyter_gpupredict.core.run import Run, fold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_gpupredict.core.events import Event, SessionStarted
    from jupyter_gpupredict.core.run import RunHeader
    from jupyter_gpupredict.core.verified import Verified
    from jupyter_gpupredict.run.store import Store

STORE_S = 2.0
"""How long a cell waits for the session store before it goes on without."""


def store_dir() -> Path:
    """Return the directory of the stored sessions."""
    from jupyter_core.paths import jupyter_data_dir

    return Path(jupyter_data_dir()) / "gpupredict" / "sessions"


def build_store() -> Store:
    """Return the session store of this user."""
    from jupyter_gpupredict.run.store import Store

    return Store(store_dir())


def list_runs(limit: int | None = None) -> list[RunHeader]:
    """Return the stored runs, newest first; a damaged one says what is wrong with it."""
    return list(itertools.islice(build_store().headers(), limit))


def read_events(session_id: str) -> Iterator[Event]:
    """Yield the events of a stored run.

    Args:
        session_id: A full id, a unique beginning or end of one, or `last`.

    Raises:
        UnknownName: There is no such run.
        TraceError: The trace is damaged.
    """
    store = build_store()
    return store.events(store.resolve(session_id))


def read_run(session_id: str) -> Run:
    """Return a stored run; arguments and errors as `read_events`."""
    return with_verified(fold(read_events(session_id)))


def with_verified(run: Run) -> Run:
    """Return a run with the share that was verified of it, or of the same code on this device.

    Without one where none holds any more, or where it used several GPUs.
    """
    return replace(run, verified=_newest(run.started) if run.on_one_gpu else None)


def with_verified_in_time(run: Run) -> Run:
    """As `with_verified`, at a run's end: without one if the store does not answer."""
    from jupyter_gpupredict.run.deadline import within

    try:
        return within(STORE_S, with_verified, run)
    except (OSError, TraceError):
        return run


def verified_of(started: SessionStarted) -> Verified | None:
    """Return the share that holds for a run, as far as its first event tells.

    None: none was verified, it measured no GPU, or it watched several, of which only its readings
    tell which ones it used.
    """
    return _newest(started) if len(started.devices) == 1 else None


def _newest(started: SessionStarted) -> Verified | None:
    from jupyter_gpupredict.run.ledger import Ledger

    device = {one.uuid: one.name for one in started.devices}.get(started.share.device)
    driver = started.versions.get("driver")
    if device is None or driver is None or started.simulated:
        return None
    ledger = Ledger(store_dir())
    return ledger.newest(started.code_hash, device, driver, started.session_id)


def request_stop(session_id: str) -> None:
    """End the measuring of a live run, in whatever process it is; its cell goes on.

    Raises:
        UnknownName: There is no such run.
    """
    store = build_store()
    store.request_stop(store.resolve(session_id))


def store_problem() -> str:
    """Return why runs cannot be stored; empty when they can."""
    try:
        build_store().prepare()
    except (OSError, TraceError) as error:
        return str(error)
    return ""
