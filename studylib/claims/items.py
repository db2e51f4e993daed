"""The same contrasts at the level of single answers, as a check of the tests over runs.

Answers of one run share its training, answers to one scenario share the scenario: a standard error that takes them for
independent is several times too small. Errors are therefore clustered by run and by scenario (Cameron, Gelbach & Miller
2011), with t on the runs' degrees of freedom, because runs are few.
"""

import warnings

import numpy as np
import pandas as pd
from scipy import stats

from studylib.claims.plan import Plan
from studylib.claims.runs import KEYS
from studylib.claims.verdicts import ALPHA
from studylib.evaluation.rates import wilson
from studylib.evaluation.responses import BUDGET, GREEDY, diversity
from studylib.randomness import generator

MIXED = ("mixed_difference", "mixed_se")


def clustered_contrast(items: pd.DataFrame, alpha: float = ALPHA) -> dict[str, float]:
    """Treatment minus baseline over answers: columns treated (0 or 1), run, id (scenario), verdict.

    difference; se_naive, as if answers were independent; se by run and scenario, never below that by run alone (with
    few clusters the two-way estimate can fall below it, even below 0); interval and p from t on runs - 2 degrees of
    freedom, which is the t test of run means when scenarios add nothing.
    """
    from statsmodels.regression.linear_model import OLS

    runs = items.groupby("run")["treated"].agg(["nunique", "first"])
    if (runs["nunique"] > 1).any():
        raise ValueError(f"a run belongs to one condition: {runs.index[runs['nunique'] > 1][0]}")
    size = {"runs": len(runs), "scenarios": items["id"].nunique(), "answers": len(items)}
    treated = items["treated"].to_numpy(float)
    design = np.column_stack([np.ones_like(treated), treated])
    y = items["verdict"].to_numpy(float)
    difference = float(y[treated == 1].mean() - y[treated == 0].mean())
    if runs["first"].value_counts().reindex([0, 1], fill_value=0).min() < 2 or np.ptp(y) == 0:
        return {"difference": difference, **dict.fromkeys(("low", "high", "p", "se", "se_naive"), np.nan), **size}
    fit, groups = OLS(y, design).fit(), items[["run", "id"]].apply(lambda column: pd.factorize(column)[0]).to_numpy()
    by_run = fit.get_robustcov_results("cluster", groups=groups[:, 0]).cov_params()[1, 1]
    several = size["scenarios"] > 1
    both = fit.get_robustcov_results("cluster", groups=groups).cov_params()[1, 1] if several else by_run
    se, df = float(np.sqrt(max(both, by_run))), len(runs) - 2
    half = float(stats.t.isf(alpha / 2, df) * se)
    return {
        "difference": difference, "low": difference - half, "high": difference + half,
        "p": float(2 * stats.t.sf(abs(difference) / se, df)) if se else np.nan,
        "se": se, "se_naive": float(fit.bse[1]), **size,
    }  # fmt: skip


def mixed_contrast(items: pd.DataFrame) -> dict[str, float]:
    """mixed_difference, mixed_se: treated in a linear mixed model with crossed random intercepts of run and scenario.

    Fitted by REML to run x scenario means. A check, not a claim: its normal intervals are too narrow with few runs. NaN
    where it does not converge and where all answers are alike.
    """
    from statsmodels.regression.mixed_linear_model import MixedLM
    from statsmodels.tools.sm_exceptions import ConvergenceWarning, SingularMatrixWarning

    if items["verdict"].nunique() == 1:
        return dict.fromkeys(MIXED, np.nan)
    cells = items.groupby(["run", "id"], as_index=False)[["verdict", "treated"]].mean()
    parts = {"run": "0 + C(run)", "id": "0 + C(id)"}
    model = MixedLM.from_formula("verdict ~ treated", cells, groups=np.zeros(len(cells)), vc_formula=parts)
    with warnings.catch_warnings():
        for expected in (ConvergenceWarning, SingularMatrixWarning):  # a variance of 0 is at the edge, and allowed
            warnings.simplefilter("ignore", expected)
        fit = model.fit(method="lbfgs")
    values = (fit.params["treated"], fit.bse["treated"]) if fit.converged else (np.nan, np.nan)
    return dict(zip(MIXED, map(float, values), strict=True))


def item_table(answers: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """One row per world and planned contrast: answers of the primary endpoint and split; answers is `read_answers`."""
    endpoint = answers["k"] == GREEDY if plan.primary_endpoint == "accuracy_greedy" else answers["k"] != GREEDY
    items = answers[endpoint & (answers["split"] == plan.primary_split)]
    rows = []
    for world, cell in items.groupby("world"):
        for condition in sorted(set(cell["condition"]) - {plan.baseline}):
            if not plan.plans(condition):
                continue
            pair = cell[cell["condition"].isin([condition, plan.baseline])]
            pair = pair.assign(treated=(pair["condition"] == condition).astype(int))
            pair["run"] = pair["condition"] + " " + pair["seed"].astype(str)
            key = {"world": world, "contrast": f"{condition} - {plan.baseline}"}
            rows.append(key | clustered_contrast(pair, plan.alpha_per_look) | mixed_contrast(pair))
    return pd.DataFrame(rows)


def rates(answers: pd.DataFrame, split: str) -> pd.DataFrame:
    """Greedy accuracy of every single run on one split, with its 95 % Wilson interval over scenarios."""
    greedy = answers[(answers["k"] == GREEDY) & (answers["split"] == split)]
    table = greedy.groupby(KEYS)["verdict"].agg(right="sum", scenarios="size").reset_index()
    bounds = [wilson(int(row.right), int(row.scenarios)) for row in table.itertuples()]
    return table.assign(
        rate=table["right"] / table["scenarios"], low=[b[0] for b in bounds], high=[b[1] for b in bounds]
    )


def diversity_table(answers: pd.DataFrame, split: str, n: int = 2, budget: int = BUDGET) -> pd.DataFrame:
    """Quality and diversity of every run on one split: accuracy of sampled answers, and `responses.diversity`."""
    rows = []
    for key, run in answers[answers["split"] == split].groupby(KEYS):
        accuracy = run.loc[run["k"] != GREEDY, "verdict"].mean()
        rows.append({**dict(zip(KEYS, key, strict=True)), "accuracy": accuracy, **diversity(run, n, budget)})
    return pd.DataFrame(rows)


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
    found = [statistic(np.take_along_axis(scores, drawn, axis=0)) for drawn in rows]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return statistic(scores), float(low), float(high)


def iqm_table(runs: pd.DataFrame, endpoint: str) -> pd.DataFrame:
    """IQM over seeds x tasks per condition; a task is one split of one world; runs is `read_runs`."""
    rows = []
    for condition, arm in runs[runs["endpoint"] == endpoint].groupby("condition"):
        scores = arm.pivot(index="seed", columns=["world", "split"], values="after")
        if scores.isna().any(axis=None):
            raise ValueError(
                f"{condition} lacks the seeds {sorted(scores.index[scores.isna().any(axis=1)])} in some world"
            )
        value, low, high = stratified_bootstrap(scores.to_numpy())
        rows.append({"condition": condition, "iqm": value, "low": low, "high": high, "seeds": len(scores),
                     "tasks": scores.shape[1]})  # fmt: skip
    return pd.DataFrame(rows)
