"""Were the steps of the conditions alike? A difference in step size must not pass as one between objectives."""

import pandas as pd

from studylib.runs.keys import require_keys

KEYS = ["world", "condition"]
MEANS = {  # column of metrics.jsonl -> column of the table; means over steps and seeds
    "grad_norm": "gradient_norm",
    "frac_reward_zero_std": "idle_groups",
    "clip_ratio/region_mean": "clipped",
}
CISPO = "cispo_clip_ratio"  # TRL's name of the clipped share where weights are clipped
LAST = {"policy_entropy": "entropy", "kl_to_reference": "kl"}  # measured every tenth step; the last ones of a run


def fairness(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per world and condition; curves is what `read_curves` returns.

    gradient_norm: before clipping. idle_groups: share of groups without reward differences. clipped: share of tokens
    (flow objectives: of answers) whose ratio is outside the clip. entropy: of the policy, nats per token, at the first
    and the last measurement. kl: to the policy before training, nats per answer, at the last. tokens: generated in a
    run. NaN where an objective has no such thing; steps that log null are in no mean.
    """
    require_keys(curves, *KEYS, "seed")
    if CISPO in curves:
        clipped = curves[CISPO].combine_first(curves.get("clip_ratio/region_mean", curves[CISPO]))
        curves = curves.assign(**{"clip_ratio/region_mean": clipped})
    present = {old: new for old, new in MEANS.items() if old in curves}
    table = curves.groupby(KEYS)[list(present)].mean().rename(columns=present)
    for column, name in LAST.items():
        if column in curves:
            measured = curves.dropna(subset=[column]).sort_values("step").groupby([*KEYS, "seed"])[column]
            table[f"{name}_first"] = measured.first().groupby(KEYS).mean()
            table[f"{name}_last"] = measured.last().groupby(KEYS).mean()
    table = table.drop(columns="kl_first", errors="ignore")  # 0 by definition
    if "generated_tokens" in curves:
        tokens = curves.groupby([*KEYS, "seed"])["generated_tokens"].sum(min_count=1)
        table["tokens"] = tokens.groupby(KEYS).mean().round()
    return table.reset_index()


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Three significant digits, whole numbers from 1,000 on, so that a small share is not shown as 0; "" for NaN."""
    return table.assign(**table.select_dtypes("float").map(_shown))


def _shown(value: float) -> str:
    return "" if pd.isna(value) else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
