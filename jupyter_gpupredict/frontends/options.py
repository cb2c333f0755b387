"""The options of `%%gpupredict`, `jupyter gpupredict run` and `measure`: one parser for all."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict

from jupyter_gpupredict.core.errors import InvalidOption
from jupyter_gpupredict.export import read_notebook
from jupyter_gpupredict.export.deployment import SECRETS_FROM, CodeRequest
from jupyter_gpupredict.run import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class MagicOptions:
    """What one `%%gpupredict` line asks for."""

    config: SessionConfig
    output: str | None
    quiet: bool
    dry_run: bool
    isolation: Isolation | None = None
    """Run the cell in a process of its own; None: in this kernel."""


@dataclass(frozen=True, slots=True)
class Isolation:
    """How a cell runs in a process of its own."""

    returns: tuple[str, ...] = ()
    """Names to bring back into the notebook."""
    setup: tuple[str, ...] = ()
    """Tags, or numbers, of cells that run again before it."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidOption(message, "%%gpupredict -h lists the options")


def session_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that make a `SessionConfig`; unset ones stay None."""
    add = parser.add_argument
    add(
        "--source",
        metavar="NAME",
        help="auto, gpm (SM activity, Hopper and later), nvml (busy time), cpu (this process "
        "tree), prometheus (a DCGM exporter's series), replay or synthetic",
    )
    add(
        "--device",
        metavar="UUID|INDEX|all",
        help="which GPU, or several: 0,1; default: the first visible one",
    )
    add("--interval", type=float, metavar="S", help="seconds between readings where we poll")
    add("--rule", metavar="NAME", help="default, quick or accurate")
    add("--window", type=float, metavar="SECONDS", help="length of a sliding window")
    add("--agree", type=int, metavar="K", help="how many windows in a row must agree")
    add(
        "--tolerance",
        type=float,
        metavar="POINTS",
        help="how far agreeing windows may lie apart, in percentage points",
    )
    add("--epochs", type=int, metavar="N", help="total number of epochs, when known")
    add(
        "--no-prior",
        dest="prior",
        action="store_const",
        const=False,
        help="do not converge sooner because an earlier run of the same code went alike",
    )
    add(
        "--until-converged",
        action="store_const",
        const=True,
        help="stop the cell cleanly once the prediction has converged",
    )
    add(
        "--max-seconds",
        type=float,
        metavar="S",
        help="measure no longer than this; with --until-converged the cell stops then, too",
    )
    add(
        "--mps",
        action="store_const",
        const=True,
        help="run as a client of NVIDIA MPS, if CUDA has not started in this process yet",
    )
    add(
        "--mps-percentage",
        type=int,
        metavar="P",
        help="limit it to so much of the SMs; below 100 the run predicts nothing",
    )
    add("--memory-limit", type=int, metavar="MIB", help="limit its device memory under MPS")
    add(
        "--cluster",
        metavar="ADDRESS|NAME",
        help="measure the workers of a cluster: a Dask scheduler's address, a variable that holds "
        "a Dask or ipyparallel client, or auto",
    )
    add("--path", metavar="TRACE", help="the trace that --source replay plays")
    add("--speed", type=float, metavar="X", help="replay so many times faster; 0: at once")
    add("--scenario", metavar="NAME", help="what --source synthetic plays")
    add("--seed", type=int, metavar="N", help="seed of --source synthetic")
    add("--url", metavar="URL", help="the server of --source prometheus")
    add("--match", metavar="MATCHERS", help="which of its GPUs, such as 'Hostname=\"gpu7\"'")


RENAMED = {
    "interval": "interval_s",
    "window": "window_s",
    "tolerance": "tolerance_points",
    "memory_limit": "memory_limit_mib",
}
SESSION_OPTIONS = (
    "source",
    "device",
    "interval",
    "rule",
    "window",
    "agree",
    "tolerance",
    "epochs",
    "prior",
    "until_converged",
    "max_seconds",
    "mps",
    "mps_percentage",
    "memory_limit",
    "path",
    "speed",
    "scenario",
    "seed",
    "url",
    "match",
    "cluster",
)
"""Names on the command line; `RENAMED` gives the field of `SessionConfig` where it differs."""


def session_config(
    arguments: argparse.Namespace, defaults: Mapping[str, Any] | None = None
) -> SessionConfig:
    """Return the configuration that parsed options ask for.

    Args:
        arguments: From a parser with `session_arguments`.
        defaults: Option name -> value where the line does not say; None values are ignored.

    Raises:
        InvalidOption, UnknownName: A value is wrong.
    """
    chosen: dict[str, Any] = {}
    for option in SESSION_OPTIONS:
        value = getattr(arguments, option)
        if value is None and defaults is not None:
            value = defaults.get(option)
        if value is not None:
            chosen[RENAMED.get(option, option)] = value
    return SessionConfig(**chosen)


def magic_parser() -> argparse.ArgumentParser:
    """Return the parser of `%%gpupredict`; it raises `InvalidOption` instead of exiting."""
    parser = _Parser(
        prog="%%gpupredict",
        add_help=False,
        allow_abbrev=False,
        description="Measure this cell and predict the share of the GPU and the memory it needs.",
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this and do nothing")
    parser.add_argument("-o", dest="output", metavar="NAME", help="bind the result to this name")
    parser.add_argument("-q", "--quiet", action="store_true", help="show nothing")
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be measured, and do not run"
    )
    session_arguments(parser)
    isolation_arguments(parser)
    return parser


def isolation_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of a cell that runs in a process of its own."""
    add = parser.add_argument
    add(
        "--isolate",
        action="store_true",
        help="run the cell as the function that an export would write, in a process of its own",
    )
    add(
        "--return",
        dest="returns",
        action="append",
        default=[],
        metavar="NAME",
        help="bring this name back from an isolated cell; may be repeated",
    )
    add(
        "--setup",
        action="append",
        default=[],
        metavar="TAG",
        help="cells with this tag, or number, run again before an isolated one; may be repeated",
    )


