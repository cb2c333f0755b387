"""The same work on many items: in this process, on several, or on a Dask cluster.

What comes out depends on the item alone, never on where or in which order it was worked on.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_gpupredict._version import __version__
from jupyter_gpupredict.core.errors import GpuPredictError, InvalidOption, MissingExtra

if TYPE_CHECKING:
    from types import FrameType

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_Work = Callable[[Sequence[_Item]], list[_Result]]
_Lost = Callable[[_Item, str], _Result]
_Weigh = Callable[[_Item], float] | None
_Chunk = tuple[int, Sequence[_Item]]
"""(place of the first item, some items in a row)."""
_Results = Generator[tuple[int, list[_Result]], None, None]

LOCAL = "local"
"""The `--scheduler` that starts a cluster on this machine for the time of the command."""
MOST_ITEMS = 100
"""Of one task: what a lost worker costs, against the millisecond that a task costs."""
TASKS_A_THREAD = 16
"""Of Dask's, at least, where there are as many items: traces differ in length a hundredfold, and
all should end together."""
_TASKS_A_WORKER = 1_000_000
"""Never reached; that it is given makes workers start fresh instead of by fork, which is unsafe
in a process that has threads."""
_ORPHAN_CHECK_S = 2.0
_CONNECT_S = 10.0
_RETRIES = 2
"""Of a task that failed with its machine, such as a lost connection to its files."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where the work is done."""

    jobs: int | None = None
    """Processes of this machine; 1: this one; None: one for each core."""
    scheduler: str | None = None
    """A Dask scheduler's address, or `local`; None: no Dask."""

    def __post_init__(self) -> None:
        """Check the number of processes."""
        if self.jobs is not None and self.jobs < 1:
            raise InvalidOption(f"--jobs {self.jobs} is out of range", "1 or more")

    @property
    def workers(self) -> int:
        """Processes of this machine that may be used."""
        return self.jobs or len(os.sched_getaffinity(0))


def spread(
    work: _Work[_Item, _Result],
    items: Sequence[_Item],
    where: Where,
    lost: _Lost[_Item, _Result],
    *,
    at_once: int = 1,
    weigh: _Weigh[_Item] = None,
) -> _Results[_Result]:
    """Yield (place of the first item, results of some items in a row), in any order, each once.

    Args:
        work: Results of some items, in their order; picklable.
        items: What to work on; picklable.
        where: Where to do it.
        lost: The result of an item that could not be worked on, from it and the reason.
        at_once: Items of one task, without Dask.
        weigh: How much work an item is; the heaviest tasks then begin first, so that all end
            together. None: they begin in their order.

    Raises:
        MissingExtra: Dask is asked for and not installed.
        InvalidOption: No scheduler answers, or its workers cannot do the work.
        GpuPredictError: A worker process or the scheduler was killed.
    """
    workers = min(where.workers, len(items))
    if where.scheduler is not None:
        yield from _on_dask(work, items, where, lost, weigh)
    elif workers <= 1:
        for place, chunk in _chunks(items, at_once):
            yield place, work(chunk)
    else:
        yield from _side_by_side(work, _chunks(items, at_once, weigh), workers)


def _chunks(items: Sequence[_Item], size: int, weigh: _Weigh[_Item] = None) -> list[_Chunk[_Item]]:
    found = [(place, items[place : place + size]) for place in range(0, len(items), size)]
    if weigh is None:
        return found
    return sorted(found, key=lambda one: -sum(map(weigh, one[1])))


