"""The commands of `python -m studylib`. Each calls the function that the notebooks and the Makefile call too.

Docstrings are what --help prints. A command imports what it needs when it runs, so that --help answers at once.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Result(NamedTuple):
    text: str = ""  # for a reader
    data: object = None  # for a program, with --json
    wrong: bool = False


def run(args) -> Result:
    """Train and evaluate one condition with one seed.

    Writes runs/<axis>/<profile>/<source>/<condition>/seed<k>/: parameters, training curve, every answer before and
    after training, accuracies, the adapter and, last, manifest.json. A finished run is not trained again; one that was
    cut off goes on from its last checkpoint. Parameters: defaults < profile < condition < -f FILE < options.

      python -m studylib run --demo
      python -m studylib run --condition narrow --source universal_norms --seed 3
      python -m studylib run -f mine.yaml --set steps=60 --set "rewards=correct=1.0 format=0.1"
    """
    from studylib.params import RunParams, read_yaml

    if args.list:
        from studylib.params import parameter_help

        return Result(parameter_help())
    given = read_yaml(Path(args.file)) if args.file else {}
    for name in ("profile", "axis", "condition", "source"):
        given |= {name: value} if (value := getattr(args, name)) is not None else {}
    settings = [*args.set, *([f"seed={args.seed}"] if args.seed is not None else [])]
    params = RunParams.resolve(given | dict(map(setting, settings)))
    if args.warm_start:
        from studylib.policy.warm_start import warm_start

        return Result(str(warm_start(params)) if params.model == "tiny" else f"{params.model} needs no warm start")
    from studylib.run import run as train

    folder = train(params)
    if args.demo:
        from studylib.demo import story

        return Result(story(folder), {"run": str(folder)})
    from studylib.runs.read import read_json

    summary = read_json(folder / "summary.json")
    return Result(f"complete: {folder}", {"run": str(folder), **summary})


def setting(text: str) -> tuple[str, str | int | float | bool]:
    """(name, value) of `name=value`, the value read as YAML 1.2 reads it; nothing after the = is the empty text."""
    from studylib.text.files import read_scalar

    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"--set {text!r} is not allowed: name=value")
    return name, "" if value == "" else read_scalar(value)


STUDY = ("axis", "profile", "worlds", "conditions", "first_seed", "seeds", "steps", "run_root")  # what Snakemake takes


def study(args) -> Result:
    """Train every run of an axis and compare them; finished runs are kept.

    Snakemake trains what is missing, several runs at a time, and then compares. Worlds, conditions and seeds are those
    of the axis' plan unless you choose others. Writes runs/ and figures/<axis>/, and prints the claims.

      python -m studylib study
      python -m studylib study --axis objective --cores 4
      python -m studylib study --conditions "narrow broad" --seeds 10 --run-root my_runs
    """
    from studylib.paths import ROOT, RUNS

    config = [f"{name}={value}" for name in STUDY if (value := getattr(args, name)) is not None]
    options = ["--cores", str(args.cores), "--rerun-triggers", "mtime", "params"]
    options += [*(["--until", "run"] if args.runs_only else []), "--config", *config]
    refuse_what_cannot_be(options)
    print("study: finished runs are kept, and a run that was cut off goes on from its last checkpoint", flush=True)
    alone = ["flock", "-w", "120", str(ROOT / ".study.lock")]  # two workflows in one folder would train the same runs
    quiet = ["--nolock", "--rerun-incomplete", "--keep-going", "--quiet", "rules", "host"]
    if wait_for([*alone, *snakemake(*quiet, *options)]):
        return Result("the study is not finished: see above; the same command goes on from here", wrong=True)
    if args.runs_only:
        return Result(f"the runs lie in {args.run_root or RUNS}")
    from studylib.claims.tables import main as show

    show(["--axis", args.axis, "--profile", args.profile, "--runs", args.run_root or str(RUNS)])
    return Result()


def snakemake(*options: str) -> list[str]:
    from studylib.paths import ROOT

    snakefile = Path(__file__).parents[1] / "workflow/Snakefile"
    return [sys.executable, "-m", "snakemake", "-s", str(snakefile), "--directory", str(ROOT), *options]


def refuse_what_cannot_be(options: list[str]) -> None:
    """A dry run, which checks the options and the parameters of every run; raises ValueError for what is refused."""
    done = subprocess.run(snakemake("--dry-run", "--quiet", "all", *options), capture_output=True, text=True)
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ValueError(next((line for line in lines if "not allowed" in line), lines[-1] if lines else "no workflow"))


def wait_for(command: list[str]) -> int:
    """Exit code of a command that takes an interrupt itself: Snakemake then ends its jobs in good order."""
    process = subprocess.Popen(command)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def compare(args) -> Result:
    """Make every table and figure of an axis from its finished runs.

    Writes figures/<axis>/: claims.csv, means.csv and the other tables; every figure as pdf and png with its csv.
    Options that leave the plan make the claims exploratory.

      python -m studylib compare --axis inputs
      python -m studylib compare --axis inputs --endpoint accuracy_greedy --out-root elsewhere
    """
    import pandas as pd

    from studylib.compare import compare as make

    names = ("baseline", "margin", "split", "endpoint", "run_root", "out_root")
    folder = make(args.axis, args.profile, **{name: getattr(args, name) for name in names})
    claims = pd.read_csv(folder / "claims.csv")
    return Result(f"tables and figures: {folder}", {"folder": str(folder), "claims": records(claims)})


def report(args) -> Result:
    """Put the comparison of an axis on one page that opens without a network.

    Reads figures/<axis>/ and writes figures/<axis>/report.html.

      python -m studylib report --axis inputs
      python -m studylib report --results        writes docs/results.md from the tables of all axes
    """
    if args.results:
        from studylib.claims.results import write_results

        path = write_results()
    else:
        from studylib.claims.report import write_report

        path = write_report(args.axis, args.out and Path(args.out))
    return Result(str(path), {"report": str(path)})


def audit(args) -> Result:
    """Answer scenarios with every known cheat and show what each reward pays for it.

    Exit code 1 when a guarded reward pays a wrong answer more than the median honest wrong one. Writes nothing.

      python -m studylib audit
      python -m studylib audit --judge runs/judge/qwen3_1.7b
      python -m studylib audit --data /path/to/data    texts that published data share between training and evaluation
    """
    if args.data:
        return published_data(args.data)
    from studylib.instruments import audit as battery
    from studylib.judge.model import Judge

    table = battery.audit(battery.audit_rows(args.scenarios), Judge.load(args.judge).grade if args.judge else None)
    lines, paid = battery.verdicts(table), battery.payments(table)
    text = (
        f"what cheats with the wrong option earn, mean over {args.scenarios} scenarios:\n\n{wide(paid)}\n\n"
        f"the most that a cheat earns, and the median honest answer:\n\n{wide(lines)}"
    )
    data = {"rewards": records(lines.reset_index()), "payments": records(paid.reset_index())}
    return Result(text, data, wrong=not lines[lines.guarded].holds.all())


def published_data(folder: str) -> Result:
    """What published data bring along that a score should be read against."""
    from studylib.instruments.overlap import overlap

    data = overlap(folder)
    return Result("\n".join(f"{name}: {counts}" for name, counts in data.items()), data)


def validate(args) -> Result:
    """Check by simulation that the claims err as often as they say.

    2,000 simulated studies a case, about five minutes on two cores; exit code 1 when a rate misses its target. Writes
    figures/validate.csv.

      python -m studylib validate
      python -m studylib validate --known-target    every objective on a policy whose optimum is known
      python -m studylib validate --seed-sets       ten studies of fresh seeds (make seed-sets trains them)
    """
    if args.known_target:
        return known_target()
    if args.seed_sets:
        from studylib.instruments.seed_sets import seed_sets

        claims = seed_sets()
        return Result(wide(claims), records(claims))
    from studylib.instruments import validate as simulation
    from studylib.paths import FIGURES

    table = simulation.validate(args.studies, args.workers)
    out = Path(args.out) if args.out else FIGURES / "validate.csv"
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False)
    wrong, checked = simulation.misses(table), len(simulation.checks(table))
    text = f"{checked} checks in {out}, {len(wrong)} outside their target; {len(table) - checked} reported only"
    return Result(text + (f"\n{wide(wrong)}" if len(wrong) else ""), records(table), wrong=len(wrong) > 0)


def known_target() -> Result:
    from studylib.claims.plots import save
    from studylib.instruments.known_target import PUBLISHED_SOURCE, plot_policies, table
    from studylib.paths import FIGURES

    policies = table()
    save(plot_policies(policies), "known_target", FIGURES, policies)
    columns = ["objective", *(name for name in policies if name.startswith("kl_"))]
    return Result(f"{wide(policies[columns])}\npublished: {PUBLISHED_SOURCE}", records(policies))


def bench(args) -> Result:
    """Measure what a training step costs, plain TRL against the fast path.

    Writes figures/bench/ (figures/bench_gpu/ with --gpu).

      python -m studylib bench --repeats 1
    """
    from studylib.instruments import bench, bench_step

    if args.worker:
        return Result(json.dumps(bench_step.measure(**json.loads(args.worker))))
    (bench.bench_gpu if args.gpu else bench.bench_cpu)(args.repeats, args.steps)
    return Result()


def judge(args) -> Result:
    """Train the judge of an embedded world, or policies against it.

    The judge is kept in the cache and its folder printed. --gap trains policies against the checkers, the judge and
    checkers with a planted flaw, and writes figures/judge/gap.*: a gap that grows is reward hacking.

      python -m studylib judge
      python -m studylib judge --gap --seeds 1
    """
    from studylib.judge.embedded import embedded_judge
    from studylib.params import RunParams
    from studylib.policy.models import require_device

    params = RunParams.resolve({"profile": args.profile, "source": args.source})
    require_device(params)
    folder = embedded_judge(params)
    return gap(params, folder, args.seeds) if args.gap else Result(str(folder), {"judge": str(folder)})


def gap(params, folder: Path, seeds: int) -> Result:
    from studylib.claims.plots import save
    from studylib.instruments.judge_gap import gap as train_arms
    from studylib.instruments.judge_gap import gap_at_ends
    from studylib.instruments.judge_plots import plot_gap
    from studylib.judge.model import Judge
    from studylib.paths import FIGURES

    curves = train_arms(params, Judge.load(folder).grade, range(seeds))
    save(plot_gap(curves).figure, "gap", FIGURES / "judge", curves)
    ends = gap_at_ends(curves)
    return Result(wide(ends), {"judge": str(folder), "gap": records(ends)})


def wide(table) -> str:
    """Every row and column of a table, to three digits."""
    return table.round(3).to_string(index=any(table.index.names))


def records(table) -> list[dict]:
    """A row for each line of a table, as JSON has it: null where there is no number."""
    return json.loads(table.to_json(orient="records", double_precision=15))
