"""Does everything work on this GPU, and in the memory that is computed for it? One table, in ten minutes at most.

    python -m studylib gpu-check              on the card                          -> figures/gpu/<name of the card>.csv
    python -m studylib gpu-check --stand-in   miniatures on the CPU, in 16 bits    -> figures/gpu/cpu_stand_in.csv

The checks run one after the other in a worker process, so that one that fails, hangs or ends its process hides no
other: a fresh worker goes on with the rest. Models have random weights of published shapes, so no network is used.
"""

import gc
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from studylib.axes import profile_names, read_profile
from studylib.names import OBJECTIVES
from studylib.paths import CACHE, FIGURES

BUDGET = 600  # seconds of all checks together
LIMITS = {  # check -> seconds that one may take, in the order in which they are made
    "environment": 60, "four_bits": 60, "float16": 90, "objective": 60, "resume": 90, "evaluation": 60,
    "fixed_cache": 150, "against_trl": 150, "profile": 150, "smollm2": 120, "two_processes": 150,
}  # fmt: skip
START = 180  # seconds in which a worker has to begin
MODULES = ("gpu_checks", "gpu_sizes")  # where the functions of these names are
OUTCOMES = ("ok", "failed", "skipped", "not reached")
Start = Callable[[list[str], Path], subprocess.Popen]  # (names of checks, file of events) -> a worker


class Row(NamedTuple):
    check: str
    profile: str
    outcome: str  # one of OUTCOMES
    found: str  # or the reason
    expected: str
    seconds: float

    def in_words(self) -> str:
        expected = f"  (expected: {self.expected})" if self.expected else ""
        return (
            f"{self.outcome:12}{f'{self.check} {self.profile}'.strip()}: {self.found}{expected}  {self.seconds:.0f} s"
        )


def names() -> list[str]:
    """Every check: its function, and behind a blank the objective or profile that it is made of."""
    on_cuda = [name for name in profile_names() if read_profile(name).get("device") == "cuda"]
    by_size = sorted(on_cuda, key=lambda name: (read_profile(name).get("min_gpu_gb", 0), read_profile(name)["model"]))
    of = {"objective": list(OBJECTIVES), "profile": by_size}
    return [f"{kind} {one}".strip() for kind in LIMITS for one in of.get(kind, [""])]


def rows_of(name: str, setting) -> Iterator[Row]:
    """What a check finds. An exception is a row too, and its traceback goes to standard error."""
    from studylib.instruments.gpu_setting import Skipped

    kind, _, argument = name.partition(" ")
    profile, since = argument if kind == "profile" else "", time.monotonic()
    try:
        with setting.precision():
            for finding in _function(kind)(setting, *[argument][: bool(argument)]):
                outcome, now = "ok" if finding.holds else "failed", time.monotonic()
                yield Row(finding.what, profile, outcome, finding.found, finding.expected, round(now - since, 1))
                since = now
    except Skipped as reason:
        yield Row(kind, profile, "skipped", str(reason), "", 0.0)
    except Exception as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        yield Row(name.removesuffix(f" {profile}"), profile, "failed", said, "", round(time.monotonic() - since, 1))


def _function(kind: str) -> Callable:
    modules = [importlib.import_module(f"studylib.instruments.{module}") for module in MODULES]
    return next(getattr(module, kind) for module in modules if hasattr(module, kind))


# --- the worker ------------------------------------------------------------------------------------------------------


def work(checks: list[str], device: str, folder: str, events: str) -> None:
    """Make the checks and write what they find to `events`, a line each; after a failed one the process is given up."""
    import torch

    from studylib.instruments.gpu_setting import Setting

    def say(**event) -> None:
        with Path(events).open("a") as file:
            file.write(json.dumps(event) + "\n")

    say(card=torch.cuda.get_device_name() if device == "cuda" else "CPU stand-in")
    watching = os.getppid()
    for name in checks:
        if os.getppid() != watching:  # whoever waited for the rows is gone
            return
        say(begin=name)
        failed = False
        for row in rows_of(name, Setting(device, Path(folder))):
            say(row=row)
            failed |= row.outcome == "failed"
        say(end=name)
        if failed:
            return
        torch._dynamo.reset()
        gc.collect()
        torch.cuda.empty_cache()


# --- the watch over it -----------------------------------------------------------------------------------------------