def _side_by_side(
    work: _Work[_Item, _Result], chunks: Sequence[_Chunk[_Item]], workers: int
) -> _Results[_Result]:
    others = active_children()
    pool = ProcessPoolExecutor(
        workers,
        initializer=_start_worker,
        initargs=(os.getpid(),),
        max_tasks_per_child=_TASKS_A_WORKER,
    )
    try:
        with _interrupts_held():
            places = {pool.submit(work, chunk): place for place, chunk in chunks}
        for future in as_completed(places):
            yield places[future], future.result()
    except BrokenProcessPool as error:
        raise GpuPredictError(
            "a worker process was killed", "too little memory? --jobs 1"
        ) from error
    except BaseException:  # such as Ctrl-C: nobody wants what they are working on
        # Alone, this may never end: CPython issue 115634.
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in active_children():
            if worker not in others:
                worker.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Put off Ctrl-C, also in processes that are started meanwhile.

    In the middle of its imports each would show a traceback. What is blocked in this thread, and so
    in them, may still reach another thread, such as one of NumPy's: then Python notifies this one.
    """
    came: list[tuple[int, FrameType | None]] = []
    handler: Any = None
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with contextlib.suppress(ValueError):  # not the main thread, which alone gets signals
        handler = signal.signal(signal.SIGINT, lambda *caught: came.append(caught))
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came and callable(handler):
            handler(*came[0])


def _start_worker(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone without a word."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def look(_signum: int, _frame: FrameType | None) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _ORPHAN_CHECK_S, _ORPHAN_CHECK_S)


# ---- Dask -------------------------------------------------------------------------------------


def _on_dask(
    work: _Work[_Item, _Result],
    items: Sequence[_Item],
    where: Where,
    lost: _Lost[_Item, _Result],
    weigh: _Weigh[_Item],
) -> _Results[_Result]:
    """A task whose worker dies goes to another.

    Where four have died, each item has its turn alone: Dask blames all that waited on a worker
    with the one that killed it.
    """
    try:
        import distributed
    except ImportError as error:
        raise MissingExtra("--scheduler", "Dask distributed", "dask") from error
    with _cluster(where) as cluster, _client(cluster, where) as client:
        threads = _checked(client)
        size = max(1, min(MOST_ITEMS, -(-len(items) // (TASKS_A_THREAD * threads))))
        chunks = _chunks(items, size, weigh)
        futures = client.map(work, [chunk for _, chunk in chunks], pure=False, retries=_RETRIES)
        places = dict(zip(futures, chunks, strict=True))
        del futures  # a result is let go of as soon as it is here
        killed: list[tuple[int, Sequence[_Item]]] = []
        try:
            for future in distributed.as_completed(places, loop=client.loop):
                place, chunk = places.pop(future)
                try:
                    yield place, future.result()
                except distributed.KilledWorker:
                    killed.append((place, chunk))
                del future
            for place, chunk in killed:
                yield place, [_alone(client, work, item, lost) for item in chunk]
        except (distributed.CancelledError, OSError) as error:
            raise GpuPredictError(
                "the Dask scheduler was lost", "what was written so far is whole; start again"
            ) from error


def _alone(
    client: Any, work: _Work[_Item, _Result], item: _Item, lost: _Lost[_Item, _Result]
) -> _Result:
    """Return the result of an item with nothing beside it on the cluster."""
    import distributed

    try:
        results: list[_Result] = client.submit(work, [item], pure=False).result()
    except distributed.KilledWorker:
        return lost(item, "every worker that tried it was killed (too little memory?)")
    return results[0]


def _cluster(where: Where) -> Any:
    """Return what the client connects to: an address, or a cluster of our own that ends with us.

    Its workers talk over TLS with keys made for this command: whoever reaches a scheduler's port
    runs code as its user.
    """
    import distributed

    if where.scheduler != LOCAL:
        return contextlib.nullcontext(where.scheduler)
    try:
        security = distributed.Security.temporary()
    except ImportError as error:
        raise MissingExtra("--scheduler local", "cryptography", "dask") from error
    return distributed.LocalCluster(
        n_workers=where.workers,
        threads_per_worker=1,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        silence_logs=50,  # logging.CRITICAL: a killed worker is our own message
        security=security,
        host="127.0.0.1",
    )


def _client(cluster: Any, where: Where) -> Any:
    from jupyter_gpupredict.sources.dask import connected

    client = connected(cluster, _CONNECT_S)
    if client is None:
        raise InvalidOption(
            f"no Dask scheduler answers at {where.scheduler}", "--scheduler tcp://HOST:8786"
        )
    return client


def _checked(client: Any) -> int:
    """Return the workers' threads, once every worker is known to have this version of ours."""
    try:
        versions = client.run(_version, on_error="return")
    except (OSError, ValueError) as error:
        raise InvalidOption("the Dask workers do not answer", "are they still starting?") from error
    if not versions:
        raise InvalidOption("the Dask scheduler has no workers", "start some: dask worker ADDRESS")
    for address, version in versions.items():
        if version != __version__:
            found = "cannot import jupyter_gpupredict"
            if isinstance(version, str):
                found = f"has jupyter_gpupredict {version}"
            raise InvalidOption(
                f"the Dask worker {address} {found}", f"install version {__version__} there"
            )
    threads: int = sum(client.nthreads().values())
    return max(1, threads)


def _version() -> str:
    return __version__
