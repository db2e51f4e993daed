"""Agreement of raters against published values, other libraries and closed forms."""

import numpy as np
import pandas as pd
import pingouin
import pytest

from studylib.scenarios import agreement
from studylib.scenarios.agreement import agreement_table, icc, item_entropy, krippendorff_alpha, raw_agreement

KRIPPENDORFF = [  # four observers, twelve units: Krippendorff (2011), Computing Krippendorff's alpha-reliability
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def table(observers: list[list], group: str = "") -> pd.DataFrame:
    rows = [(f"i{u}", f"r{o}", group, float(v)) for o, given in enumerate(observers) for u, v in enumerate(given) if v]
    return pd.DataFrame(rows, columns=["item", "rater", "group", "value"])


def test_alpha_is_that_of_krippendorffs_example():
    assert krippendorff_alpha(table(KRIPPENDORFF), ordinal=False) == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(table(KRIPPENDORFF)) == pytest.approx(0.815, abs=5e-4)


def test_raters_who_agree_on_all_have_alpha_1_and_chance_has_0():
    rng = np.random.default_rng(0)
    assert krippendorff_alpha(table([[1, 2, 3, 1]] * 3)) == 1
    assert abs(krippendorff_alpha(table(rng.integers(1, 6, (6, 800)).tolist()))) < 0.02


def test_raw_agreement_and_entropy_by_hand():
    assert raw_agreement(table([[1, 1], [1, 2], [2, 3]])) == pytest.approx((1 / 3 + 0) / 2)
    assert item_entropy(table([[1, 1], [1, 2]])) == pytest.approx((0 + 1) / 2)


def test_icc_is_pingouins_where_all_rate_all():
    rng = np.random.default_rng(1)
    values = rng.normal(size=30)[None] + rng.normal(size=(4, 30))
    long = table((values + 10).tolist())
    theirs = pingouin.intraclass_corr(long, targets="item", raters="rater", ratings="value").set_index("Type")
    single = next(name for name in theirs.index if name in ("ICC1", "ICC(1,1)"))
    assert icc(long) == pytest.approx(theirs.loc[single, "ICC"], abs=1e-9)


def test_the_two_way_interval_holds_the_truth_about_as_often_as_it_says():
    """Rater effects, item effects and noise of known size; the mean of all ratings is 0."""
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=(12, 1)) + rng.normal(size=(1, 30)) + rng.normal(size=(12, 30))
        low, high = agreement.two_way_interval(table(values.tolist()), lambda part: part["value"].mean(), draws=100)
        held += low <= 0 <= high
    assert held >= 50, "of 60; 57 are expected"


def test_groups_and_what_lies_between_them():
    rows = [{"id": f"i{i}", "ratings": [
        {"rater": f"{group}{k}", "value": value, "groups": [group]} for group, value in (("a", 1.0), ("b", 5.0))
        for k in range(2)]} for i in range(4)]  # fmt: skip
    found = agreement_table(rows, draws=10).set_index(["group", "statistic"])["value"]
    assert found["a - b", "total_variation"] == 1
    assert found["a", "raw_agreement"] == 1 and found["", "raw_agreement"] == pytest.approx(1 / 3)
    assert np.isnan(found["a", "alpha_ordinal"]), "nothing could have disagreed"


def test_one_rater_has_no_agreement():
    rows = [{"id": "i", "ratings": [{"rater": "r", "value": 1.0, "groups": []}]}]
    with pytest.raises(ValueError, match="two ratings of one item, and there is no such item"):
        agreement_table(rows)
