"""What each condition fits of each group of raters: never only the mean over all of them."""

import numpy as np
import pandas as pd

from studylib.claims.statistics import t_interval
from studylib.evaluation.pluralism import fit_by_group
from studylib.evaluation.summary import joined
from studylib.evaluation.table import keeps_tables, read_responses, read_scenarios
from studylib.runs.folder import RESPONSES
from studylib.runs.read import complete_runs

COLUMNS = ["world", "condition", "group", "fit", "low", "high", "seeds"]


def group_table(root, axis: str, profile: str, split: str) -> pd.DataFrame:
    """`COLUMNS`: mean fit over seeds with its 95 % t interval, after training; no rows where nobody rated."""
    rows = []
    for folder, key in complete_runs(root, axis, profile):
        scenarios = read_scenarios(folder) if keeps_tables(folder) else pd.DataFrame(columns=["split", "ratings"])
        scenarios = scenarios[(scenarios["split"] == split) & scenarios["ratings"].notna()]
        if len(scenarios):
            answers = read_responses(folder / RESPONSES["after"])
            answers = joined(answers[answers["id"].isin(scenarios["id"]) & (answers["split"] == split)], scenarios)
            rows += [(key["world"], key["condition"], group, fit) for group, fit in fit_by_group(answers).items()]
    found = []
    for key, part in pd.DataFrame(rows, columns=COLUMNS[:4]).groupby(COLUMNS[:3], sort=False):
        known = part["fit"].dropna()
        found.append((*key, *(t_interval(known) if len(known) else (np.nan,) * 3), len(known)))
    return pd.DataFrame(found, columns=COLUMNS)


def write_groups(study) -> pd.DataFrame | None:
    """groups.csv: `group_table` of a study on its split; None, and no file, where nobody rated."""
    table = group_table(study.root, study.axis, study.profile, study.split)
    if table.empty:
        return None
    table.to_csv(study.out / "groups.csv", index=False)
    return table
