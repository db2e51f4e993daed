"""How far do raters agree? Raw agreement, Krippendorff's alpha, the entropy of items, ICC, within groups and between.

A table of ratings is long: item, rater, group, value. Intervals are two-way: raters and items are drawn anew, because
ratings of one rater, or of one item, are not independent.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
import pandas as pd

from studylib.randomness import generator

DRAWS = 500


def long_table(rows: list[dict]) -> pd.DataFrame:
    """item, rater, group, value of all ratings of scenario rows; a rater of several groups comes once for each."""
    given = [(row["id"], r) for row in rows for r in row["ratings"]]
    long = [(item, r["rater"], group, r["value"]) for item, r in given for group in r["groups"] or [""]]
    return pd.DataFrame(long, columns=["item", "rater", "group", "value"])


def counts(table: pd.DataFrame) -> np.ndarray:
    """(items, levels) how many raters gave an item each level; refuses a table without two ratings of one item."""
    (item, items), (value, levels) = (pd.factorize(table[name], sort=True) for name in ("item", "value"))
    found = np.bincount(item * len(levels) + value, minlength=len(items) * len(levels)).reshape(len(items), -1)
    if not len(found) or found.sum(1).max() < 2:
        raise ValueError("agreement takes two ratings of one item, and there is no such item")
    return found


def raw_agreement(table: pd.DataFrame) -> float:
    """Chance that two raters of an item agree, mean over items with two ratings or more."""
    n = counts(table)
    n = n[n.sum(1) > 1]
    total = n.sum(1)
    return float(((n * (n - 1)).sum(1) / (total * (total - 1))).mean())


def krippendorff_alpha(table: pd.DataFrame, ordinal: bool = True) -> float:
    """1 - observed / expected disagreement (Krippendorff 2018, chapter 12), with ordinal distances or nominal ones.

    NaN where all ratings are equal: nothing could have disagreed.
    """
    n = counts(table).astype(float)
    n = n[n.sum(1) > 1]
    pairs = sum((np.outer(row, row) - np.diag(row)) / (row.sum() - 1) for row in n)  # coincidences
    marginal = pairs.sum(1)
    apart = _ordinal(marginal) if ordinal else 1 - np.eye(len(marginal))
    expected = (np.outer(marginal, marginal) - np.diag(marginal)) / (marginal.sum() - 1)
    return float(1 - (pairs * apart).sum() / (expected * apart).sum()) if (expected * apart).sum() else np.nan


def _ordinal(marginal: np.ndarray) -> np.ndarray:
    """(levels, levels) squared distances: the ratings that lie between two levels, half of those at the ends."""
    places = np.cumsum(marginal) - marginal / 2
    return (places[:, None] - places[None, :]) ** 2


def item_entropy(table: pd.DataFrame) -> float:
    """Entropy (bits) of the ratings of an item, mean over items."""
    n = counts(table)
    p = n / n.sum(1, keepdims=True)
    return float(-(p * np.log2(np.where(p > 0, p, 1))).sum(1).mean())


def icc(table: pd.DataFrame) -> float:
    """ICC(1,1) (Shrout & Fleiss 1979) of raters who need not be the same for all items: one-way, of unequal numbers.

    (MSB - MSW) / (MSB + (k0 - 1) MSW), k0 the mean number of ratings corrected for its spread. NaN where all ratings
    are equal.
    """
    groups = [part.to_numpy() for _, part in table.groupby("item")["value"]]
    sizes, total = np.array([len(g) for g in groups]), sum(map(len, groups))
    if len(groups) < 2 or total <= len(groups):
        raise ValueError("an ICC takes two items, and two ratings of one of them")
    grand = table["value"].mean()
    between = sum(len(g) * (g.mean() - grand) ** 2 for g in groups) / (len(groups) - 1)
    within = sum(((g - g.mean()) ** 2).sum() for g in groups) / (total - len(groups))
    k0 = (total - (sizes**2).sum() / total) / (len(groups) - 1)
    return float((between - within) / (between + (k0 - 1) * within)) if between or within else np.nan


STATISTICS = {
    "raw_agreement": raw_agreement, "alpha_ordinal": krippendorff_alpha, "item_entropy": item_entropy, "icc": icc,
}  # fmt: skip


def marginals(table: pd.DataFrame) -> pd.Series:
    """Share of each level among all ratings."""
    return table["value"].value_counts(normalize=True).sort_index()


def distance_between(table: pd.DataFrame, first: str, second: str) -> float:
    """Total variation between what two groups say of an item, mean over the items that both rated; NaN without any."""
    levels = sorted(set(table["value"]))
    shares = {
        group: pd.crosstab(part["item"], part["value"], normalize="index").reindex(columns=levels, fill_value=0.0)
        for group, part in table[table["group"].isin([first, second])].groupby("group")
    }
    if len(shares) < 2:
        return np.nan
    apart = (shares[first] - shares[second]).dropna().abs().sum(axis=1) / 2  # items that one did not rate are NaN
    return float(apart.mean())


def two_way_interval(table: pd.DataFrame, statistic: Callable, draws: int = DRAWS) -> tuple[float, float]:
    """95 % interval of a statistic from two-way half-samples: its value, plus how draws spread about their mean.

    A draw takes half of the raters and half of the items without replacement; a mean of such a half spreads as one of a
    whole sample does. Draws with replacement would hold copies of a rater, who agree with themselves. Draws in which
    the statistic is not known are left out; NaN where it is in none.
    """
    rng, found = generator(0, "agreement/halves"), []
    (item, items), (rater, raters) = (pd.factorize(table[name]) for name in ("item", "rater"))
    for _ in range(draws):
        kept = [np.isin(code, rng.permutation(len(of))[: max(1, len(of) // 2)])
                for code, of in ((item, items), (rater, raters))]  # fmt: skip
        with contextlib.suppress(ValueError):  # no item with two ratings among them
            found.append(statistic(table[kept[0] & kept[1]]))
    found = np.array(found)[np.isfinite(found)]
    if not len(found):
        return np.nan, np.nan
    return tuple(float(statistic(table) + x) for x in np.quantile(found - found.mean(), [0.025, 0.975]))


def agreement_table(rows: list[dict], draws: int = DRAWS) -> pd.DataFrame:
    """group, statistic, value, low, high of all ratings (group ""), of each group, and of each pair of groups.

    Raises ValueError for scenarios without two ratings of one item. All-equal ratings have no alpha and no ICC: NaN.
    """
    table = long_table(rows)
    groups = sorted(set(table["group"]) - {""})
    everybody = table.drop_duplicates(["item", "rater"])
    parts = {"": everybody} | {group: table[table["group"] == group] for group in groups}
    found = [
        (group, name, of(part), *two_way_interval(part, of, draws))
        for group, part in parts.items()
        for name, of in STATISTICS.items()
    ]
    for pair in combinations(groups, 2):
        between = partial(distance_between, first=pair[0], second=pair[1])
        found.append((" - ".join(pair), "total_variation", between(table), *two_way_interval(table, between, draws)))
    return pd.DataFrame(found, columns=["group", "statistic", "value", "low", "high"])