def isolation(arguments: argparse.Namespace) -> Isolation | None:
    """Return how parsed options want the cell isolated; None: not at all.

    An isolated cell asks for MPS by itself: nothing of this kernel is changed by it.

    Raises:
        InvalidOption: A value is wrong, or makes no sense without `--isolate`.
    """
    for name in arguments.returns:
        if not name.isidentifier():
            raise InvalidOption(f"--return {name!r} is no Python name", "--return model")
    if arguments.isolate:
        limited = arguments.mps_percentage, arguments.memory_limit
        arguments.mps = True if limited != (None, None) else None
        return Isolation(tuple(dict.fromkeys(arguments.returns)), tuple(arguments.setup))
    for option, given in (("--return", arguments.returns), ("--setup", arguments.setup)):
        if given:
            raise InvalidOption(f"{option} needs --isolate", "add --isolate")
    return None


def parse_magic(words: Sequence[str], defaults: Mapping[str, Any] | None = None) -> MagicOptions:
    """Return what the words after `%%gpupredict` ask for.

    Raises:
        InvalidOption, UnknownName: One clear line.
    """
    arguments = magic_parser().parse_args(list(words))
    if arguments.output is not None and not arguments.output.isidentifier():
        raise InvalidOption(f"-o {arguments.output!r} is no Python name", "-o result")
    quiet = arguments.quiet or bool(defaults and defaults.get("quiet"))
    isolated = isolation(arguments)
    if isolated is not None and (arguments.cluster or (defaults or {}).get("cluster")):
        raise InvalidOption(
            "--isolate measures one process of its own, and --cluster those of others",
            "leave one of them out",
        )
    config = session_config(arguments, defaults)
    return MagicOptions(config, arguments.output, quiet, arguments.dry_run, isolated)


