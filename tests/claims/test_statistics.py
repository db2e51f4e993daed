"""Every statistic of one contrast equals that of R, or a calculation by hand or brute force.

`golden/statistics.R` prints the values of R.
"""

import json
import math
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from studylib.claims import power
from studylib.claims.statistics import LARGE_T, bayes_factor, holm, noncentrality, paired_contrast, sign_flip, welch
from studylib.evaluation.rates import wilson
from studylib.randomness import generator

GOLDEN = json.loads((Path(__file__).parent / "golden/statistics.json").read_text())
SLEEP = [pd.Series(GOLDEN["sleep"][drug]) for drug in ("drug1", "drug2")]


def golden(name: str, rel: float = 1e-6) -> dict:
    """The values of one entry, without its source and data."""
    assert GOLDEN[name]["source"]
    return {key: pytest.approx(value, rel=rel) for key, value in GOLDEN[name].items() if isinstance(value, float)}


@pytest.mark.parametrize("name", ["paired_t", "welch", "bayes_factor", "hedges_g"])
def test_the_sleep_data_give_the_values_of_r(name):
    found, expected = paired_contrast(*SLEEP), golden(name)
    assert {key: found[key] for key in expected} == expected


def test_equivalence_by_hand_and_against_statsmodels():
    from statsmodels.stats.weightstats import ttost_paired

    expected = golden("tost")
    found = paired_contrast(*SLEEP, margin=GOLDEN["tost"]["margin"])
    del expected["margin"]
    assert {key: found[key] for key in expected} == expected
    assert found["p_tost"] == pytest.approx(ttost_paired(*SLEEP, -3, 3)[0])
    assert paired_contrast(*SLEEP, margin=1.0)["p_tost"] > 0.5, "beyond the margin"


@pytest.mark.parametrize("margin", [0.8, 0.95, 1.1, 2.29, 2.3])
def test_the_interval_is_inside_the_margin_exactly_when_both_one_sided_tests_reject(margin):
    found = paired_contrast(*SLEEP, margin=margin)
    assert (-margin < found["low90"] and found["high90"] < margin) == (found["p_tost"] < 0.05)


def test_another_alpha_makes_other_intervals_and_no_other_p():
    wide, usual = paired_contrast(*SLEEP, alpha=0.01), paired_contrast(*SLEEP)
    expected = stats.ttest_rel(*SLEEP)
    assert (wide["low"], wide["high"]) == pytest.approx(tuple(expected.confidence_interval(0.99)))
    assert (wide["low90"], wide["high90"]) == pytest.approx(tuple(expected.confidence_interval(0.98)))
    assert wide["p"] == usual["p"]


@pytest.mark.parametrize("t, df", [(4.06, 9), (-3.0, 4), (0.3, 2), (18.0, 2), (60.0, 4)])
def test_the_interval_of_the_noncentrality_inverts_the_noncentral_t(t, df):
    def found(share):
        return optimize.brentq(lambda nc: stats.nct.cdf(abs(t), df, nc) - share, -10, 150)

    bounds = (found(0.975), found(0.025)) if t > 0 else (-found(0.025), -found(0.975))
    assert noncentrality(t, df) == pytest.approx(bounds, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("t", [1001.0, -1e6, 1e12])
@pytest.mark.parametrize("df", [1, 4, 49])
def test_the_interval_of_the_noncentrality_ends_at_any_t_and_holds_what_it_says(t, df):
    low, high = sorted(np.abs(noncentrality(t, df)))
    rng = generator(0, "test/noncentrality")
    for noncentral, share in ((low, 0.975), (high, 0.025)):
        drawn = (noncentral + rng.normal(size=200_000)) / np.sqrt(rng.chisquare(df, 200_000) / df)
        assert (drawn < abs(t)).mean() == pytest.approx(share, abs=0.002)
    assert noncentrality(-t, df) == pytest.approx(tuple(-bound for bound in noncentrality(t, df)[::-1]))


@pytest.mark.parametrize("df", [1, 2, 9, 50])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 1.0])
def test_the_noncentrality_has_no_step_where_its_calculation_changes(df, alpha):
    below, above = (np.array(noncentrality(t, df, alpha)) / t for t in (LARGE_T, LARGE_T * (1 + 1e-9)))
    assert above == pytest.approx(below, rel=2e-3), "SciPy's own error there"


