"""`%%gpupredict` and `%gpupredict`.

The cell runs exactly as it would without us, because nothing wraps it: a pure input transformer
replaces the magic's line by one call that starts the measuring, and IPython's own hook after the
cell ends it (docs/decisions/0001). A plain cell magic of the same name serves what the transformer
leaves alone: `--isolate`, `run_cell_magic`, help and completion.
"""

from __future__ import annotations

import ast
import itertools
import shlex
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.inputtransformer2 import cell_magic as stacked
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand
from traitlets import Bool, Float, Int, Unicode

from jupyter_gpupredict.core.errors import ConfigError, GpuPredictError, UnknownName
from jupyter_gpupredict.core.options import options_of
from jupyter_gpupredict.frontends import executed
from jupyter_gpupredict.frontends.cellrun import CellRun, Running, warn
from jupyter_gpupredict.frontends.options import MagicOptions, magic_parser, parse_magic
from jupyter_gpupredict.frontends.terminal import say
from jupyter_gpupredict.frontends.views import draws_bokeh
from jupyter_gpupredict.run import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell

    from jupyter_gpupredict.frontends.verifying import Found
    from jupyter_gpupredict.mps import IsolatedRun

NAME = "gpupredict"
_BEGIN = "gpupredict_begin"
COMPLETING = "jupyter_gpupredict.frontends.completing"
GONE = "the cell that was measured has ended unseen: its measuring ends now"


def transform(lines: list[str]) -> list[str]:
    """Replace a first line `%%gpupredict ARGS` by a call, keeping the number of lines.

    Pure: IPython calls it several times for one cell and for every completeness check.
    """
    first = lines[0].rstrip("\n") if lines else ""
    head, arguments = first[: len(NAME) + 2], first[len(NAME) + 2 :]
    if head != f"%%{NAME}" or (arguments and not arguments[0].isspace()):
        return lines
    if {"-h", "--help", "--dry-run", "--isolate"} & set(arguments.split()):
        if "".join(lines[1:]).strip():
            return lines  # answered by the plain magic, which does not run the body here
        # IPython refuses a cell magic without a body, and a blank line is one
        return [f"get_ipython().run_cell_magic({NAME!r}, {arguments.strip()!r}, '\\n')\n"]
    blank = list(itertools.takewhile(lambda line: not line.strip(), lines[1:]))
    # IPython looks for one on the first line alone
    body = stacked(lines[1 + len(blank) :])  # type: ignore[no-untyped-call]  # IPython
    begin = f"get_ipython().run_line_magic({_BEGIN!r}, {arguments.strip()!r})\n"
    return [begin, *blank, *body]


_TRAITS: dict[type, Any] = {bool: Bool, int: Int, float: Float, str: Unicode}
_Defaults: Any = type(
    "_Defaults",
    (Magics,),
    {
        one.name: _TRAITS[one.kind](None, allow_none=True, help=one.described).tag(config=True)
        for one in options_of(SessionConfig)
    },
)


