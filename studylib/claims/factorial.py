"""Main effects and interactions of an axis that crosses factors: does a change do the same whatever else is changed?

A plan's `factors` are run parameters of which the conditions cross two values each, all with all. With a value per cell
and seed, the effect of a factor is its mean at the second value minus its mean at the first, over all combinations of
the others at equal weight; the interaction of two is the effect of one at the second value of the other minus at its
first, and so on. The first values are those of the baseline. Changing one factor at a time from a baseline, as ladders
do (arXiv 2406.09279), measures the effects and never an interaction.
"""

from itertools import chain, combinations

import pandas as pd

from studylib.claims.plan import Plan
from studylib.claims.statistics import holm, paired_contrast
from studylib.runs.read import read_settings

COLUMNS = ["world", "endpoint", "effect", "n", "difference", "low", "high", "p", "p_holm"]


def levels_of(settings: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """(condition, factor) -> whether the condition has the factor's second value; settings: a row per run.

    Raises ValueError where a factor has other than two values, and where they are not crossed.
    """
    names = plan.factors.split()
    unknown = [name for name in names if name not in settings]
    if unknown:
        raise ValueError(f"plan: factors = {plan.factors!r}: {unknown[0]!r} is no parameter of the runs")
    given = settings.groupby("condition")[names].first()
    if plan.baseline not in given.index:
        raise ValueError(f"no run of the baseline {plan.baseline!r}, at whose values factors have their first")
    for name in names:
        if given[name].nunique() != 2:
            raise ValueError(
                f"factor {name!r} has the values {sorted(map(str, given[name].unique()))}, and two are crossed"
            )
    second = given.ne(given.loc[plan.baseline])
    if len(second) != 2 ** len(names) or second.duplicated().any():
        raise ValueError(f"{len(second)} conditions do not cross the factors {', '.join(names)} of two values each")
    return second


def effects(values: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """(seed, effect) -> difference; values: (seed, condition); second: `levels_of`. Names are joined by " x "."""
    signs = second.loc[values.columns].astype(int) * 2 - 1
    names = list(second)
    wanted = chain.from_iterable(combinations(names, n) for n in range(1, len(names) + 1))
    return pd.DataFrame({
        " x ".join(some): values @ signs[list(some)].prod(axis=1) / 2 ** (len(names) - len(some)) for some in wanted
    })  # fmt: skip


def interactions(runs: pd.DataFrame, settings: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """`COLUMNS`, on the primary split: every effect with its interval over seeds; p by Holm over a world's effects.

    runs: a row per run with world, condition, seed, split, endpoint and after.
    """
    second = levels_of(settings, plan)
    asked = (plan.primary_endpoint, *plan.secondary.split())
    rows = []
    for endpoint in asked:
        cells = runs[(runs["split"] == plan.primary_split) & (runs["endpoint"] == endpoint)]
        for world, cell in cells.groupby("world", sort=False):
            by_seed = cell.pivot(index="seed", columns="condition", values="after").reindex(columns=second.index)
            found = effects(by_seed.dropna(), second)
            zero = pd.Series(0.0, index=found.index)
            tests = [paired_contrast(found[name], zero, plan.alpha, plan.margin, details=False) for name in found]
            adjusted = holm(pd.Series([test["p"] for test in tests], dtype=float))
            rows += [{"world": world, "endpoint": endpoint, "effect": name, **test, "p_holm": p}
                     for name, test, p in zip(found, tests, adjusted, strict=True)]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def write_interactions(study) -> pd.DataFrame | None:
    """interactions.csv: `interactions` of a study; None, and no file, where its plan crosses no factors."""
    if not study.plan.factors:
        return None
    settings = read_settings(study.root, axis=study.axis, profile=study.profile)
    table = interactions(study.runs, settings, study.plan)
    table.to_csv(study.out / "interactions.csv", index=False)
    return table
