"""A run: one condition with one seed, from its parameters to its manifest.

`run` reads from top to bottom, and the cells of notebooks/3_run_condition.ipynb call its stages one by one. A run that
was stopped goes on from its newest checkpoint. One that is complete is left as it is: nothing is trained or written.
Where torchrun started several processes they train together, and the first one does all the rest.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import pandas as pd
import pyarrow.parquet
from matplotlib.figure import Figure

from studylib import processes
from studylib.claims.plan import plan_digest
from studylib.claims.plots import save
from studylib.claims.plots_held_out import plot_run
from studylib.evaluation.answers import evaluate
from studylib.evaluation.asking import choice
from studylib.evaluation.curve import Look, held_out_look
from studylib.evaluation.summary import summary
from studylib.judge.model import judge_of
from studylib.params import RunParams
from studylib.policy.models import require_device
from studylib.policy.products import computed_in
from studylib.rewards import Grader
from studylib.runs.contents import contents
from studylib.runs.folder import (
    METRICS,
    SCENARIOS,
    SUMMARY,
    is_complete,
    open_run,
    write_json,
    write_manifest,
    written_whole,
)
from studylib.runs.read import looks
from studylib.scenarios.rows import digest, to_dataset
from studylib.scenarios.selection import Splits, select
from studylib.text.tokens import end_tokens
from studylib.training.role_stage import stage_facts
from studylib.training.train import prepare, train
from studylib.training.trainer import StudyTrainer

MakeRewards = Callable[[list[dict]], list]  # training scenarios -> reward functions as TRL calls them


def run(params: RunParams, make_rewards: MakeRewards | None = None, **facts: str) -> Path:
    """Make one run, or what is missing of it; returns its folder (`runs/folder.py` says what is in it).

    make_rewards: rewards in place of those that `params.rewards` names, with their weights. facts: what else belongs
    to the configuration of the run, such as who grades.
    """
    begun = begin(params, **facts)
    if is_complete(params.run_dir):
        return params.run_dir
    splits = choose_scenarios(params)
    grader = choose_grader(params, splits)
    trainer = make_policy(params, splits, grader, make_rewards)
    before = evaluate_before(params, trainer, splits, grader)
    look = watch(params, trainer, splits)
    resumed_from = train(trainer, params, look)
    after = evaluate_after(params, trainer, splits, grader)
    summarise(params, splits, before, after)
    if curve := draw_curve(params):
        plt.close(curve)  # else a notebook that makes many runs would show them all
    return finish(begun, trainer, splits, resumed_from)


class Begun(NamedTuple):
    """What is fixed when a run begins."""

    params: RunParams
    started: float  # seconds since the epoch
    plan: str  # hash of the axis' analysis plan; "" where it has none
    facts: dict[str, str]  # contents of the folders that the run names, and what the caller added


def begin(params: RunParams, **facts: str) -> Begun:
    """Open the run folder; refuses one that holds a run with other parameters, judge, model or plan facts, and before
    it makes one a machine that cannot train the run. Joins the other processes where torchrun started several."""
    processes.join()
    return processes.of_first(_begun, params, facts)


def _begun(params: RunParams, facts: dict[str, str]) -> Begun:
    if not is_complete(params.run_dir):
        require_device(params)
    begun = Begun(params, time.time(), plan_digest(params.axis), contents(params) | facts)
    open_run(params.run_dir, params.as_dict() | begun.facts)
    print(params.run_dir, "(complete: nothing will be trained)" if is_complete(params.run_dir) else "")
    return begun


@processes.by_first
def choose_scenarios(params: RunParams) -> Splits:
    """Split -> scenarios to train on and to be evaluated on; kept in the run folder with all that is known of them."""
    splits = select(params)
    if not is_complete(params.run_dir):
        rows = [row for part in splits.values() for row in part]
        with written_whole(params.run_dir / SCENARIOS) as scratch:
            pyarrow.parquet.write_table(to_dataset(rows).data.table, scratch, compression="zstd")
    return splits


def choose_grader(params: RunParams, splits: Splits) -> Grader | None:
    """The judge of a run whose rubric a judge grades, on scenarios that did not train it; None where programs grade."""
    return processes.only_first(judge_of, params, [row for part in splits.values() for row in part])


def make_policy(
    params: RunParams, splits: Splits, grader: Grader | None = None, make_rewards: MakeRewards | None = None
) -> StudyTrainer:
    """The trainer with its policy, untrained; checks the machine and that sampling leaves gradients as they are."""
    rows = splits.get("train", [])
    return prepare(params, rows, grader, make_rewards(rows) if make_rewards else None)


@processes.by_first
def evaluate_before(params: RunParams, trainer: StudyTrainer, splits: Splits, grader: Grader | None) -> pd.DataFrame:
    """Every evaluation answer of the untrained policy, a row each (`evaluation/answers.py`)."""
    return evaluate(trainer.model, trainer.processing_class, splits, params, "before", grader)


def watch(params: RunParams, trainer: StudyTrainer, splits: Splits) -> Look | None:
    """What looks at a few held-out answers while the policy is trained (`evaluation/curve.py`); None for no looks."""
    return held_out_look(trainer.model, trainer.processing_class, splits, params)


@processes.by_first
def evaluate_after(params: RunParams, trainer: StudyTrainer, splits: Splits, grader: Grader | None) -> pd.DataFrame:
    """Every evaluation answer of the trained policy."""
    return evaluate(trainer.model, trainer.processing_class, splits, params, "after", grader)


@processes.by_first
def summarise(params: RunParams, splits: Splits, before: pd.DataFrame, after: pd.DataFrame) -> dict:
    """What the answers are worth, by split and stage (`evaluation/summary.py`)."""
    scenarios = pd.DataFrame([row for part in splits.values() for row in part])
    results = summary(before, after, scenarios)
    if not is_complete(params.run_dir):
        write_json(params.run_dir / SUMMARY, results)
    return results


@processes.by_first
def draw_curve(params: RunParams) -> Figure | None:
    """The mean reward of the sampled answers at every training step, and beside it what was seen of held-out answers;
    None where nothing is trained."""
    if not params.steps:
        return None
    curve = pd.read_json(params.run_dir / METRICS, lines=True)
    curve = curve.assign(world=params.place, condition=params.condition, seed=params.seed)
    figure = plot_run(curve, looks(curve))
    if not is_complete(params.run_dir):
        save(figure, "training_curve", params.run_dir / "figures", curve)
    return figure


@processes.by_first
def finish(begun: Begun, trainer: StudyTrainer, splits: Splits, resumed_from: int) -> Path:
    """Write the manifest, which makes the run complete; returns the run folder."""
    params, policy, tokenizer = begun.params, trainer.model, trainer.processing_class
    if is_complete(params.run_dir):
        print(f"was complete already: {params.run_dir}")
        return params.run_dir
    data = {name: digest([row["id"] for row in rows]) for name, rows in splits.items()}
    write_manifest(
        params.run_dir, params.as_dict(), begun.started, data=data, plan=begun.plan,
        resumed_from=resumed_from, processes=processes.size(), precision=computed_in(params, policy),
        gradient_change=trainer.gradient_change, end_tokens=end_tokens(policy, tokenizer),
        **({"asked_with": chosen} if (chosen := choice(params)) else {}),
        **({"traces": stage} if (stage := stage_facts(params.run_dir)) else {}), **begun.facts,
    )  # fmt: skip
    print(f"complete after {time.time() - begun.started:.0f} s: {params.run_dir}")
    return params.run_dir