@pytest.mark.parametrize(
    "noise, n", [(1e-5, 3), (1e-7, 5), (3e-8, 10), (1e-10, 50)], ids=["3 seeds", "5 seeds", "10 seeds", "50 seeds"]
)
@pytest.mark.filterwarnings("error")
def test_differences_that_are_nearly_constant_have_all_their_statistics_at_once(noise, n):
    baseline = pd.Series(generator(n, "test/nearly constant").normal(0.5, 0.02, n))
    treatment = baseline + 0.1 + noise * np.resize([1, -1, 0], n)
    found = paired_contrast(treatment, baseline)
    assert not any(map(math.isnan, found.values())) and found["low"] <= 0.1 <= found["high"]
    assert found["g_low"] < found["hedges_g"] < found["g_high"] and found["bf10"] > 100
    assert found["p"] < 1e-6


@pytest.mark.filterwarnings("error")
def test_differences_that_are_nearly_constant_have_a_plan_too():
    for sd in (1e-5, 1e-8, 1e-12):
        assert power.difference_power(0.1, sd, 3) == 1.0 and power.equivalence_power(0.1, sd, 3) == pytest.approx(1)
        assert power.seeds_needed(lambda n, sd=sd: power.difference_power(0.1, sd, n)) == 2
        assert power.detectable(sd, 3) == pytest.approx(sd * power.detectable(1, 3))


@pytest.mark.parametrize("alpha", [1e-3, 1e-4, 1e-6, 1e-9])
def test_two_seeds_at_a_tiny_alpha_have_a_detectable_difference_at_once(alpha):
    """With one degree of freedom it is inversely proportional to alpha, as the critical t is."""
    assert power.detectable(1, 2, alpha) * alpha == pytest.approx(0.5769, rel=1e-3)
    assert power.difference_power(0, 1, 2, alpha) == pytest.approx(alpha, rel=1e-6)


def test_hedges_g_is_too_large_where_pairs_are_correlated():
    """The figures of the README and of `noncentrality`: mean g of normal pairs whose true d_av is 1."""
    said = {(3, 0): 1.00, (3, 0.5): 1.04, (3, 0.9): 1.18, (5, 0): 1.00, (5, 0.5): 1.02, (5, 0.9): 1.09,
            (10, 0): 1.00, (10, 0.5): 1.01, (10, 0.9): 1.04}  # fmt: skip
    readme = (Path(__file__).resolve().parents[2] / "docs/claims.md").read_text()
    assert "is 1.18 with 3 seeds, 1.09 with 5 and 1.04 with 10; at .5 it is 1.04, 1.02 and 1.01" in readme
    for (n, correlation), mean in said.items():
        z, other = generator(n, f"test/hedges {correlation}").normal(size=(2, 100_000, n))
        treatment, baseline = z + 1, correlation * z + math.sqrt(1 - correlation**2) * other
        spread = np.sqrt((treatment.var(1, ddof=1) + baseline.var(1, ddof=1)) / 2)
        g = (treatment - baseline).mean(1) / spread * (1 - 3 / (8 * n - 9))
        assert g[0] == pytest.approx(paired_contrast(pd.Series(treatment[0]), pd.Series(baseline[0]))["hedges_g"])
        assert g.mean() == pytest.approx(mean, abs=0.005 + 3 * g.std() / math.sqrt(len(g))), (n, correlation)


def test_the_interval_of_hedges_g_holds_it_and_turns_with_it():
    found, turned = paired_contrast(*SLEEP), paired_contrast(*SLEEP[::-1])
    assert found["g_low"] < found["hedges_g"] < found["g_high"]
    assert (turned["g_low"], turned["g_high"]) == pytest.approx((-found["g_high"], -found["g_low"]))


def test_bayes_factors_for_three_priors():
    found = paired_contrast(*SLEEP)
    flat = paired_contrast(SLEEP[0], SLEEP[0] + [0.1, -0.1] * 5)
    assert found["bf10_r50"] < found["bf10"] < found["bf10_r100"], "a large effect: wide priors expect it"
    assert 1 > flat["bf10_r50"] > flat["bf10"] > flat["bf10_r100"], "no effect: wide priors expected more"


