"""Hints go into libraries that are there, or that the cell imports, and come out again."""

import importlib
import importlib.util
import os
import sys
import threading
import types

import pytest

from jupyter_gpupredict import registry
from jupyter_gpupredict.run import SessionConfig, build_session, measuring
from jupyter_gpupredict.run.hints import Reporter, Wrap
from jupyter_gpupredict.run.progress import Hooks
from tests.run.sinks import Exploding, Recorder


class Hint:
    """Records what is done with it; fails where it is asked to."""

    def __init__(self, module, fails=()):
        self.module, self.fails, self.done = module, fails, []

    def _do(self, what):
        self.done.append(what)
        if what in self.fails:
            raise ValueError(f"{what} fails")

    def attach(self, sink):
        assert getattr(sys.modules[self.module], "ready", True)
        self._do("attach")

    def poll(self):
        self._do("poll")

    def detach(self):
        self._do("detach")


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A module nobody has imported yet."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "gpupredict_library.py").write_text("ready = False\nvalue = 7\nready = True\n")
    yield "gpupredict_library"
    sys.modules.pop("gpupredict_library", None)


@pytest.fixture(autouse=True)
def finders_are_put_back():
    before = list(sys.meta_path)
    yield
    assert sys.meta_path == before


def hooks(*hints):
    table = {f"h{number}": hint for number, hint in enumerate(hints)}
    return Hooks(lambda: table, table.__getitem__, Recorder())


def test_a_library_that_is_there_is_hooked_at_once_and_let_go():
    hint = Hint("json")
    made = hooks(hint)
    queue = made.join()
    assert hint.done == ["attach"]
    made.poll()
    made.leave(queue)
    made.leave(queue)
    assert hint.done == ["attach", "poll", "detach"]
    assert not queue


def test_one_that_the_cell_imports_is_hooked_when_it_has_run(library):
    hint = Hint(library)
    made = hooks(hint)
    queue = made.join()
    assert hint.done == []
    module = importlib.import_module(library)
    assert hint.done == ["attach"]
    assert module.value == 7
    assert type(module.__loader__) is importlib.machinery.SourceFileLoader
    assert module.__loader__ is module.__spec__.loader
    assert "exec_module" not in vars(module.__loader__)
    assert importlib.reload(module) is module
    made.leave(queue)
    assert hint.done == ["attach", "detach"]
    assert not queue


def test_asking_whether_a_library_exists_hooks_nothing(library):
    hint = Hint(library)
    made = hooks(hint)
    queue = made.join()
    assert importlib.util.find_spec(library) is not None
    assert library not in sys.modules
    importlib.import_module(library)
    made.leave(queue)
    assert hint.done == ["attach", "detach"]


def test_a_missing_library_is_missing_as_ever():
    made = hooks(Hint("gpupredict_missing"))
    queue = made.join()
    with pytest.raises(ModuleNotFoundError, match="gpupredict_missing"):
        importlib.import_module("gpupredict_missing")
    assert importlib.util.find_spec("gpupredict_missing") is None
    made.leave(queue)
    assert not queue


def test_a_library_that_fails_to_import_fails_as_ever_and_may_come_later(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "gpupredict_broken.py"
    file.write_text("raise ZeroDivisionError('theirs')\n")
    hint = Hint("gpupredict_broken")
    made = hooks(hint)
    queue = made.join()
    with pytest.raises(ZeroDivisionError, match="theirs"):
        importlib.import_module("gpupredict_broken")
    assert hint.done == []
    file.write_text("value = 'repaired by now'\n")
    importlib.invalidate_caches()
    importlib.import_module("gpupredict_broken")
    assert hint.done == ["attach"]
    made.leave(queue)
    del sys.modules["gpupredict_broken"]


def test_a_lazy_module_is_not_made_to_run(library):
    hint = Hint(library)
    made = hooks(hint)
    queue = made.join()
    spec = importlib.util.find_spec(library)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    lazy = sys.modules[library] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lazy)
    made.poll()
    assert type(lazy) is not types.ModuleType
    assert hint.done == []
    assert lazy.value == 7  # now it runs
    made.poll()
    assert hint.done[0] == "attach"
    made.leave(queue)


