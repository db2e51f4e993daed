"""The embedded study: one job per run, then the comparison. `make study` calls it; see README.md for clusters."""

import os
import re
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(workflow.basedir))  # the package beside this file
from studylib.claims.plan import read_plan
from studylib.typed import LARGEST_SEED
from studylib.params import RunParams, read_yaml
from studylib.paths import at_home
from studylib.names import SOURCES

MOST_SEEDS = 10_000  # of one study; each is a job
CONFIG = ("axis", "profile", "worlds", "conditions", "first_seed", "seeds", "steps", "run_root")


def check(holds, name, value, allowed):
    if not holds:
        raise WorkflowError(f"--config {name}: {value!r} is not allowed: {allowed}")


def given(name, default):
    """A value of --config as text; Snakemake makes numbers, and nested values, of what looks like one."""
    value = config.get(name, default)
    check(isinstance(value, (str, int, float)) and str(value).strip(), name, value, "one value, not empty")
    return str(value)


def names(name, default, known):
    """Names by spaces, each of them known."""
    found = given(name, default).split()
    check(set(found) <= set(known), name, " ".join(found), f"of {', '.join(known)}")
    return list(dict.fromkeys(found))


def one(name, default, known):
    found = names(name, default, known)
    check(len(found) == 1, name, " ".join(found), f"one of {', '.join(known)}")
    return found[0]


def count(name, default, least, most=LARGEST_SEED):
    text = given(name, default)
    whole = re.fullmatch("[0-9]{1,10}", text) and least <= int(text) <= most
    check(whole, name, text, f"an integer >= {least}, at most {most}")
    return int(text)


def stems(folder):
    """Names of the parameter files of a folder."""
    return sorted(path.stem for path in Path("params", folder).glob("*.yaml"))


def axes():
    return [path.name for path in sorted(Path("params").iterdir()) if stems(path.name) and path.name not in NO_AXES]


def folder(name, default):
    """A folder for files of papermill, which would fill in braces, and read a number or None for text."""
    path = os.path.normpath(at_home(given(name, default)))
    text = isinstance(config.get(name, default), str) and not is_number(path) and path not in ("None", "True", "False")
    check(text and not set(path) & set("{}"), name, path, "a folder without { and }, called neither a number nor None")
    return path


def is_number(text):
    try:
        return float(text) is not None
    except ValueError:
        return False


def quoted(argument):
    """An argument of a shell command; its braces are no fields of Snakemake's."""
    return shlex.quote(str(argument)).replace("{", "{{").replace("}", "}}")


NO_AXES = ("plans", "profiles")
for name in config:
    check(name in CONFIG, name, config[name], f"the names are {', '.join(CONFIG)}")
AXIS = one("axis", "inputs", axes())
PROFILE = one("profile", "tiny_cpu", stems("profiles"))
PLAN = Path("params/plans", f"{AXIS}.yaml")  # worlds and seeds are those of the analysis plan
plan = read_plan(AXIS, PLAN.parent) if PLAN.exists() else None
WORLDS = names("worlds", plan.worlds if plan else "local_norms", SOURCES)
FIRST = count("first_seed", 0, 0)
SEEDS = range(FIRST, FIRST + count("seeds", plan.seeds if plan else 3, 1, MOST_SEEDS))
check(SEEDS[-1] <= LARGEST_SEED, "first_seed", FIRST, f"no seed may be above {LARGEST_SEED}")
BUDGET = config.get("steps", {("objective", "tiny_cpu"): 60}.get((AXIS, PROFILE)))  # none: what the profile says
STEPS = None if BUDGET is None else count("steps", BUDGET, 0)
CONDITIONS = names("conditions", " ".join(stems(AXIS)), stems(AXIS))
ROOT = folder("run_root", "runs")  # runs beside the planned study belong elsewhere, or it would count them
FIGURES = "figures" if ROOT == "runs" else f"{ROOT}/figures"
STUDY = f"{ROOT}/{AXIS}/{PROFILE}"
RUN = STUDY + "/{world}/{condition}/seed{seed}"
PYTHON = quoted(sys.executable)  # of the environment that Snakemake is in, whatever PATH says
PAPERMILL = f"{PYTHON} -m papermill --no-progress-bar -k python3"
SHOW_ERROR = " 2> {log:q}.err || {{ tail -n 2 {log:q}.err >&2; exit 1; }}"  # the last lines say what was wrong


def own_steps(condition):
    """Steps of the study, for every condition that does not set its own (`base` trains none)."""
    return {} if STEPS is None or "steps" in read_yaml(Path("params", AXIS, f"{condition}.yaml")) else {"steps": STEPS}


def options(wildcards):
    """Steps, and where runs lie."""
    given = own_steps(wildcards.condition) | ({} if ROOT == "runs" else {"run_root": ROOT})
    return "".join(f" -p {name} {shlex.quote(str(value))}" for name, value in given.items())


for condition in CONDITIONS:  # what no run can be made of is refused before the first one
    for world in WORLDS:
        key = {"profile": PROFILE, "axis": AXIS, "condition": condition, "source": world, "seed": SEEDS[-1]}
        RunParams.resolve(key | own_steps(condition))


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
        f"{PYTHON} -m studylib.policy.warm_start {quoted(PROFILE)}"


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
        PAPERMILL + " {input.notebook:q} {log:q} -f {input.profile:q} -f {input.condition:q}"
        " -p source {wildcards.world:q} -p seed {wildcards.seed}{params.options}" + SHOW_ERROR + "\n"
        'echo {wildcards.world:q} {wildcards.condition:q} "seed {wildcards.seed}: complete after $SECONDS s"'


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
        PAPERMILL + f" {{input.notebook:q}} {{log:q}} -r axis {quoted(AXIS)} -r profile {quoted(PROFILE)}"
        f" -r run_root {quoted(ROOT)} -r out_root {quoted(FIGURES)}" + SHOW_ERROR