def test_bayes_factors_are_those_of_r_and_pingouin_where_these_integrate():
    import pingouin

    for n, t, expected in GOLDEN["bayes_factors"]["rows"]:
        for r, value in zip(GOLDEN["bayes_factors"]["r"], expected, strict=True):
            found = bayes_factor(t, n, r)
            assert found == pytest.approx(value, rel=1e-6) and bayes_factor(-t, n, r) == found
            assert found == pytest.approx(pingouin.bayesfactor_ttest(t, n, paired=True, r=r), rel=1e-6)


@pytest.mark.parametrize("n", [2, 3, 5, 20, 50])
@pytest.mark.parametrize("t", [0.0, 30.0, 800.0, 1e6])
def test_bayes_factors_at_any_t_by_another_substitution(n, t):
    """g = 1 / z^2 with z standard normal: 30 digits of another integrand."""
    import mpmath

    for r in (0.5, 0.707, 1.0):
        square, c = mpmath.mpf(t) ** 2, n * mpmath.mpf(r) ** 2

        def weighted(z, square=square, c=c):
            fit = (1 + square / (n - 1)) / (1 + square * z**2 / ((n - 1) * (z**2 + c)))
            return 2 * mpmath.npdf(z) * z / mpmath.sqrt(z**2 + c) * fit ** mpmath.mpf(n / 2)

        narrow = mpmath.sqrt((n - 1) * c / (1 + square))  # the peak
        with mpmath.workdps(30):
            cuts = sorted([0, 1, 5, 20, *(narrow * 10**k for k in range(-2, 9))])
            assert bayes_factor(t, n, r) == pytest.approx(float(mpmath.quad(weighted, cuts)), rel=1e-9)
    assert bayes_factor(800.0, 3, 0.707) == pytest.approx(552.2076171917)


def test_welch_by_hand_and_without_spread():
    a, b = np.array([0.8, 0.7, 0.75, 0.9]), np.array([0.6, 0.61, 0.59])
    parts = [a.var(ddof=1) / 4, b.var(ddof=1) / 3]
    df, difference, se = (
        sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 2),
        a.mean() - b.mean(),
        sum(parts) ** 0.5,
    )
    p, half = 2 * stats.t.sf(difference / se, df), stats.t.isf(0.025, df) * se
    assert tuple(welch(a, b).values()) == pytest.approx((p, difference - half, difference + half))
    assert not math.isnan(welch([0.5, 0.5, 0.5], b)["p_welch"]), "one arm may be without spread"
    assert all(map(math.isnan, welch([0.5, 0.5], [0.6, 0.6]).values())) and math.isnan(welch([0.5], b)["p_welch"])


def test_sign_flips_of_darwins_maize():
    assert sign_flip(GOLDEN["darwin"]["differences"]) == pytest.approx((GOLDEN["darwin"]["p_signflip"], 2 / 2**15))


def test_sign_flips_by_brute_force_and_the_smallest_p_of_few_seeds():
    differences = SLEEP[0] - SLEEP[1]
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in product((1, -1), repeat=10)]
    assert sign_flip(differences)[0] == pytest.approx(np.mean(np.array(sums) >= abs(differences.sum()) - 1e-9))
    assert sign_flip([0.1, 0.2, 0.3]) == (0.25, 0.25), "three seeds can never be significant"
    assert sign_flip([0.1, 0.2, 0.3, 0.2, 0.1]) == (0.0625, 0.0625), "nor can five"
    assert (
        sign_flip(np.full(20, 0.1)) == (pytest.approx(1e-4), 1e-4)
        and sign_flip(np.r_[np.ones(10), -np.ones(10)])[0] == 1
    )


def test_holm_and_wilson():
    assert holm(GOLDEN["holm"]["p"]) == pytest.approx(GOLDEN["holm"]["adjusted"])
    for successes, n, low, high in GOLDEN["wilson"]["rates"]:
        assert wilson(successes, n) == pytest.approx((low, high), rel=1e-6)


def test_one_file_imports_pingouin_and_the_tables_come_without_torch():
    files = (Path(__file__).parents[2] / "studylib").rglob("*.py")
    assert [p.name for p in files if "import pingouin" in p.read_text().replace("pingouin_parts", "")] == [
        "pingouin_parts.py"
    ]
    code = "import sys, studylib.claims.tables, studylib.claims.items; print({'torch', 'pingouin'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
