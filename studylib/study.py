"""The workflow of a study: Snakemake, as `make study` and `python -m studylib study` call it."""

import re
import signal
import subprocess
import sys

from studylib.axes import read_axis, read_profile
from studylib.names import SOURCES
from studylib.paths import HOME, ROOT

BUSY = 75  # exit code of flock where another process holds the lock


def refuse_unknown_names(args) -> None:
    """Raise ValueError for an axis, profile, condition or world that is not there, with the nearest that is."""
    axis, _ = read_axis(args.axis), read_profile(args.profile)

    def known_world(name: str):
        return name in axis.settings_by_world or SOURCES.of(name)

    for option, known in (("conditions", lambda name: axis.of(name, args.profile)), ("worlds", known_world)):
        for name in (getattr(args, option) or "").split():
            try:
                known(name)
            except ValueError as error:
                raise ValueError(f"--{option}: {error}") from error


def train_missing(options: list[str]) -> int:
    """Train what is missing, and compare; returns Snakemake's exit code. options: Snakemake's, with --config last.

    Raises ValueError for options, or parameters of any run, that are refused, and while another study is running.
    """
    missing = refuse_what_cannot_be(options)
    print(f"study: runs to train: {missing}; one that was cut off goes on from its last checkpoint", flush=True)
    alone = ["flock", "-w", "120", "-E", str(BUSY), str(ROOT / ".study.lock")]  # two would train the same runs
    quiet = ["--nolock", "--rerun-incomplete", "--keep-going", "--quiet", "all"]
    code = wait_for([*alone, *snakemake(*quiet, *options)], missing)
    if code == BUSY:
        raise ValueError("another study runs in this folder; wait until it has ended")
    return code


def snakemake(*options: str) -> list[str]:
    snakefile = HOME / "workflow/Snakefile"
    return [sys.executable, "-m", "snakemake", "-s", str(snakefile), "--directory", str(ROOT), *options]


def refuse_what_cannot_be(options: list[str]) -> int:
    """The number of runs to train, by a dry run, which checks the options and the parameters of every run.

    Raises ValueError for what it refuses.
    """
    done = subprocess.run(snakemake("--dry-run", "--quiet", "rules", *options), capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        refused = next((line for line in lines if "not allowed" in line), lines[-1] if lines else "no workflow")
        raise ValueError(re.sub(r"^--config (\w+)", lambda name: f"--{name[1].replace('_', '-')}", refused))
    jobs = re.search(r"^run\s+(\d+)", done.stdout + done.stderr, re.MULTILINE)
    return int(jobs[1]) if jobs else 0


def wait_for(command: list[str], runs: int) -> int:
    """Exit code of Snakemake, whose lines are printed, those of complete runs with their number.

    It takes an interrupt itself: it then ends its jobs in good order.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    before, complete = signal.signal(signal.SIGINT, signal.SIG_IGN), 0
    try:
        for line in process.stdout:
            complete += ": complete after " in line
            number = f" ({complete} of {runs} runs)" if ": complete after " in line else ""
            print(line.rstrip("\n") + number, flush=True)
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
