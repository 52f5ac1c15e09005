"""The command line of `python -m batch`."""

import argparse
import re
from collections.abc import Sequence

from lookup.shared.env import SettingError, positive_integer

COMMANDS = {
    "run": "bootstrap the model if prod is missing, score every user, publish",
    "download": "fetch and check the raw files",
    "features": "build the features and write them to data/processed",
    "train": "train, evaluate and register a new version of the model",
    "evaluate": "measure the prod model beside the baselines on the hold-out",
    "promote": "let prod name another version",
    "rollback": "serve the generation before the current one",
    "status": "tell what is served",
}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; without a command it is `run`."""
    words = list(argv)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words.insert(0, "run")
    return parser().parse_args(words)


def parser() -> argparse.ArgumentParser:
    """Build the parser with one sub-parser a command."""
    main = argparse.ArgumentParser(
        prog="python -m batch",
        description="The batch job: raw files, features, model, scores, Redis.",
        epilog="Without a command: run. Each command has its own --help.",
        allow_abbrev=False,
    )
    commands = main.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            parents=[common()],
            allow_abbrev=False,
        )
        if name == "run":
            command.add_argument(
                "--force", action="store_true", help="score even if nothing changed"
            )
            command.add_argument(
                "--scheduler",
                metavar="tcp://HOST:PORT",
                type=scheduler,
                help="score on the workers of a Dask cluster",
            )
        if name == "train":
            command.add_argument(
                "--promote",
                action="store_true",
                help="let prod name the new version if it is no worse on the hold-out",
            )
        if name == "promote":
            command.add_argument(
                "--version", required=True, type=version, help="the version to promote"
            )
    return main


def common() -> argparse.ArgumentParser:
    """Build the arguments that every command takes."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "--raw",
        metavar="DIR_OR_ZIP",
        help="a folder or a .zip with a MovieLens release (MOVIELENS_RAW, data/raw)",
    )
    parent.add_argument(
        "--top-n",
        metavar="N",
        type=count,
        help="length of each stored list (TOP_N, 100)",
    )
    parent.add_argument(
        "--scorer",
        choices=("compiled", "xgboost"),
        default="compiled",
        help="score in machine code, or as slowly and to the same lists with xgboost",
    )
    parent.add_argument(
        "--json",
        action="store_true",
        help="make the last line of stdout one JSON object",
    )
    parent.add_argument("--quiet", action="store_true", help="log only warnings")
    parent.add_argument(
        "--debug", action="store_true", help="log more, and show tracebacks"
    )
    return parent


def count(text: str) -> str:
    """Check a number of items."""
    try:
        return str(positive_integer("--top-n", text))
    except SettingError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def scheduler(text: str) -> str:
    """Check the address of a Dask scheduler."""
    if not re.fullmatch(r"(tcp|tls)://[^/\s]+:[0-9]{1,5}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no scheduler; expected tcp://HOST:PORT or tls://HOST:PORT"
        )
    return text


def version(text: str) -> str:
    """Check a model version."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no version; expected 1, 2, …")
    return str(int(text))
