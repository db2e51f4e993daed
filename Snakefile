"""The embedded study: one job per run, then the comparison. `make study` calls it; see README.md for clusters."""

import sys
import yaml
from pathlib import Path

AXIS = config.get("axis", "inputs")
PROFILE = config.get("profile", "tiny_cpu")
PLAN = Path("params/plans", f"{AXIS}.yaml")  # worlds and seeds are those of the analysis plan
plan = yaml.safe_load(PLAN.read_text()) if PLAN.exists() else {"worlds": "local_norms", "seeds": 3}
WORLDS = str(config.get("worlds", plan["worlds"])).split()
FIRST = int(config.get("first_seed", 0))
SEEDS = range(FIRST, FIRST + int(config.get("seeds", plan["seeds"])))
STEPS = config.get("steps", {("objective", "tiny_cpu"): 60}.get((AXIS, PROFILE)))  # none: what the profile says
EVERY = " ".join(sorted(path.stem for path in Path("params", AXIS).glob("*.yaml")))
CONDITIONS = config.get("conditions", EVERY).split()
ROOT = config.get("run_root", "runs")  # runs beside the planned study belong elsewhere, or it would count them
FIGURES = "figures" if ROOT == "runs" else f"{ROOT}/figures"
STUDY = f"{ROOT}/{AXIS}/{PROFILE}"
RUN = STUDY + "/{world}/{condition}/seed{seed}"
PYTHON = sys.executable  # of the environment that Snakemake is in, whatever PATH says
PAPERMILL = f"{PYTHON} -m papermill --no-progress-bar -k python3"
SHOW_ERROR = " 2> {log}.err || {{ tail -n 2 {log}.err >&2; exit 1; }}"  # the last lines say what was wrong


def options(wildcards):
    """Steps of the study, for every condition that does not set its own (`base` trains none), and where runs lie."""
    own = yaml.safe_load(Path("params", AXIS, f"{wildcards.condition}.yaml").read_text())
    steps = "" if STEPS is None or "steps" in own else f" -p steps {STEPS}"
    return steps + ("" if ROOT == "runs" else f" -p run_root {ROOT}")


localrules: all


rule all:
    input:
        f"{STUDY}/compared",  # not the tables: those in git must not pass for a finished study


rule warm_start:
    output:
        touch(f"{STUDY}/warm_start"),
    benchmark:
        f"{STUDY}/warm_start.tsv"
    shell:
        f"{PYTHON} -m studylib.training.warm_start {PROFILE}"


# Checkpoints are not declared: Snakemake would remove them when a run fails, and with them the way to resume.
rule run:
    input:
        profile=f"params/profiles/{PROFILE}.yaml",
        condition=f"params/{AXIS}/{{condition}}.yaml",
        notebook=ancient("notebooks/3_run_condition.ipynb"),
        warm_start=ancient(rules.warm_start.output),
    output:
        RUN + "/manifest.json",
    log:
        RUN + "/notebook.ipynb",
    params:
        options=options,
    threads: 1
    retries: 1
    shell:
        PAPERMILL + " {input.notebook} {log} -f {input.profile} -f {input.condition}"
        " -p source {wildcards.world} -p seed {wildcards.seed}{params.options}" + SHOW_ERROR + "\n"
        'echo "{wildcards.world} {wildcards.condition} seed {wildcards.seed}: complete after $SECONDS s"'


rule compare:
    input:
        runs=expand(RUN + "/manifest.json", world=WORLDS, condition=CONDITIONS, seed=SEEDS),
        plan=[PLAN] if PLAN.exists() else [],
        notebook=ancient("notebooks/4_compare_conditions.ipynb"),
    output:
        f"{FIGURES}/{AXIS}/claims.csv",
        f"{FIGURES}/{AXIS}/means.csv",
        touch(f"{STUDY}/compared"),
    log:
        f"{STUDY}/compare.ipynb",
    shell:
        PAPERMILL + f" {{input.notebook}} {{log}} -p axis {AXIS} -p profile {PROFILE}"
        f" -p run_root {ROOT} -p out_root {FIGURES}" + SHOW_ERROR