@magics_class
class GpuPredictMagics(_Defaults):  # type: ignore[misc]  # made above, from the table of options
    """The magics; every trait is the default of the option of the same name."""

    quiet = Bool(False, help="Default of -q.").tag(config=True)
    synchronize = Bool(
        True, help="Wait for the GPU at both ends of the cell, when torch or cupy is in use."
    ).tag(config=True)

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._ip: Any = shell
        """The shell; untyped, because much of what a magic touches is not in its annotations."""
        self._running = Running()
        self._hooks = {
            "pre_execute": self._before_execute,
            "pre_run_cell": self._before_cell,
            "post_run_cell": self._after_cell,
            "post_execute": self._after_execute,
        }

    # ---- the way in and out -------------------------------------------------------------------

    def attach(self) -> None:
        """Put transformer, hooks and magics into the shell."""
        shell = self._ip
        shell.input_transformers_cleanup.append(transform)
        for event, hook in self._hooks.items():
            shell.events.register(event, hook)
        shell.register_magics(self)
        self._completer = getattr(shell, "Completer", None)
        if self._completer is not None:
            from jupyter_gpupredict.frontends.completing import matcher

            self._completer.custom_matchers.append(matcher)
        if self not in shell.configurables:  # recent IPython has put it there
            shell.configurables.append(self)

    def detach(self) -> None:
        """Take everything out again and end what still runs."""
        shell = self._ip
        for cell in self._running:
            self._running.drop(cell)
            if cell.run is not None:
                cell.run.end("stopped")
        if transform in shell.input_transformers_cleanup:
            shell.input_transformers_cleanup.remove(transform)
        matchers = getattr(self._completer, "custom_matchers", [])
        matchers[:] = [one for one in matchers if getattr(one, "__module__", "") != COMPLETING]
        for event, hook in self._hooks.items():
            if hook in shell.events.callbacks[event]:
                shell.events.unregister(event, hook)
        for kind, name in (("cell", NAME), ("line", NAME), ("line", _BEGIN)):
            shell.magics_manager.magics[kind].pop(name, None)
        if self in shell.configurables:
            shell.configurables.remove(self)

    # ---- the cell -----------------------------------------------------------------------------

    @property
    def _runs(self) -> tuple[CellRun, ...]:
        """What is measured now."""
        return tuple(cell.run for cell in self._running if cell.run is not None)

    def _before_execute(self) -> None:
        """End the runs of cells that are gone: nothing else would."""
        for cell in self._running.begin():
            if cell.run is not None:
                warn(GONE)
                cell.run.end("stopped")

    def _before_cell(self, info: ExecutionInfo) -> None:
        cell = self._running.newest()
        if cell is not None:
            cell.info = info

    def _after_cell(self, result: ExecutionResult | None) -> None:
        if result is not None and not result.success:
            executed.remember_failure(self._ip, result.execution_count)
        for number, cell in enumerate(self._running.end(result)):
            if cell.run is not None and number == 0 and result is not None:
                cell.run.end_with(result)
            elif cell.run is not None:
                cell.run.end("failed")

    def _after_execute(self) -> None:
        """End a silent cell, whose result is not shown."""
        cell = self._running.newest()
        if cell is not None and cell.info is None:
            self._running.drop(cell)
            if cell.run is not None:
                cell.run.end("completed")

    @no_var_expand
    @line_magic
    def gpupredict_begin(self, line: str) -> None:
        """Start measuring the cell that this line stands in; written by the transformer."""
        cell = self._running.newest()
        if cell is None:  # somebody has taken our hooks out: the next cell ends it
            self._before_execute()
            cell = self._running.newest()
        run = self._begin(line, _body(getattr(cell and cell.info, "raw_cell", "") or ""))
        if cell is not None:
            cell.run = run

    @no_var_expand
    @cell_magic
    def gpupredict(self, line: str, cell: str) -> Any:
        """Measure a cell; replaced by the parser's own text below."""
        words = _words(line)
        if {"-h", "--help"} & set(words):
            say(magic_parser().format_help())
            return None
        if "--dry-run" in words:
            from jupyter_gpupredict.frontends.doctor import report

            self._parse(line)
            say(report())
            return None
        options = self._parse(line)
        if options.isolation is not None:
            from jupyter_gpupredict.frontends import isolated

            return isolated.run(self._ip, options, cell, self._measure)
        run = self._begin(line, cell)
        outcome = "failed"
        try:
            value = self._run_plain(cell)
            outcome = "completed"
        except KeyboardInterrupt:
            outcome = "interrupted"
            if run is None or not run.stopped_by_us():
                raise
            outcome, value = "stopped", None
        finally:
            if run is not None:
                run.end(outcome)
        return value

    @no_var_expand
    @line_magic("gpupredict")  # type: ignore[arg-type]  # IPython declares no name
    def gpupredict_line(self, line: str) -> Any:
        """Look at runs, try shares, export: -h lists the commands."""
        try:
            return run_line(_words(line), self._runs, self._ip)
        except GpuPredictError as error:
            raise UsageError(str(error)) from None

    def _run_plain(self, cell: str) -> Any:
        """Run the body and return the value of its last expression."""
        namespace = self._ip.user_ns
        source = self._ip.transform_cell(cell)
        filename = self._ip.compile.cache(source)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        tree = compile(source, filename, "exec", ast.PyCF_ONLY_AST | flags)
        if _awaits(tree):
            raise UsageError("top-level await works only in a cell that begins with %%gpupredict")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, filename, "exec"), namespace)  # noqa: S102 - the user's own cell
        if last is None:
            return None
        return eval(compile(ast.Expression(last.value), filename, "eval"), namespace)  # noqa: S307

    def _begin(self, line: str, code: str) -> CellRun | None:
        return self._measure(self._parse(line), code)

    def _measure(
        self, options: MagicOptions, code: str, child: IsolatedRun | None = None
    ) -> CellRun | None:
        """Start to measure; None, after a line of warning, when it cannot be done."""
        run = CellRun(
            self._ip,
            options,
            code,
            synchronize=self.synchronize and child is None,
            child=child,
        )
        try:
            run.begin()
        except ConfigError as error:
            raise UsageError(str(error)) from None
        except GpuPredictError as error:
            warn(f"{error}; the cell runs unmeasured")
            return None
        except Exception as error:  # noqa: BLE001 - border: our fault must not stop the cell
            warn(f"{type(error).__name__}: {error}; the cell runs unmeasured")
            return None
        return run

    def _parse(self, line: str) -> Any:
        defaults = {one.name: getattr(self, one.name) for one in options_of(SessionConfig)}
        defaults["quiet"] = self.quiet
        try:
            return parse_magic(_words(line), defaults)
        except GpuPredictError as error:
            raise UsageError(str(error)) from None


