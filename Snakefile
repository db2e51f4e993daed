"""The embedded study: one job per run, then the comparison. `make study` calls it; see README.md for clusters."""

import yaml
from pathlib import Path

AXIS = config.get("axis", "inputs")
PROFILE = config.get("profile", "tiny_cpu")
PLAN = Path("params/plans", f"{AXIS}.yaml")  # worlds and seeds are those of the analysis plan
plan = yaml.safe_load(PLAN.read_text()) if PLAN.exists() else {"worlds": "local_norms", "seeds": 3}
WORLDS = str(config.get("worlds", plan["worlds"])).split()
SEEDS = range(int(config.get("seeds", plan["seeds"])))
STEPS = config.get("steps", {("objective", "tiny_cpu"): 60}.get((AXIS, PROFILE)))  # none: what the profile says
CONDITIONS = sorted(path.stem for path in Path("params", AXIS).glob("*.yaml"))
RUN = f"runs/{AXIS}/{PROFILE}/{{world}}/{{condition}}/seed{{seed}}"
PAPERMILL = "python -m papermill --no-progress-bar -k python3"
SHOW_ERROR = " 2> {log}.err || {{ tail -n 2 {log}.err >&2; exit 1; }}"  # the last lines say what was wrong


def budget(wildcards):
    """Steps of the study, for every condition that does not set its own (`base` trains none)."""
    own = yaml.safe_load(Path("params", AXIS, f"{wildcards.condition}.yaml").read_text())
    return "" if STEPS is None or "steps" in own else f" -p steps {STEPS}"


localrules: all


rule all:
    input:
        f"runs/{AXIS}/{PROFILE}/compared",  # not the tables: those in git must not pass for a finished study


rule warm_start:
    output:
        touch(f"runs/{AXIS}/{PROFILE}/warm_start"),
    benchmark:
        f"runs/{AXIS}/{PROFILE}/warm_start.tsv"
    shell:
        f"python -m studylib.training.warm_start {PROFILE}"


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
        budget=budget,
    threads: 1
    retries: 1
    shell:
        PAPERMILL + " {input.notebook} {log} -f {input.profile} -f {input.condition}"
        " -p source {wildcards.world} -p seed {wildcards.seed}{params.budget}" + SHOW_ERROR + "\n"
        'echo "{wildcards.world} {wildcards.condition} seed {wildcards.seed}: complete after $SECONDS s"'


rule compare:
    input:
        runs=expand(RUN + "/manifest.json", world=WORLDS, condition=CONDITIONS, seed=SEEDS),
        plan=[PLAN] if PLAN.exists() else [],
        notebook=ancient("notebooks/4_compare_conditions.ipynb"),
    output:
        f"figures/{AXIS}/claims.csv",
        f"figures/{AXIS}/means.csv",
        touch(f"runs/{AXIS}/{PROFILE}/compared"),
    log:
        f"runs/{AXIS}/{PROFILE}/compare.ipynb",
    shell:
        PAPERMILL + f" {{input.notebook}} {{log}} -p axis {AXIS} -p profile {PROFILE}" + SHOW_ERROR