def watched(checks: list[str], start: Start, events: Path, until: float) -> Iterator[Row | str]:
    """The rows of all checks, and the name of the card before them. until: on the clock of `time.monotonic`."""
    left = list(checks)
    while left and time.monotonic() < until:
        events.unlink(missing_ok=True)
        worker = start(list(left), events)
        try:
            yield from _of_one_worker(worker, events, left, until)
        finally:
            _end(worker)
    yield from (_unmade(name, "not reached", "out of time") for name in left)


def _of_one_worker(worker: subprocess.Popen, events: Path, left: list[str], until: float) -> Iterator[Row | str]:
    """Rows until the worker ends or has to be ended; `left` loses the checks that it made."""
    seen, current, since, begun = 0, "", time.monotonic(), False
    while True:
        running = worker.poll() is None
        lines = events.read_text().splitlines(keepends=True) if events.is_file() else []
        whole = [json.loads(line) for line in lines[seen:] if line.endswith("\n")]
        seen += len(whole)
        for event in whole:
            if "card" in event:
                yield event["card"]
            elif "row" in event:
                yield Row(*event["row"])
            else:
                current, since, begun = event.get("begin", ""), time.monotonic(), True
                left[:] = [name for name in left if name != current]
        limit = LIMITS[current.partition(" ")[0]] if current else START
        if not running:
            break
        if time.monotonic() > until:
            left[:0] = [current] * bool(current)
            return
        if time.monotonic() - since > limit and (current or not begun):
            yield from _given_up(current, left, f"stopped after its limit of {limit} s")
            return
        time.sleep(0.1)
    if current or not begun:
        yield from _given_up(current, left, f"its process ended with code {worker.returncode}")


def _given_up(current: str, left: list[str], why: str) -> Iterator[Row]:
    """The check that was being made; all that are left where the worker did not even begin."""
    for name in [current] if current else left:
        yield _unmade(name, "failed", why)
    if not current:
        left.clear()


def _unmade(name: str, outcome: str, why: str) -> Row:
    kind, _, argument = name.partition(" ")
    return Row(name, "", outcome, why, "", 0.0) if kind != "profile" else Row(kind, argument, outcome, why, "", 0.0)


def _end(worker: subprocess.Popen) -> None:
    if worker.poll() is None:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


# --- the whole -------------------------------------------------------------------------------------------------------


def check_gpu(stand_in: bool = False, out: Path | None = None, budget: float = BUDGET) -> tuple[pd.DataFrame, str]:
    """(the table, one sentence about it): every row is printed when it is known, and kept in `out` (figures/gpu).

    Raises ValueError where there is no CUDA GPU, but for the stand-in.
    """
    import torch

    until = time.monotonic() + budget
    if not stand_in and not torch.cuda.is_available():
        raise ValueError("gpu-check needs a CUDA GPU, and this machine has none; --stand-in tries the checks on a CPU")
    CACHE.mkdir(parents=True, exist_ok=True)
    out, log = out or FIGURES / "gpu", CACHE / "gpu_check.log"
    with tempfile.TemporaryDirectory(dir=CACHE) as folder, log.open("w") as file:
        start = _starter("cpu" if stand_in else "cuda", folder, file)
        table, path = _written(watched(names(), start, Path(folder) / "events.jsonl", until), out)
    return table, f"{_counted(table)}; written to {path}, errors in full to {log}"


def _starter(device: str, folder: str, log) -> Start:
    one = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": one, "HF_HUB_OFFLINE": "1"}

    def start(checks: list[str], events: Path) -> subprocess.Popen:
        task = json.dumps({"checks": checks, "device": device, "folder": folder, "events": str(events)})
        command = [sys.executable, "-m", "studylib", "gpu-check", "--worker", task]
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    return start


def _written(found: Iterator[Row | str], out: Path) -> tuple[pd.DataFrame, Path]:
    """The table and its file, which is written again with every row: what is known outlives an interruption."""
    card, rows = "unknown card", []
    for row in found:
        if isinstance(row, str):
            card = row
            continue
        print(row.in_words(), flush=True)
        rows.append({"card": card, **row._asdict()})
        table, path = pd.DataFrame(rows), out / f"{_file_name(card)}.csv"
        out.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
    return table, path


def _file_name(card: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", card.lower()).strip("_")


def _counted(table: pd.DataFrame) -> str:
    counts = table["outcome"].value_counts()
    return ", ".join(f"{counts.get(outcome, 0)} {outcome}" for outcome in OUTCOMES)