GpuPredictMagics.gpupredict.__doc__ = magic_parser().format_help()


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"cannot read {line!r}: {error}") from None


def _body(raw_cell: str) -> str:
    """Return the cell without its magic line."""
    return raw_cell.lstrip().partition("\n")[2]


def _awaits(tree: ast.Module) -> bool:
    """Whether anything outside a function awaits."""

    def walk(node: ast.AST) -> bool:
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            return True
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef | ast.Lambda):
            return False
        return any(walk(child) for child in ast.iter_child_nodes(node))

    return any(walk(node) for node in tree.body)


def load(shell: InteractiveShell) -> None:
    """Add the magics; does nothing when they are there."""
    if _loaded(shell) is None:
        GpuPredictMagics(shell).attach()


def unload(shell: InteractiveShell) -> None:
    """Remove the magics and end our threads."""
    magics = _loaded(shell)
    if magics is not None:
        magics.detach()
        executed.forget()
    from jupyter_gpupredict.mps import process_mps
    from jupyter_gpupredict.run import shutdown

    shutdown()
    process_mps().leave()


def _loaded(shell: Any) -> GpuPredictMagics | None:
    """Return our magics in this shell; None when they are not loaded."""
    for configurable in shell.configurables:
        if isinstance(configurable, GpuPredictMagics):
            return configurable
    return None


def run_line(words: Sequence[str], live: Sequence[CellRun], shell: Any) -> Any:
    """Do what the words after `%gpupredict` ask; returns what the cell shows.

    Raises:
        GpuPredictError: One clear line.
    """
    from jupyter_gpupredict.frontends.verbs import IN_NOTEBOOK, Notebook, VerbParser, verb_parser
    from jupyter_gpupredict.frontends.verifying import Found

    place = Notebook(live)
    asked = list(words) or ["status"]
    if asked[0] in ("-h", "--help"):
        top = VerbParser(prog="%gpupredict", add_help=False, description="Look at measured runs.")
        verbs = top.add_subparsers(title="commands; each has -h", metavar="COMMAND")
        for name, verb in IN_NOTEBOOK.items():
            verbs.add_parser(name, add_help=False, help=verb.help)
        say(top.format_help())
        return None
    if asked[0] not in IN_NOTEBOOK:
        raise UnknownName("command", asked[0], IN_NOTEBOOK)
    parser = verb_parser(asked[0], place)
    if {"-h", "--help"} & set(asked):
        say(parser.format_help())
        return None
    arguments = parser.parse_args(asked[1:])
    shown = IN_NOTEBOOK[asked[0]].act(arguments, place)
    if isinstance(shown, int):
        return None
    if isinstance(shown, Found) and shown.to_svg() and draws_bokeh(shell):
        show_chart(shown)
    return shown


def show_chart(found: Found) -> None:
    """Display a sweep's chart; without Bokeh or the widget the result's own SVG is all there is."""
    try:
        from jupyter_gpupredict.frontends.widget import show_still

        show_still(found.to_item(), found.to_svg(), "speed against share of the SMs")
    except ImportError:
        return
    found.folded = True
