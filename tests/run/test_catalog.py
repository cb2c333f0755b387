"""Ten thousand runs are listed, searched and followed without a wait."""

import asyncio
import sys

import pytest

from jupyter_gpupredict.frontends.server.state import Worker
from jupyter_gpupredict.run.index import Runs
from jupyter_gpupredict.run.store import Store
from tests.frontends.server import traces

COUNT = 10_000


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    root = tmp_path_factory.mktemp("sessions")
    text = traces.whole_run(root, traces.session_id(0)).read_text()
    for number in range(1, COUNT):
        run = traces.session_id(number)
        host = f"node{number % 50}"
        changed = text.replace(traces.session_id(0), run).replace('"NVIDIA H200"', f'"{host}"')
        (root / f"{run}.jsonl").write_text(changed)
    return Store(root)


class Opened:
    """Counts the traces that are opened while it is asked to."""

    def __init__(self):
        self.root, self.count = None, 0
        sys.addaudithook(self._see)

    def _see(self, event, arguments):
        if self.root is not None and event == "open":
            self.count += str(arguments[0]).startswith(self.root)

    def during(self, store, work):
        self.root, self.count = str(store.root), 0
        try:
            work()
        finally:
            self.root = None
        return self.count


OPENED = Opened()


def test_a_page_of_many_is_there_at_once(many):
    index = Runs(many)
    page = index.page(50, None, (), 10.0)
    assert (len(page.found), page.total) == (50, COUNT)
    assert page.found[0].session_id == traces.session_id(COUNT - 1)
    assert OPENED.during(many, lambda: Runs(many).page(50, None, (), 10.0)) <= 2 * 50
    assert OPENED.during(many, lambda: index.page(50, None, (), 10.0)) == 0
    last = traces.session_id(10)
    assert len(index.page(50, last, (), 10.0).found) == 10


def test_a_search_goes_on_where_its_time_was_over(many):
    index = Runs(many)
    first = index.page(50, None, ("nothing-has-this",), 0.0)
    assert (first.searched, first.found) == (0, ())

    def search():
        limit_s = 0.05
        while index.page(50, None, ("nothing-has-this",), limit_s).searched < COUNT:
            limit_s *= 1.5  # however slow the machine is

    assert OPENED.during(many, search) <= 2 * COUNT  # head and tail of each, and none again
    again = lambda: index.page(50, None, ("nothing-has-this",), 60.0)  # noqa: E731
    assert OPENED.during(many, again) == 0
    found = index.page(200, None, ("node7",), 10.0).found
    assert len(found) == 200
    assert {run.devices[0][1] for run in found} == {"node7"}


def test_a_kernels_runs_are_found_again_without_a_search(many):
    index = Runs(many)
    assert len(index.of_kernel(traces.KERNEL)) == 500  # the newest that are looked at
    assert OPENED.during(many, lambda: index.of_kernel(traces.KERNEL)) == 0


def test_the_event_loop_goes_on_meanwhile(many):
    async def turns():
        worker, count = Worker("test", 60.0), 0
        searching = asyncio.ensure_future(
            worker.do(Runs(many).page, 50, None, ("nothing-has-this",), 60.0)
        )
        while not searching.done():
            await asyncio.sleep(0.001)
            count += 1
        worker.close()
        return count

    assert asyncio.run(turns()) > 50
