"""The published cells of arXiv 2603.10588 (Table 1) beside the runs at hand; a cell that is not known stays empty.

`params/published_2603.10588.csv` has the known cells, carried over from accounts of the paper and not checked
against its pages: `printed` there, or `derived` from a printed gain. The paper gives no seeds, intervals, split or
judge prompt, so that no cell of ours can be called a replication of one of its cells. The embedded study stands beside
it for the order of the methods alone: another model, world and reward.
"""

import re
from pathlib import Path

import pandas as pd

from studylib.evaluation.table import read_responses
from studylib.names import ENDPOINTS
from studylib.paths import PARAMS, RUNS
from studylib.runs.keys import require_keys
from studylib.runs.read import SPLITS, complete_runs, read_json
from studylib.text.files import read_cells

PUBLISHED = PARAMS / "published_2603.10588.csv"
METHODS = {
    "base": "Base", "ppo": "PPO", "grpo": "GRPO", "reinforce_pp": "REINFORCE++", "dapo": "DAPO", "flowrl": "FlowRL",
}  # fmt: skip
MODELS = {"Qwen/Qwen2.5-7B": "Qwen2.5-7B-Base", "meta-llama/Llama-3.1-8B-Instruct": "Llama3.1-8B-Instruct"}
DATASETS = {"morebench_public": "MoReBench-Public", "morebench_theory": "MoReBench-Theory"}
SHARE = re.compile(r"0(?:\.[0-9]+)?|1(?:\.0+)?")
COLUMNS = ["whose", "model", "dataset", "method", "metric", "value"]


def published() -> pd.DataFrame:
    """Every cell of the paper's grid: model, dataset, method, metric, value (0..1, NaN where unknown), status."""
    known = _known()
    grid = pd.MultiIndex.from_product(
        [MODELS.values(), DATASETS.values(), METHODS.values(), ("Score@1", "Avg@8")],
        names=["model", "dataset", "method", "metric"],
    )
    keys = list(grid.names)
    stray = known.set_index(keys).index.difference(grid)
    if len(stray) or known.duplicated(keys).any():
        raise ValueError(f"{PUBLISHED} has cells outside the grid or twice: {list(stray)}")
    return known.set_index(keys).reindex(grid).reset_index().assign(whose="published")


def _known() -> pd.DataFrame:
    """The cells of the file; one without a share or a status is refused by file and line."""
    (_, header), *records = read_cells(PUBLISHED)
    for line, cells in records:
        cell = dict(zip(header, cells, strict=False))
        share, status = cell.get("value", ""), cell.get("status")
        if len(cells) != len(header) or not SHARE.fullmatch(share) or status not in ("printed", "derived"):
            raise ValueError(f"{PUBLISHED}, line {line}: {cells} is no cell {header}, a share printed or derived")
    return pd.DataFrame([cells for _, cells in records], columns=header).astype({"value": float})


def ours(root: Path | str = RUNS, *, axis: str, profile: str) -> pd.DataFrame:
    """Score@1 and Avg@k of the complete runs of an axis, mean over seeds: the cells of `COLUMNS`, and `seeds`.

    Score@1 is the mean over scenarios of the first sample, Avg@k that of all k samples; a sample that could not be
    scored is in no mean.
    `seeds` counts the runs with a value. On the primary split.
    """
    rows = []
    for folder, key in complete_runs(root, axis, profile):
        if key["condition"] not in METHODS:
            continue
        config, answers = read_json(folder / "config.json"), read_responses(folder / "responses.parquet")
        split = next(name for name in SPLITS if (answers["split"] == name).any())
        worth = _worth(answers[answers["split"] == split])
        k = answers.loc[worth.index, "k"]
        cell = {
            "whose": "ours", "model": MODELS.get(config["model"], config["model"]),
            "dataset": DATASETS.get(key["world"], key["world"]), "method": METHODS[key["condition"]],
            "seed": key["seed"],
        }  # fmt: skip
        rows.append({**cell, "metric": "Score@1", "value": worth[k == 1].mean()})
        rows.append({**cell, "metric": f"Avg@{k.nunique()}", "value": worth.mean()})
    if not rows:
        raise ValueError(f"no run of {', '.join(METHODS)} on axis {axis!r} with profile {profile!r}")
    keys = [name for name in COLUMNS if name != "value"]
    table = pd.DataFrame(rows)
    require_keys(table, *keys)
    cells = table.groupby(keys, sort=False)["value"]
    return cells.mean().reset_index().merge(cells.count().rename("seeds").reset_index())


def _worth(answers: pd.DataFrame) -> pd.Series:
    """What each sampled answer is worth: its score where the run has scores, else whether it is correct."""
    scores, correct = (ENDPOINTS[name].item(answers) for name in ("score_sampled", "accuracy_sampled"))
    return scores if len(scores) else correct


def beside(ours: pd.DataFrame | None = None) -> pd.DataFrame:
    """Columns whose, model, dataset, metric, one for each method, and `derived_not_printed`.

    Values on 0..1, NaN where a cell is unknown; the last column names the methods whose value in this row was computed
    from a printed gain, all other published ones are printed. The paper's grid comes twice, published and ours, so that
    what is missing on either side shows.
    """
    grid = published()
    mine = grid.assign(whose="ours", value=float("nan"))
    cells = pd.concat([grid[COLUMNS], mine[COLUMNS], *([] if ours is None else [ours[COLUMNS]])])
    cells = cells.drop_duplicates(COLUMNS[:-1], keep="last")
    rows = ["whose", "model", "dataset", "metric"]
    order = cells[rows].drop_duplicates()
    table = cells.pivot(index=rows, columns="method", values="value")[list(METHODS.values())]
    derived = grid[grid["status"] == "derived"].groupby(rows)["method"].agg(", ".join)
    table = table.assign(derived_not_printed=derived.reindex(table.index, fill_value=""))
    return table.loc[pd.MultiIndex.from_frame(order)].reset_index().rename_axis(columns=None)
