"""The commands of `python -m studylib`. Each calls the function that the notebooks and the Makefile call too.

Docstrings are what --help prints. A command imports what it needs when it runs, so that --help answers at once.
"""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import NamedTuple

from studylib.command_parts import listed, records, setting, wide
from studylib.paths import HOME, ROOT, at_home


class Result(NamedTuple):
    text: str = ""  # for a reader
    data: object = None  # for a program, with --json
    wrong: bool = False


def run(args) -> Result:
    """Train and evaluate one condition with one seed.

    Writes runs/<axis>/<profile>/<world>/<condition>/seed<k>/: parameters, training curve, every answer before and
    after training, accuracies, the adapter and, last, manifest.json. A finished run is not trained again; one that was
    cut off goes on from its last checkpoint. Parameters: defaults < profile < condition < -f FILE < options.

      python -m studylib run --demo
      python -m studylib run --condition narrow --source universal_norms --seed 3
      python -m studylib run -f mine.yaml --set steps=60 --set "rewards=correct=1.0 format=0.1"
    """
    if args.list:
        from studylib.params import parameter_help

        rows = parameter_help()
        return Result(listed(rows), [dict(zip(("group", "name", "default", "help"), row, strict=True)) for row in rows])
    from studylib.params import RunParams

    params = RunParams.resolve(given_to_run(args))
    if args.warm_start:
        from studylib.policy.warm_start import start

        folder, revision = start(params)
        return Result(f"runs start from {folder}" + f" at {revision}" * bool(revision))
    from studylib.run import run as train
    from studylib.text.files import read_object

    if args.demo:
        print("One run: about 90 seconds to make the tiny model, the first time, and a minute to train it.", flush=True)
    folder = train(params)
    if args.demo:
        from studylib.demo import story

        return Result(story(folder), {"run": str(folder)})
    return Result(f"the run is in {folder}", {"run": str(folder), **read_object(folder / "summary.json")})


def given_to_run(args) -> dict:
    """Parameters of the user's file, then of the options."""
    from studylib.axes import read_yaml

    given = read_yaml(at_home(args.file)) if args.file else {}
    named = {name: getattr(args, name) for name in ("profile", "axis", "condition", "source", "world")}
    seed = [f"seed={args.seed}"] if args.seed is not None else []
    return (
        given
        | {name: value for name, value in named.items() if value is not None}
        | dict(map(setting, args.set + seed))
    )


STUDY = ("axis", "profile", "worlds", "conditions", "first_seed", "seeds", "steps", "run_root", "data_dir")


def study(args) -> Result:
    """Train every run of an axis and compare them; finished runs are kept.

    Snakemake trains what is missing, several runs at a time, and then compares. Worlds, conditions and seeds are those
    of the axis' plan unless you choose others. Writes runs/ and figures/<axis>/, and prints the claims.

      python -m studylib study
      python -m studylib study --axis objective --cores 4
      python -m studylib study --conditions "narrow broad" --seeds 10 --run-root my_runs
    """
    if args.data_dir:
        args.data_dir = str(at_home(args.data_dir).resolve())  # Snakemake works in the repository
    config = [f"{name}={value}" for name in STUDY if (value := getattr(args, name)) is not None]
    options = ["--cores", str(args.cores), "--rerun-triggers", "mtime", "params"]
    options += [*(["--until", "run"] if args.runs_only else []), "--config", *config]
    from studylib.study import refuse_unknown_names, train_missing

    refuse_unknown_names(args)

    if train_missing(options):
        return Result("the study is not finished: see above; the same command goes on from here", wrong=True)
    root = args.run_root or "runs"
    if args.runs_only:
        return Result(f"the runs lie in {root}")
    from studylib.compare import summarise

    out = "figures" if root == "runs" else f"{root}/figures"
    summary = summarise(args.axis, args.profile, run_root=root, out_root=out)
    return Result(
        dataclasses.replace(summary, origin=f"The runs lie in {root}, tables and figures in {out}.").in_words()
    )


def compare(args) -> Result:
    """Compare the conditions of an axis: its claims, and every table and figure.

    Writes figures/<axis>/: claims.csv, means.csv and the other tables; every figure as pdf and png with its csv. Tables
    that are there are read, unless they are of another plan, profile or endpoint, or with --remake. Another baseline or
    margin than the plan's makes every claim exploratory.

      python -m studylib compare --axis inputs
      python -m studylib compare --axis inputs --remake --endpoint accuracy_greedy --out-root elsewhere
    """
    from studylib.compare import summarise

    names = ("remake", "baseline", "margin", "split", "endpoint", "run_root", "out_root")
    summary = summarise(args.axis, args.profile, **{name: getattr(args, name) for name in names})
    return Result(summary.in_words(), summary.as_record())


