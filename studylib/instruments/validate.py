"""Do the claims err as often as they say? The cases of `error_rates`, at length, as one table.

`python -m studylib validate --study figures/inputs` writes figures/validate.csv (at most 10 minutes on two cores). The
spread between seeds that is simulated stands in `simulate` (SD). Two cases ask what a finished study would give with
other seeds: they are made of the tables in the folder that the caller names, and left out where it names none.
"""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from studylib.claims.tables import checks, misses, read_table
from studylib.instruments import error_rates as rates
from studylib.paths import FIGURES

STUDIES = 2000  # simulated, per case
FEWEST = 20  # of them that leave some to every case


def cases(studies: int, study: Path | None = None) -> list[tuple]:
    """(function, arguments), the long ones first; study: folder of a finished comparison of axis inputs."""
    few, fewest = max(studies // 2, 10), max(studies // 4, 10)
    unequal, seeds = (False, True), rates.SEEDS
    of_study = []
    if study is not None:
        refuse_unfinished(study)
        of_study = [(rates.embedded, fewest, read_table(study, "accuracy")),
                    (rates.trained, read_table(study, "seed_sets_runs"))]  # fmt: skip
    return [
        *((rates.null_studies, studies, n, k, u) for k in reversed(rates.CONTRASTS) for n in seeds for u in unequal),
        *((rates.item_level, fewest, n) for n in seeds),
        *((rates.other_intervals, few, n, u) for n in seeds for u in unequal),
        *((rates.standardised, few, n, 1.0, correlation) for n in seeds for correlation in (0.0, 0.5, 0.9)),
        (rates.standardised, few, 10, 5.0, 0.0),
        *of_study,
        *((rates.at_the_margin, studies, n, u) for n in seeds for u in unequal),
        *((rates.many_at_the_margin, studies, n) for n in seeds),
        *((rates.power_cases, studies, n) for n in seeds),
        (rates.sequential, studies),
        (rates.single_rates, studies),
    ]


def refuse_unfinished(study: Path) -> None:
    """Raise ValueError for a folder without the tables that are simulated from."""
    for name in ("accuracy.csv", "seed_sets_runs.csv"):
        if not (study / name).is_file():
            raise ValueError(
                f"no {name} in {study}: a finished study has accuracy.csv, which compare writes, and "
                "seed_sets_runs.csv, which validate --seed-sets writes, as figures/inputs has"
            )


def _call(case: tuple) -> list[dict]:
    """The rows of one case, printed as soon as they are there."""
    rows = case[0](*case[1:])
    for row in rows:
        reported = np.isnan(row["target_low"])
        target = "reported        " if reported else f"in {row['target_low']:.3f}..{row['target_high']:.3f}"
        print(f"{row['value']:.4f} {target}  {row['what']}", flush=True)
    return rows


def validate(studies: int = STUDIES, workers: int = 2, study: Path | None = None) -> pd.DataFrame:
    """what, value, low, high, target_low, target_high; the same numbers with any number of workers (processes)."""
    if studies < FEWEST:
        raise ValueError(
            f"studies = {studies} is not allowed: {FEWEST} or more, because some cases have a tenth of them"
        )
    todo = cases(studies, study)
    if workers == 1:
        rows = list(map(_call, todo))
    else:
        with ProcessPoolExecutor(workers) as pool:
            rows = list(pool.map(_call, todo))
    return pd.DataFrame([row for of_case in rows for row in of_case], columns=rates.COLUMNS)


def write_validation(
    out: Path = FIGURES / "validate.csv", studies: int = STUDIES, workers: int = 2, study: Path | None = None
) -> pd.DataFrame:
    """Writes the table and returns it."""
    table = validate(studies, workers, study)
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False)
    return table


def in_words(table: pd.DataFrame) -> str:
    """How many checks there are, how many rows are reported only, and which miss their target."""
    count, wrong = len(checks(table)), misses(table)
    line = f"{count} checks, {len(wrong)} outside their target; {len(table) - count} reported"
    return line if wrong.empty else f"{line}\noutside the target:\n{wrong.round(3).to_string(index=False)}"
