"""The manipulation check of traces: what the supervised stage of every condition took, and what it was trained on."""

import numpy as np
import pandas as pd

from studylib.names import SOURCES
from studylib.params import RunParams
from studylib.runs.folder import CONFIG, METRICS
from studylib.runs.read import KEYS, complete_runs, read_json
from studylib.scenarios.rows import accepted
from studylib.scenarios.selection import trace_rows
from studylib.training.role_stage import TRACES, stage_facts

COLUMNS = [
    *KEYS, "traces", "scenarios", "scenarios_with_traces", "roles_per_trace", "right", "supervised_traces",
    "supervised_tokens", "steps", "loss_first", "loss_last", "tokens_for_traces", "tokens_for_rewards", "tokens",
]  # fmt: skip


def stage_table(root, axis: str, profile: str) -> pd.DataFrame:
    """`COLUMNS`, one row per complete run of an axis in which some run was trained on traces; else no rows.

    right: share of the traces whose answer is right, which nothing in the run ever saw; NaN outside embedded worlds.
    tokens_for_traces, tokens_for_rewards, tokens: generated in the two stages and in both.
    """
    rows = [_row(folder, key) for folder, key in complete_runs(root, axis, profile)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table if table["supervised_tokens"].notna().any() else table.iloc[:0]


def _row(folder, key: dict) -> dict:
    params = RunParams.of_config(read_json(folder / CONFIG))
    facts = stage_facts(folder) or {}
    rewarded = _generated(folder)
    spent = facts.get("generated_tokens", 0)
    return {
        **{name: key[name] for name in KEYS}, **facts, "right": _right(folder, params) if facts else np.nan,
        "tokens_for_traces": spent, "tokens_for_rewards": rewarded, "tokens": spent + rewarded,
    }  # fmt: skip


def _generated(folder) -> int:
    """Tokens that were generated to be rewarded."""
    if not (folder / METRICS).is_file() or not (folder / METRICS).stat().st_size:
        return 0
    logged = pd.read_json(folder / METRICS, lines=True)
    if "generated_tokens" not in logged:
        return 0
    return int(logged.drop_duplicates("step", keep="last")["generated_tokens"].sum())


def _right(folder, params: RunParams) -> float:
    if not SOURCES.of(params.source).world:
        return np.nan
    right = {row["id"]: accepted(row) for row in trace_rows(params)}
    traces = pd.read_parquet(folder / TRACES)
    return float(np.mean([one.answer in right[one.scenario] for one in traces.itertuples()]))


def write_stage(study) -> pd.DataFrame | None:
    """traces.csv: `stage_table` of a study; None, and no file, where no run was trained on traces."""
    table = stage_table(study.root, study.axis, study.profile)
    if table.empty:
        return None
    table.to_csv(study.out / "traces.csv", index=False)
    return table