def report(args) -> Result:
    """Put the comparison of an axis on one page that opens without a network.

    Reads figures/<axis>/ and writes figures/<axis>/report.html.

      python -m studylib report --axis inputs
      python -m studylib report --results        writes every page of docs/ that is made of tables
    """
    if args.results:
        from studylib.claims.results import write_results

        paths = write_results()
        return Result("\n".join(map(str, paths)), {"pages": [str(path) for path in paths]})
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
        from studylib.instruments.overlap import overlap

        table = overlap(args.data)
        return Result(wide(table), records(table))
    from studylib.instruments.audit import audit_report, audit_text

    tables, hold = audit_report(args.scenarios, args.judge)
    data = {name: records(table.reset_index()) for name, table in tables.items()}
    return Result(audit_text(tables), data, wrong=not hold)


def validate(args) -> Result:
    """Check by simulation that the claims err as often as they say.

    2,000 simulated studies a case, about five minutes on two cores; exit code 1 when a rate misses its target. Writes
    figures/validate.csv. --study adds what a finished study would give with other seeds.

      python -m studylib validate --study figures/inputs
      python -m studylib validate --known-target    every objective on a policy whose optimum is known
      python -m studylib validate --seed-sets       ten studies of fresh seeds (make seed-sets trains them)
    """
    if args.known_target:
        from studylib.instruments.known_target import KEYS, KLS, make_figure

        policies = make_figure()
        return Result(wide(policies[KEYS + KLS]), records(policies))
    if args.seed_sets:
        from studylib.instruments import seed_sets

        claims = seed_sets.write_seed_sets()
        return Result(seed_sets.in_words(claims), records(claims))
    from studylib.instruments import validate as simulation

    out, study = (args.out and Path(args.out), args.study and Path(args.study))
    table = simulation.write_validation(*[out] if out else [], studies=args.studies, workers=args.workers, study=study)
    return Result(simulation.in_words(table), records(table), wrong=len(simulation.misses(table)) > 0)


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


def baselines(args) -> Result:
    """Show what published data yield without training: base rate, bag of words, linear probe of the model.

    Of every source that has right answers, with Wilson's 95 % interval. Writes figures/real/baselines.csv.

      python -m studylib baselines --profile smollm2_cpu --data /path/to/data
    """
    from studylib.instruments.baselines import write_baselines
    from studylib.params import RunParams
    from studylib.policy.models import require_device

    given = {"profile": args.profile, "axis": "real", "condition": "base", "data_dir": args.data}
    params = RunParams.resolve(given | dict(map(setting, args.set)))
    require_device(params)
    table = write_baselines(params, args.train, args.test, *[Path(args.out)] if args.out else [])
    return Result(wide(table), records(table))


def gpu_check(args) -> Result:
    """Check in ten minutes at most that everything works on this GPU, and in the memory that is computed for it.

    Driver and kernels, a step of every objective, float16 with scaled gradients, resume, evaluation, CUDA graphs, plain
    TRL beside the fast path, and each profile that fits the card. No network: models have random weights. Writes
    figures/gpu/<name of the card>.csv; exit code 1 when a check fails.

      python -m studylib gpu-check
      python -m studylib gpu-check --stand-in    miniatures on the CPU: do the checks themselves work?
    """
    from studylib.instruments import gpu_check as checks

    if args.worker:
        checks.work(**json.loads(args.worker))
        return Result()
    table, said = checks.check_gpu(args.stand_in, args.out and Path(args.out))
    return Result(said, records(table), wrong=bool((table["outcome"] == "failed").any()))


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
    if not args.gap:
        return Result(str(folder), {"judge": str(folder)})
    from studylib.instruments.judge_gap import write_gap
    from studylib.judge.model import Judge

    growth = write_gap(params, Judge.load(folder).grade, range(args.seeds))
    return Result(wide(growth), {"judge": str(folder), "gap": records(growth)})


def notebooks(args) -> Result:
    """Copy the notebooks into a folder of yours, to open and change them there.

    They find the package wherever they lie. A file that is there already is left as it is.

      python -m studylib notebooks my_notebooks
    """
    folder, copied = at_home(args.folder), []
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((HOME / "notebooks").glob("*.ipynb")):
        if not (folder / path.name).exists():
            copied.append(str(shutil.copy(path, folder)))
    return Result("\n".join(copied) or f"{folder} has them all", {"copied": copied})


def address(args) -> Result:
    """Say where this copy of the repository is published, so that Colab finds it.

    Writes the address into pyproject.toml, and from there into the first cell of the notebooks, the badge of README.md
    and CITATION.cff. An empty one takes it out again.

      python -m studylib address https://github.com/YOU/studylib
    """
    from studylib.address import write_address

    changed = [str(path) for path in write_address(args.url, ROOT)]
    return Result("\n".join(changed) or "nothing to change", {"changed": changed})
