"""The same contrasts at the level of single answers, as a check of the tests over runs.

Answers of one run share its training, answers to one scenario share the scenario: a standard error that takes them for
independent is several times too small. Errors are therefore clustered by run and by scenario (Cameron, Gelbach & Miller
2011), with t on the runs' degrees of freedom, because runs are few. Runs pair by seed here as they do in the claims.

An answer that is worth NaN (it could not be scored) is in no mean, and counted as `unscored`; tables have that column
where there is any such answer.
"""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from studylib.claims.decisions import ALPHA
from studylib.claims.plan import Plan
from studylib.claims.statistics import NO_SPREAD, t_interval
from studylib.evaluation.diversity import BUDGET, DIVERSITY, GREEDY, diversity
from studylib.evaluation.rates import wilson
from studylib.names import ENDPOINTS
from studylib.randomness import generator
from studylib.runs.keys import require_keys
from studylib.runs.read import KEYS

MIXED = ("mixed_difference", "mixed_se")
CONTRAST = ("difference", "low", "high", "p", "se", "se_naive", "seeds", "scenarios", "answers")
RATE = ("scenarios", "rate", "low", "high", "interval")
UNSCORED = "unscored"
ENOUGH_RUNS = 10  # from which the bootstrap over runs covers nearly what it says (validate.py)


def clustered_contrast(items: pd.DataFrame, alpha: float = ALPHA) -> dict[str, float]:
    """Treatment minus baseline over answers: columns treated (0 or 1), seed, id (scenario), value; paired by both.

    difference; se_naive, as if answers were independent; se of the differences of the cells seed x scenario, clustered
    by seed (a pair of runs) and by scenario, never below that by seed alone (with few clusters the two-way estimate can
    fall below it, even below 0), NaN where both are 0; interval and p from t on seeds - 1 degrees of freedom. It is the
    paired t test of runs when scenarios add nothing.

    unscored: answers whose value is NaN. A cell of which either arm has no value is left out; seeds, scenarios and
    answers count what is in the difference. Raises ValueError for an answer without seed or id.
    """
    from statsmodels.regression.linear_model import OLS

    items, unscored = _paired_answers(items)
    cells = _differences(items)
    seeds, scenarios = cells["seed"].nunique(), cells["id"].nunique()
    size = {"seeds": seeds, "scenarios": scenarios, "answers": len(items), UNSCORED: unscored}
    difference = float(cells["difference"].mean())
    if seeds < 2 or np.ptp(cells["difference"]) <= NO_SPREAD:
        return {"difference": difference, **dict.fromkeys(("low", "high", "p", "se", "se_naive"), np.nan), **size}
    fit = OLS(cells["difference"].to_numpy(), np.ones(len(cells))).fit()
    groups = cells[["seed", "id"]].apply(lambda column: pd.factorize(column)[0]).to_numpy()
    by_seed = fit.get_robustcov_results("cluster", groups=groups[:, 0]).cov_params()[0, 0]
    both = fit.get_robustcov_results("cluster", groups=groups).cov_params()[0, 0] if scenarios > 1 else by_seed
    arms = [items.loc[items["treated"] == arm, "value"] for arm in (0, 1)]
    naive = np.sqrt(sum(arm.var() / len(arm) for arm in arms))
    se = float(np.sqrt(max(both, by_seed)))
    if se <= NO_SPREAD:  # neither seeds nor scenarios differ in their means, as in a Latin square
        se = np.nan
    half = float(stats.t.isf(alpha / 2, seeds - 1) * se)
    return {
        "difference": difference, "low": difference - half, "high": difference + half,
        "p": float(2 * stats.t.sf(abs(difference) / se, seeds - 1)),
        "se": se, "se_naive": float(naive), **size,
    }  # fmt: skip


def mixed_contrast(items: pd.DataFrame) -> dict[str, float]:
    """mixed_difference, mixed_se: mean of the cells' differences with crossed random intercepts of seed and scenario.

    Fitted by REML. A check, not a claim: its normal intervals are too narrow with few seeds. NaN where it does not
    converge, as happens when a variance is 0, and where all differences are alike. Near that edge it may converge with
    one number of BLAS threads and not with another: the committed tables are of one (OMP_NUM_THREADS=1).
    """
    from statsmodels.regression.mixed_linear_model import MixedLM
    from statsmodels.tools.sm_exceptions import ConvergenceWarning, SingularMatrixWarning

    cells = _differences(_paired_answers(items)[0])
    if cells["seed"].nunique() < 2 or np.ptp(cells["difference"]) <= NO_SPREAD:
        return dict.fromkeys(MIXED, np.nan)
    parts = {"seed": "0 + C(seed)", "id": "0 + C(id)"}
    model = MixedLM.from_formula("difference ~ 1", cells, groups=np.zeros(len(cells)), vc_formula=parts)
    with warnings.catch_warnings():
        for expected in (ConvergenceWarning, SingularMatrixWarning):  # a variance of 0 is at the edge, and allowed
            warnings.simplefilter("ignore", expected)
        fit = model.fit()
    values = (fit.params["Intercept"], fit.bse["Intercept"]) if fit.converged else (np.nan, np.nan)
    return dict(zip(MIXED, map(float, values), strict=True))


