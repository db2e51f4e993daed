"""What a policy scores against how diverse its training set really was: a table of runs, and a regression over them.

Of each measure m alone, in one world, over the runs of conditions c and seeds s:

    accuracy_cs = a_s + b z(m_cs) + g noise_cs + e_cs

z is in standard deviations over these runs, so b is what one more of them goes with. a_s, a level of every seed, pairs
the conditions of a seed; noise is the share of wrong labels, which is left out where it is the same everywhere. Runs of
one condition are near copies in m and share whatever else their condition does, so they are one cluster: the standard
error of b is the jackknife over conditions (CR3), on conditions - 1 degrees of freedom, which keeps its level with few
clusters better than the sandwich (MacKinnon, Nielsen & Webb 2023, arXiv 2301.04527). p is corrected by Holm over the
measures of a world. The measures go together, and conditions were not drawn at random: slopes are exploratory, and tell
no causes. Only the contrasts of conditions do that.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from studylib.claims.compared import Study
from studylib.claims.statistics import holm
from studylib.evaluation.table import keeps_tables, read_scenarios, read_trained_on
from studylib.runs.read import KEYS, complete_runs
from studylib.scenarios.measured import MEASURES, SIZE, measured
from studylib.scenarios.rows import digest

SAME = 1e-9  # range over runs below which a measure is the same for all
FEWEST = 4  # conditions: two coefficients and a spread
SLOPES = ["world", "measure", "runs", "conditions", "sd", "slope", "low", "high", "p", "p_holm"]
NOISE = "label_noise"


# --- the runs --------------------------------------------------------------------------------------------------------


def measured_runs(study: Study) -> pd.DataFrame | None:
    """One row per run that trained: world, condition, seed, `SIZE`, `MEASURES`, and the study's endpoint on its split
    after training, under its own name. None where all conditions of a seed trained on the same scenarios."""
    folders = [(folder, key) for folder, key in complete_runs(study.root, study.axis, study.profile)
               if keeps_tables(folder)]  # fmt: skip
    sets = [(folder, key, rows) for folder, key in folders if (rows := read_trained_on(folder))]
    ids = pd.DataFrame([key | {"set": digest([(row["id"], row["answer"]) for row in rows])} for _, key, rows in sets])
    if ids.empty or (ids.groupby(["world", "seed"])["set"].nunique() == 1).all():
        return None
    table = pd.DataFrame([key | _measured(folder, rows) for folder, key, rows in sets])
    runs = study.runs[(study.runs["split"] == study.split) & (study.runs["endpoint"] == study.endpoint)]
    return table.merge(runs[[*KEYS, "after"]].rename(columns={"after": study.endpoint}), on=KEYS)


def _measured(folder, rows: list[dict]) -> dict[str, float]:
    return measured(rows, sorted(set(read_scenarios(folder)["prompt"])))


def varying(table: pd.DataFrame) -> list[str]:
    """The measures that are known of all runs and not the same for all."""
    known = [name for name in MEASURES if table[name].notna().all()]
    return [name for name in known if np.ptp(table[name]) > SAME]


# --- the regression --------------------------------------------------------------------------------------------------


def slopes(table: pd.DataFrame, endpoint: str) -> pd.DataFrame:
    """`SLOPES`, one row per world and measure that varies there. table: as `measured_runs` gives it.

    sd: of the measure over runs, in its own unit. A run without the endpoint (NaN) is left out.
    """
    parts = [pd.DataFrame(_of_world(world, part, endpoint), columns=SLOPES)
             for world, part in table.dropna(subset=[endpoint]).groupby("world", sort=False)]  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SLOPES)


def _of_world(world: str, runs: pd.DataFrame, endpoint: str) -> list[dict]:
    counts = {"world": world, "runs": len(runs), "conditions": runs["condition"].nunique()}
    rows = [counts | {"measure": name, "sd": runs[name].std()} | slope(runs, name, endpoint) for name in varying(runs)]
    corrected = holm(np.array([row["p"] for row in rows])) if rows else []
    return [row | {"p_holm": p} for row, p in zip(rows, corrected, strict=True)]


def slope(runs: pd.DataFrame, measure: str, endpoint: str) -> dict[str, float]:
    """b of the module's model with its 95 % interval and p, of the runs of one world; NaN bounds for fewer than
    `FEWEST` conditions, or where the rest does not tell b without one of them."""
    z = (runs[measure] - runs[measure].mean()) / runs[measure].std()
    noise = [runs[NOISE]] if runs[NOISE].notna().all() and np.ptp(runs[NOISE]) > SAME else []
    design = np.column_stack([z, *noise, pd.get_dummies(runs["seed"])]).astype(float)
    score, condition = runs[endpoint].to_numpy(float), runs["condition"].to_numpy()
    b = _first(design, score)
    without = np.array([_first(design[condition != one], score[condition != one]) for one in sorted(set(condition))])
    g = len(without)
    if g < FEWEST or not np.isfinite([b, *without]).all():
        return {"slope": b, "low": np.nan, "high": np.nan, "p": np.nan}
    error = np.sqrt((g - 1) / g * ((without - b) ** 2).sum())
    half = stats.t.ppf(0.975, g - 1) * error
    return {"slope": b, "low": b - half, "high": b + half, "p": float(2 * stats.t.sf(abs(b) / error, g - 1))}


def _first(design: np.ndarray, score: np.ndarray) -> float:
    """The least squares coefficient of the first column; NaN where the other columns explain it."""
    x, others = design[:, 0], design[:, 1:]
    left = x - others @ np.linalg.lstsq(others, x, rcond=None)[0]
    return float(left @ score / (left @ left)) if left @ left > SAME * (x @ x) else np.nan


# --- one study -------------------------------------------------------------------------------------------------------


def write_measured(study: Study) -> pd.DataFrame | None:
    """inputs_measured.csv, and the regression over its runs, inputs_regression.csv; returns the runs. None, and no
    file, where conditions do not differ in their training sets."""
    table = measured_runs(study)
    if table is None:
        return None
    table.round(6).to_csv(study.out / "inputs_measured.csv", index=False)
    slopes(table, study.endpoint).to_csv(study.out / "inputs_regression.csv", index=False)
    return table


def by_condition(table: pd.DataFrame, endpoint: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """world -> means over seeds of size, measures that vary, and endpoint, a row per condition."""
    for world, part in table.groupby("world", sort=False):
        yield world, part.groupby("condition")[[*SIZE, *varying(part), endpoint]].mean()