def export_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of an export."""
    add = parser.add_argument
    add("--workload", default="job", help="what runs the function (default: job)")
    add(
        "--sharing",
        help="how its GPU is divided (default: device-plugin, or what the workload has)",
    )
    add("--name", required=True, help="the function's name")
    add("--image", default="", help="its container image")
    add("-o", dest="output", metavar="DIR", required=True, help="the folder to write")
    add(
        "--node-selector",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="label of the nodes to run on (mps: that run a daemon); may be given several times",
    )
    add("--memory-mib", type=int, metavar="N", help="your own memory limit")
    add("--sm-percent", type=int, metavar="P", help="your own share of the SMs")
    add(
        "--headroom-percent",
        type=float,
        default=0.0,
        metavar="H",
        help="your own margin on memory, beside the 15 %% that is in the target",
    )
    add(
        "--per-process",
        action="store_true",
        help="several CUDA processes share what the target grants to their container",
    )
    add("--max-timeout", type=int, metavar="S", help="longest run that your platform allows")
    add(
        "--knative-features",
        default="",
        metavar="A,B",
        help="feature flags that your Knative has on",
    )
    add("--gpu-uuid", default="", metavar="GPU-...", help="the GPU that an MPS file is for")
    add("--accelerator", default="nvidia-l4", help="the accelerator to ask Cloud Run for")
    add("--force", action="store_true", help="insist on what is refused, and have it stamped")
    add("--overwrite", action="store_true", help="replace files that are there")
    add("--notebook", metavar="FILE", help="where the cell stands that the run measured")
    for option, metavar, words in (
        ("--param", "NAME", "a name that the function's caller gives, not the notebook"),
        ("--setup", "TAG", "cells with this tag, or number, run again before the measured one"),
        ("--adapter", "NAME", "serve, functions-framework, runpod, openfaas, func or ray"),
    ):
        add(option, action="append", default=[], metavar=metavar, help=f"{words}; may be repeated")
    add("--base-image", default="", metavar="IMAGE", help="what the Dockerfile starts from")
    add(
        "--drop-magics",
        action="store_true",
        help="leave out what earlier cells have that works in a notebook only",
    )
    add(
        "--secrets",
        choices=SECRETS_FROM,
        default="",
        help="who gives what looks like a credential: the environment, by a name in .env.example, "
        "or the function's caller",
    )
    add("--allow-secrets", action="store_true", help="keep what looks like a credential")
    add("--dry-run", action="store_true", help="print the files, write nothing")


class CodeOptions(TypedDict):
    """What `CodeRequest` takes beside the cells."""

    params: tuple[str, ...]
    setup: tuple[str, ...]
    adapters: tuple[str, ...]
    base_image: str
    drop_magics: bool
    secrets: str
    allow_secrets: bool


def code_options(arguments: argparse.Namespace) -> CodeOptions:
    """Return what parsed options say about the function's code."""
    return CodeOptions(
        params=tuple(arguments.param),
        setup=tuple(arguments.setup),
        adapters=tuple(arguments.adapter),
        base_image=arguments.base_image,
        drop_magics=arguments.drop_magics,
        secrets=arguments.secrets,
        allow_secrets=arguments.allow_secrets,
    )


def notebook_code(arguments: argparse.Namespace) -> CodeRequest | None:
    """Return the cells of `--notebook`; None where there is none.

    Raises:
        InvalidOption: It is no notebook.
    """
    if arguments.notebook is None:
        return None
    cells, notes = read_notebook(arguments.notebook)
    folder = Path(arguments.notebook).resolve().parent
    return CodeRequest(cells, folder, notes=notes, **code_options(arguments))


def node_selector(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the node selector that `--node-selector` asks for.

    Raises:
        InvalidOption: It is not KEY=VALUE.
    """
    pairs = {}
    for text in arguments.node_selector:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidOption(f"--node-selector {text!r}", "write KEY=VALUE")
        pairs[key] = value
    return pairs


def knative_features(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Return the flags that `--knative-features` lists."""
    return tuple(flag.strip() for flag in arguments.knative_features.split(",") if flag.strip())
