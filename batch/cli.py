"""The command line of `python -m batch`: commands, options, exit codes, signals."""

import json
import logging
import os
import re
import signal
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from batch import console
from batch.commands import Result, admin, compare, evaluate, forget, run, train
from batch.commands.notification import Notifier
from batch.errors import BatchError, LockHeld
from batch.evaluation.protocol import FIFTH, PROTOCOLS
from batch.settings import Settings, mlflow_credentials
from lookup.shared.dotenv import environment
from lookup.shared.env import SettingError, positive_integer

INTERRUPTED = (
    "interrupted; the served lists are complete (python -m batch status shows their "
    "generation)"
)

NOTIFYING = ("run", "train")
"""The commands after which NOTIFY_URL is notified."""

log = logging.getLogger("batch")


class RunByDefault(click.Group):
    """A command group that runs `run` if no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert `run` before options that belong to no command."""
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args.insert(0, "run")
        return super().parse_args(ctx, args)


@click.group(
    cls=RunByDefault,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Without a command: run. Each command has its own --help.",
)
def batch() -> None:
    """Raw files, features, model, scores, Redis."""


def check_count(
    _: click.Context, parameter: click.Parameter, text: str | None
) -> str | None:
    """Check that --top-n is a positive integer."""
    try:
        return None if text is None else str(positive_integer("--top-n", text))
    except SettingError as error:
        raise click.BadParameter(str(error), param=parameter) from error


def check_scheduler(
    _: click.Context, __: click.Parameter, text: str | None
) -> str | None:
    """Check that --scheduler is the address of a Dask scheduler."""
    if text is not None and not re.fullmatch(r"(tcp|tls)://[^/\s]+:[0-9]{1,5}", text):
        raise click.BadParameter(
            f"{text!r} is not a scheduler; expected tcp://HOST:PORT or tls://HOST:PORT"
        )
    return text


def check_version(_: click.Context, __: click.Parameter, text: str) -> str:
    """Check a model version and strip its leading zeros."""
    if not re.fullmatch("0*[1-9][0-9]*", text):
        raise click.BadParameter(f"{text!r} is not a version; expected 1, 2, …")
    return str(int(text))


def check_parameters(
    _: click.Context, parameter: click.Parameter, texts: Sequence[str]
) -> dict[str, Any]:
    """Parse the parameters of --set."""
    if not texts:
        return {}
    from batch.model import parameters  # with xgboost, which other commands save

    try:
        return parameters.read(texts)
    except BatchError as error:
        raise click.BadParameter(str(error), param=parameter) from error


COMMON_OPTIONS = (
    click.option(
        "--raw",
        metavar="DIR_OR_ZIP",
        help="A folder or a .zip with a MovieLens release (MOVIELENS_RAW, data/raw).",
    ),
    click.option(
        "--top-n",
        metavar="N",
        callback=check_count,
        help="Length of each stored list (TOP_N, 100).",
    ),
    click.option(
        "--scorer",
        type=click.Choice(("compiled", "xgboost")),
        default="compiled",
        help="Score in machine code, or slower and to the same lists with xgboost.",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        help="Make the last line of stdout one JSON object.",
    ),
    click.option("--quiet", is_flag=True, help="Log only warnings."),
    click.option("--debug", is_flag=True, help="Log more, and show tracebacks."),
)


def command(
    function: Callable[..., Result], name: str, *options: Callable[..., Any]
) -> None:
    """Add a command that calls `function` with the settings and its own options."""

    def invoke(
        raw: str | None,
        top_n: str | None,
        scorer: str,
        as_json: bool,
        quiet: bool,
        debug: bool,
        scheduler: str | None = None,
        **own: Any,  # noqa: ANN401 - each command has its own
    ) -> int:
        notifier: Notifier | None = None

        def work() -> Result:
            nonlocal notifier
            with environment() as environ:
                if name in NOTIFYING:  # of bad settings, too
                    notifier = Notifier.read(environ)
                settings = Settings.read(
                    environ, raw=raw, top_n=top_n, scorer=scorer, scheduler=scheduler
                )
                os.environ.update(mlflow_credentials(environ))
            return function(settings, **own)

        console.set_up_logging(log, quiet=quiet, debug=debug)
        code, outcome = execute(work, as_json=as_json, debug=debug)
        if notifier is not None:
            notifier.send(name, code, outcome)
        return code

    callback: Any = invoke
    for option in reversed((*COMMON_OPTIONS, *options)):
        callback = option(callback)
    batch.command(name, help=function.__doc__)(callback)


def execute(
    work: Callable[[], Result], *, as_json: bool, debug: bool
) -> tuple[int, Result]:
    """Run a command and print its result or a one-line error.

    Returns:
        The exit code, and the result or else the error.
    """
    stops = stop_on_signals()
    try:
        result = work()
        text = json.dumps(result) if as_json else console.readable(result)
        print(text, flush=True)
    except KeyboardInterrupt:
        code, message = 130, INTERRUPTED
    except LockHeld as error:
        code, message = 75, str(error)
    except Exception as error:
        code, message = 1, console.explain(error)
        if stops:  # DuckDB and others turn an interrupt into errors of their own
            code, message = 130, INTERRUPTED
        elif debug:
            traceback.print_exc()
    else:
        return 0, result
    return console.fail(message, code), {"error": " ".join(message.split())}


def stop_on_signals() -> list[int]:
    """Make SIGTERM interrupt a run as Ctrl-C does; return the list of signals."""
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> NoReturn:
        received.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    return received


command(
    run.run,
    "run",
    click.option("--force", is_flag=True, help="Score even if nothing changed."),
    click.option(
        "--accept-changes",
        is_flag=True,
        help="Publish though release, size or SQL of the data changed.",
    ),
    click.option(
        "--stage", is_flag=True, help="Hold the new lists without serving them."
    ),
    click.option(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        callback=check_scheduler,
        help="Score on the workers of a Dask cluster.",
    ),
)
command(admin.download, "download")
command(admin.features, "features")
command(
    train.train,
    "train",
    click.option(
        "--promote",
        is_flag=True,
        help="Let prod name the new version unless it is worse by more than chance.",
    ),
    click.option(
        "--set",
        "chosen",
        metavar="NAME=VALUE",
        multiple=True,
        callback=check_parameters,
        help="Train with another value of a parameter, such as max_depth=6.",
    ),
    click.option(
        "--note",
        metavar="TEXT",
        default="",
        help="A description for the run in MLflow.",
    ),
)
command(
    evaluate.evaluate,
    "evaluate",
    click.option(
        "--protocol",
        type=click.Choice(tuple(PROTOCOLS)),
        default=FIFTH.name,
        help="Hold out the last fifth of each user's ratings, or the last one.",
    ),
)
command(
    admin.promote,
    "promote",
    click.option(
        "--version",
        metavar="N",
        required=True,
        callback=check_version,
        help="The version to promote.",
    ),
)
command(admin.rollback, "rollback")
command(admin.serve, "serve", click.argument("generation", metavar="GENERATION"))
command(
    compare.compare,
    "compare",
    click.argument("first", metavar="GENERATION"),
    click.argument("second", metavar="GENERATION"),
)
command(admin.status, "status")
item_ids = click.argument("item_ids", nargs=-1, required=True, metavar="ITEM_ID…")
command(admin.block, "block", item_ids)
command(admin.unblock, "unblock", item_ids)
command(admin.show_blocked, "blocked")
command(
    forget.forget,
    "forget",
    click.argument("user", metavar="USER_ID"),
)


def main(argv: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    try:
        code: int = batch.main(list(argv), "python -m batch", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code