def _paired_answers(items: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """(answers with a value in cells seed x scenario of which both arms have one, number of answers without one).

    Refuses an answer without a key, and a cell that only one arm answered, scored or not.
    """
    require_keys(items, "seed", "id", "treated")
    if stray := set(items["treated"]) - {0, 1}:
        raise ValueError(f"treated = {stray.pop()!r} is neither 0 nor 1")
    cells = items.groupby(["seed", "id"])["treated"].nunique()
    if (cells < 2).any():
        seed, scenario = cells.index[cells < 2][0]
        raise ValueError(f"not paired: only one condition answered scenario {scenario} with seed {seed}")
    scored = items[items["value"].notna()]
    if len(scored) < len(items):
        scored = scored[scored.groupby(["seed", "id"])["treated"].transform("nunique") == 2]
    return scored, int(items["value"].isna().sum())


def _differences(items: pd.DataFrame) -> pd.DataFrame:
    """seed, id, difference of the two arms' mean values; items is what `_paired_answers` gives."""
    cells = items.groupby(["seed", "id", "treated"])["value"].mean().unstack("treated").reindex(columns=[0, 1])
    return (cells[1] - cells[0]).rename("difference").reset_index()


def item_table(answers: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """One row per world and planned contrast: answers of the primary endpoint and split; answers is `read_answers`.

    An answer counts with what the endpoint's record says that it is worth (`item`); one worth NaN is left out, as in
    the endpoint. An endpoint that single answers do not have, such as the entropy of all decisions, has no rows:
    `no_items` says so.
    """
    require_keys(answers, *KEYS)
    rows = []
    for world, cell in _valued(answers, plan).groupby("world"):
        for condition, other in plan.planned_pairs(sorted(set(cell["condition"]))):
            pair = cell[cell["condition"].isin([condition, other])]
            pair = pair.assign(treated=(pair["condition"] == condition).astype(int))
            key = {"world": world, "contrast": f"{condition} - {other}"}
            rows.append(key | clustered_contrast(pair, plan.alpha_per_look) | mixed_contrast(pair))
    return _counted(pd.DataFrame(rows, columns=["world", "contrast", *CONTRAST, *MIXED, UNSCORED]))


def no_items(endpoint: str) -> str:
    """Why the item level has nothing to say of an endpoint; "" where it has."""
    if ENDPOINTS.of(endpoint).item is not None:
        return ""
    return f"{endpoint} belongs to a whole policy, not to single answers: it has no item level."


def _valued(answers: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """The answers that the primary endpoint counts, on the primary split, with what each is worth as `value`."""
    answers = answers[answers["split"] == plan.primary_split]
    item = ENDPOINTS.of(plan.primary_endpoint).item
    values = pd.Series(dtype=float) if item is None else item(answers)
    return answers.loc[values.index].assign(value=values)


def _counted(table: pd.DataFrame) -> pd.DataFrame:
    """The table without its column `unscored` where every answer has a score."""
    return table if table[UNSCORED].any() else table.drop(columns=UNSCORED)


def rates(answers: pd.DataFrame, split: str) -> pd.DataFrame:
    """What the greedy answers of every single run are worth on one split, with a 95 % interval over scenarios.

    `interval` names it: Wilson's for a share of right answers, t for the mean of graded scores, which are no counts.
    Scenarios whose answer could not be scored are in no rate; a run without any other has the rate NaN.
    """
    require_keys(answers, *KEYS)
    greedy = answers[(answers["k"] == GREEDY) & (answers["split"] == split)]
    graded, rows = is_graded(greedy), []
    for key, correct in greedy.groupby(KEYS)["correct"]:
        values = correct.dropna()
        rows.append(dict(zip(KEYS, key, strict=True)) | _rate(values, graded) | {UNSCORED: len(correct) - len(values)})
    return _counted(pd.DataFrame(rows, columns=[*KEYS, *RATE, UNSCORED]))


def is_graded(answers: pd.DataFrame) -> bool:
    """Are any answers worth a score rather than right or wrong?"""
    return not answers["correct"].dropna().isin([0, 1]).all()


def sampled_endpoint(answers: pd.DataFrame) -> str:
    """The endpoint that the mean of the sampled answers' `correct` is: an accuracy, or the score of open answers."""
    return "score_sampled" if is_graded(answers) else "accuracy_sampled"


def _rate(values: pd.Series, graded: bool) -> dict:
    """The columns `RATE` of one run."""
    n, interval = len(values), "t" if graded else "Wilson"
    if not n:
        return dict(zip(RATE, (0, np.nan, np.nan, np.nan, interval), strict=True))
    mean, low, high = t_interval(values) if graded else (values.mean(), *wilson(int(values.sum()), n))
    return dict(zip(RATE, (n, mean, low, high, interval), strict=True))


def diversity_table(answers: pd.DataFrame, split: str, n: int = 2, budget: int = BUDGET) -> pd.DataFrame:
    """Quality and diversity of every run on one split: accuracy of sampled answers, and `responses.diversity`."""
    require_keys(answers, *KEYS)
    rows = []
    for key, run in answers[answers["split"] == split].groupby(KEYS):
        accuracy = run.loc[run["k"] != GREEDY, "correct"].mean()
        rows.append({**dict(zip(KEYS, key, strict=True)), "accuracy": accuracy, **diversity(run, n, budget)})
    return _counted(pd.DataFrame(rows, columns=[*KEYS, "accuracy", *DIVERSITY]))


def iqm(scores: np.ndarray) -> float:
    """Interquartile mean of runs x tasks: the mean of the middle half of all scores (Agarwal et al. 2021)."""
    return float(stats.trim_mean(np.asarray(scores, dtype=float), 0.25, axis=None))


def stratified_bootstrap(
    scores: np.ndarray, statistic=iqm, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Statistic of runs x tasks with its percentile interval; runs are drawn anew within each task.

    Agarwal et al. 2021, section 4.1. Too narrow for few runs; use it over several tasks, not over one.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or not np.isfinite(scores).all():
        raise ValueError(f"a matrix of finite scores, runs x tasks, is needed, not {scores.tolist()}")
    if scores.shape[0] < 2:
        return statistic(scores), np.nan, np.nan
    rng = generator(seed, "stratified bootstrap", scores.shape[0])
    rows = rng.integers(scores.shape[0], size=(draws, *scores.shape))
    drawn_statistics = [statistic(np.take_along_axis(scores, drawn, axis=0)) for drawn in rows]
    low, high = np.quantile(drawn_statistics, [(1 - level) / 2, (1 + level) / 2])
    return statistic(scores), float(low), float(high)


def iqm_table(runs: pd.DataFrame, endpoint: str) -> pd.DataFrame:
    """IQM over seeds x tasks per condition; a task is one split of one world; runs is `read_runs`.

    A seed that has no value in some task (no answer could be scored) is left out of all; `unscored` counts such seeds.
    """
    require_keys(runs, *KEYS, "split", "endpoint")
    rows = []
    for condition, arm in runs[runs["endpoint"] == endpoint].groupby("condition"):
        there, tasks = (arm.assign(there=1), ["world", "split"])
        lacks = there.pivot(index="seed", columns=tasks, values="there").isna().any(axis="columns")
        if lacks.any():
            raise ValueError(f"{condition} lacks the seeds {sorted(lacks.index[lacks])} in some world")
        scores = arm.pivot(index="seed", columns=tasks, values="after")
        whole = scores.dropna()
        value, low, high = stratified_bootstrap(whole.to_numpy()) if len(whole) else (np.nan, np.nan, np.nan)
        rows.append({"condition": condition, "iqm": value, "low": low, "high": high, "seeds": len(whole),
                     "tasks": scores.shape[1], UNSCORED: len(scores) - len(whole)})  # fmt: skip
    return _counted(pd.DataFrame(rows, columns=["condition", "iqm", "low", "high", "seeds", "tasks", UNSCORED]))


def iqm_warning(table: pd.DataFrame) -> str:
    """What readers of `iqm_table` must know of its intervals; "" where nothing."""
    if (table["seeds"] >= ENOUGH_RUNS).all():
        return ""
    return (
        f"These intervals are too narrow: below {ENOUGH_RUNS} runs a bootstrap covers the truth less often than it "
        "says, and less still where the splits of a run rise and fall together. They describe; no claim rests on them."
    )