def test_a_lazy_finder_of_somebody_elses_is_respected(library, monkeypatch):
    class Lazy:
        def find_spec(self, fullname, path=None, target=None):
            if fullname != library:
                return None
            spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
            spec.loader = importlib.util.LazyLoader(spec.loader)
            return spec

    finder = Lazy()
    sys.meta_path.insert(0, finder)
    hint = Hint(library)
    made = hooks(hint)
    queue = made.join()
    lazy = importlib.import_module(library)
    assert type(lazy) is not types.ModuleType
    assert hint.done == []
    assert lazy.value == 7
    made.poll()
    assert hint.done == ["attach"]
    made.leave(queue)
    sys.meta_path.remove(finder)


def test_a_finder_that_asks_everyone_as_we_do_ends(library):
    class Nosy:
        def __init__(self):
            self.asking = False

        def find_spec(self, fullname, path=None, target=None):
            if self.asking or fullname != library:
                return None
            self.asking = True
            try:
                return importlib.util.find_spec(fullname)
            finally:
                self.asking = False

    finder = Nosy()
    sys.meta_path.insert(0, finder)
    hint = Hint(library)
    made = hooks(hint)
    queue = made.join()
    importlib.import_module(library)
    assert hint.done == ["attach"]
    made.leave(queue)
    sys.meta_path.remove(finder)


def test_two_of_us_do_not_ask_each_other_for_ever(library):
    hints = [Hint(library), Hint(library)]
    both = [hooks(hint) for hint in hints]
    queues = [made.join() for made in both]
    importlib.import_module(library)
    assert [hint.done for hint in hints] == [["attach"], ["attach"]]
    for made, queue in zip(both, queues, strict=True):
        made.leave(queue)


def test_a_loader_that_takes_no_attribute_is_caught_by_the_poll(library):
    class Stubborn:
        __slots__ = ()

        def create_module(self, spec):
            return None

        def exec_module(self, module):
            module.value = 7

        def find_spec(self, fullname, path=None, target=None):
            if fullname != library:
                return None
            return importlib.machinery.ModuleSpec(fullname, self)

    finder = Stubborn()
    sys.meta_path.insert(0, finder)
    hint = Hint(library)
    made = hooks(hint)
    queue = made.join()
    importlib.import_module(library)
    assert hint.done == []
    made.poll()
    assert hint.done == ["attach"]
    made.leave(queue)
    sys.meta_path.remove(finder)


