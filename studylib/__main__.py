"""The command line: `python -m studylib COMMAND`; what each command does stands in `studylib/commands.py`.

Exit codes: 0; 1 for a wrong result (a guarded reward pays a cheat, a simulation misses its target, a run or a check of
the GPU failed); 2 for wrong use, in one sentence.
"""

import argparse
import contextlib
import inspect
import json
import os
import sys
from collections.abc import Callable

from studylib import commands, processes


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    # as the Makefile sets them, so that a run is the same however it is started
    for name, value in (("OMP_NUM_THREADS", "1"), ("TOKENIZERS_PARALLELISM", "false")):
        os.environ.setdefault(name, value)
    as_json = getattr(args, "json", False)
    try:
        if args.command == "run":
            processes.join()
        else:
            processes.require_one(f"{PROGRAM} {args.command}")
        progress = as_json and processes.is_first()  # which is not JSON
        with contextlib.redirect_stdout(sys.stderr) if progress else contextlib.nullcontext():
            result = function_of(args.command)(args)
    except (ValueError, OSError) as error:
        if args.traceback or isinstance(error, BrokenPipeError):
            raise
        print(f"{PROGRAM} {args.command}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(result.data, indent=1, allow_nan=False))
    elif result.text:
        print(result.text)
    return int(result.wrong)


def function_of(command: str) -> Callable:
    """Of `commands.py`; the name of a command may have a hyphen."""
    return getattr(commands, command.replace("-", "_"))


# --- options ---------------------------------------------------------------------------------------------------------

PROGRAM = "python -m studylib"


class Parser(argparse.ArgumentParser):
    """Help as it is written, and a wrong option refused in one sentence."""

    def __init__(self, **how):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **how)

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {message}; --help shows what there is\n")


def parser() -> Parser:
    whole = Parser(prog=PROGRAM, description=ABOUT)
    parts = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, options in OPTIONS.items():
        text = inspect.getdoc(function_of(name))
        part = parts.add_parser(name, help=text.splitlines()[0], description=text)
        for flags, how in options:
            part.add_argument(*flags.split(), **how)
        part.add_argument("--traceback", action="store_true", help="show where an error comes from")
    return whole


def option(flags: str, help: str, **how) -> tuple[str, dict]:
    return flags, {"help": help, **how}


def number(flag: str, help: str, default: int) -> tuple[str, dict]:
    return option(flag, f"{help} ({default})", type=count, default=default, metavar="N")


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: an integer >= 1")
    return int(text)


JSON = option("--json", "print one JSON value, for programs", action="store_true")
AXIS = option("--axis", "dimension of diversity, a file in params/ (inputs)", default="inputs")
PROFILE = option("--profile", "model and budget for a machine (tiny_cpu)", default="tiny_cpu")
SET = option("--set", "any other parameter, repeatable", metavar="NAME=VALUE", action="append", default=[])

ABOUT = """Does diversity help a language model to reason morally when it is trained with verifiable rewards?

A first look:  python -m studylib run --demo            one run and its story, under five minutes
The study:     python -m studylib study                 30 runs and their comparison, about half an hour
Every command: python -m studylib COMMAND --help        what it does, what it writes, an example"""

OPTIONS = {  # command -> its options
    "run": [
        option("--profile", "model and budget for a machine (tiny_cpu)"),
        option("--axis", "dimension of diversity (inputs)"),
        option("--condition", "arm of the axis (broad)"),
        option("--source", "an embedded world or a real data set (local_norms)"),
        option("--world", "a world that the axis makes of a source (none)"),
        option("--seed", "training seed (0)"),
        SET,
        option("-f --file", "your own YAML file of parameters"),
        option("--list", "print all parameters with their help", action="store_true"),
        option("--demo", "tell the story of the run when it is done", action="store_true"),
        option("--warm-start", "only fetch or make the model that runs start from", action="store_true"),
        JSON,
    ],
    "study": [
        AXIS,
        PROFILE,
        number("--cores", "runs at a time", 2),
        option("--seeds", "number of seeds (of the plan)"),
        option("--first-seed", "the first of them (0)"),
        option("--conditions", "names, by spaces (those of the plan, or all of the axis)"),
        option("--worlds", "names of sources or of worlds of the axis, by spaces (of the plan)"),
        option("--steps", "training steps of conditions that set none (of the axis or profile)"),
        option("--run-root", "folder of the runs; another than runs has its own figures/ inside"),
        option("--data", "folder of the published data that the axis asks for (the hub)", dest="data_dir"),
        option("--runs-only", "train, but do not compare", action="store_true"),
    ],
    "compare": [
        AXIS,
        PROFILE,
        option("--remake", "make the tables and figures from the runs again", action="store_true"),
        option("--baseline", "condition that the others are compared with (of the plan)", default=""),
        option("--margin", "equivalence margin, in units of the endpoint (of the plan)", type=float, default=0.0),
        option("--split", "split of the scenarios (of the plan)", default=""),
        option("--endpoint", "number that policies are compared by (of the plan)", default=""),
        option("--run-root", "folder of the runs (runs)", default="runs"),
        option("--out-root", "folder of the tables and figures (figures)", default="figures"),
        JSON,
    ],
    "report": [
        AXIS,
        option("--out", "folder of the tables and figures (figures/<axis>)"),
        option("--results", "write docs/results.md instead", action="store_true"),
        JSON,
    ],
    "audit": [
        number("--scenarios", "scenarios to answer, even", 8),
        option("--judge", "folder of a trained judge, whose reward is tried too", default=""),
        option("--data", "folder of published data: count what its splits share instead"),
        JSON,
    ],
    "validate": [
        number("--studies", "simulated studies a case", 2000),
        number("--workers", "processes", 2),
        option("--study", "folder of the tables of a finished study"),
        option("--out", "table to write (figures/validate.csv)"),
        option("--known-target", "write figures/known_target.* instead", action="store_true"),
        option("--seed-sets", "write figures/inputs/seed_sets.* instead", action="store_true"),
        JSON,
    ],
    "bench": [
        option("--gpu", "models of real sizes on CUDA", action="store_true"),
        number("--repeats", "pairs of plain and fast a shape", 3),
        number("--steps", "measured steps a process", 2),
        option("--worker", argparse.SUPPRESS),
    ],
    "baselines": [
        PROFILE,
        option("--data", "folder of the published data", default=""),
        number("--train", "training rows a source", 500),
        number("--test", "held-out rows a source", 500),
        SET,
        option("--out", "table to write (figures/real/baselines.csv)"),
        JSON,
    ],
    "gpu-check": [
        option("--stand-in", "miniatures on the CPU instead of the card", action="store_true"),
        option("--out", "folder of the table (figures/gpu)"),
        option("--worker", argparse.SUPPRESS),
        JSON,
    ],
    "judge": [
        PROFILE,
        option("--source", "embedded world (local_norms)", default="local_norms"),
        option("--gap", "train policies against the judge", action="store_true"),
        number("--seeds", "policies per arm of the gap", 5),
        JSON,
    ],
    "notebooks": [option("folder", "where they are to lie"), JSON],
    "address": [option("url", "https address of the repository"), JSON],
}


def from_shell() -> int:
    """`main` for a shell: a reader who stops before the end of the output, as `head` does, is no error."""
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python, which flushes at its end
        return 0
    return code


if __name__ == "__main__":
    raise SystemExit(from_shell())