def test_what_another_thread_is_importing_is_left_until_it_is_done(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    name = "gpupredict_slow"
    (tmp_path / f"{name}.py").write_text(
        "import sys\nready = False\nsys.gpupredict_begun.set()\n"
        "sys.gpupredict_go_on.wait(10)\nready = True\n"
    )
    begun, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(sys, "gpupredict_begun", begun, raising=False)
    monkeypatch.setattr(sys, "gpupredict_go_on", go_on, raising=False)
    thread = threading.Thread(target=importlib.import_module, args=(name,))
    thread.start()
    assert begun.wait(10)
    hint = Hint(name)
    made = hooks(hint)
    queue = made.join()
    made.poll()
    assert hint.done == []
    go_on.set()
    thread.join()
    made.poll()
    assert hint.done == ["attach"]
    made.leave(queue)
    del sys.modules[name]
    assert not queue


def test_two_sessions_share_the_hooks(library):
    hint = Hint("json")
    made = hooks(hint, Hint(library))
    first, second = made.join(), made.join()
    assert len([one for one in sys.meta_path if type(one).__name__ == "_Finder"]) == 1
    made.leave(first)
    assert hint.done == ["attach"]
    made.leave(second)
    assert hint.done == ["attach", "detach"]


@pytest.mark.parametrize("what", ["attach", "poll"])
def test_a_hint_that_fails_is_told_of_once_and_taken_out(what):
    bad, good = Hint("json", fails={what, "detach"}), Hint("json")
    made = hooks(bad, good)
    queue = made.join()
    for _ in range(3):
        made.poll()
    assert list(queue) == [f"no progress from h0: ValueError: {what} fails"]
    assert bad.done[-1] == "detach"
    assert bad.done.count(what) == 1
    assert good.done == ["attach", "poll", "poll", "poll"]
    made.leave(queue)
    again = made.join()  # the next session tries again
    made.poll()
    assert bad.done.count(what) == 2
    assert len(again) == 1
    made.leave(again)


def test_a_failing_detach_is_told_of_and_an_import_does_not_fail(library):
    late, stuck = Hint(library, fails={"attach"}), Hint("json", fails={"detach"})
    made = hooks(late, stuck)
    queue = made.join()
    assert importlib.import_module(library).value == 7
    made.leave(queue)
    assert list(queue) == [
        "no progress from h0: ValueError: attach fails",
        "no progress from h1: ValueError: detach fails",
    ]


def test_a_hint_that_does_not_load_costs_only_itself():
    good = Hint("json")

    def make(name):
        if name == "bad":
            raise ImportError("a plug-in")
        return good

    made = Hooks(lambda: ("bad", "good"), make, Recorder())
    queue = made.join()
    assert list(queue) == ["no progress from bad: ImportError: a plug-in"]
    assert good.done == ["attach"]
    made.leave(queue)


def test_a_forked_child_neither_waits_nor_hooks(library):
    hint = Hint(library)
    made = hooks(hint)
    queue = made.join()
    with made._lock:  # as the sampler thread might at the moment of the fork
        pid = os.fork()
        if pid == 0:
            made.poll()
            thread = threading.Thread(target=importlib.import_module, args=(library,))
            thread.start()
            thread.join(10)
            os._exit(3 if thread.is_alive() or hint.done else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    made.leave(queue)


def test_a_hundred_sessions_leave_nothing(library):
    hint, late = Hint("json"), Hint(library)
    made = hooks(hint, late)
    before = list(sys.meta_path)
    for _ in range(100):
        made.leave(made.join())
    assert sys.meta_path == before
    assert hint.done == ["attach", "detach"] * 100
    assert late.done == []


def test_a_session_hooks_polls_and_reports(monkeypatch):
    hint = Hint("json", fails={"poll"})
    made = hooks(hint)
    monkeypatch.setattr(measuring, "progress_hooks", lambda: made)
    session = build_session(SessionConfig(source="synthetic"))
    assert hint.done == []
    session.start()
    run = session.stop("completed")
    measuring.shutdown()
    assert hint.done == ["attach", "poll", "detach"]
    assert run.errors == ("no progress from h0: ValueError: poll fails",)
    assert run.outcome == "completed"


def test_every_registered_hint_is_made_without_effect_and_lets_go_unattached():
    for name in registry.HINTS:
        hint = registry.load("hints", name)()
        assert hint.module
        hint.detach()
        hint.detach()
        hint.poll()


# ---- what hints are made of ----------------------------------------------------------------------


class Owner:
    def method(self, number):
        """Theirs."""
        return number


def test_a_wrap_comes_off_and_leaves_the_same_object():
    before = vars(Owner)["method"]
    wrap = Wrap(Owner, "method", lambda former: lambda self, number: former(self, number) + 1)
    assert Owner().method(1) == 2
    assert Owner.method.__doc__ == "Theirs."
    wrap.undo()
    wrap.undo()
    assert vars(Owner)["method"] is before


def test_a_wrap_that_someone_wrapped_stays(monkeypatch):
    wrap = Wrap(Owner, "method", lambda former: former)
    theirs = object()
    monkeypatch.setattr(Owner, "method", theirs)
    wrap.undo()
    assert Owner.method is theirs


def test_a_wrap_of_what_is_not_there_is_refused():
    with pytest.raises(KeyError):
        Wrap(Owner, "missing", lambda former: former)


def test_a_reporter_keeps_a_failure_from_the_loop_and_gives_it_up_once():
    reporter = Reporter("keras")
    reporter.open(Exploding())
    reporter.call(reporter.phase, "train")
    reporter.call(reporter.progress, "epoch", 0, 1)  # silent by now
    with pytest.raises(RuntimeError, match="no phase"):
        reporter.check()
    reporter.check()


def test_a_reporter_reports_a_phase_once_and_nothing_when_closed():
    sink, reporter = Recorder(), Reporter("keras")
    reporter.phase("train")
    reporter.open(sink)
    for name in ("train", "train", "other"):
        reporter.phase(name)
    reporter.close()
    reporter.phase("train")
    reporter.call(lambda: 1 / 0)
    reporter.check()
    assert sink.heard == [("train", "keras"), ("other", "keras")]
