"""A plan with a control and with secondary endpoints: contrasts by hand, families of their own, hashes that stay."""

import dataclasses
import itertools
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from run_tables import keep_tables
from scipy import stats
from statsmodels.stats.multitest import multipletests
from test_claims import PLAN, STUDY, write_run

from studylib.claims import departures, items, plan, plots, power, report, tables
from studylib.claims.statistics import t_interval
from studylib.compare import summarise
from studylib.evaluation.table import read_answers, read_runs
from studylib.paths import PARAMS

CONTROLLED = dataclasses.replace(PLAN, control="medium", worlds="local_norms")
SEEDS = range(5)
VALUES = {  # condition -> accuracy by seed
    "narrow": [0.60, 0.64, 0.57, 0.61, 0.63],
    "medium": [0.65, 0.66, 0.64, 0.62, 0.70],
    "broad": [0.80, 0.85, 0.79, 0.88, 0.83],
    "wide": [0.71, 0.66, 0.70, 0.73, 0.69],
}
OTHERS = ("broad", "wide")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("controlled")
    for condition, values in VALUES.items():
        for seed in SEEDS:
            write_run(root, condition=condition, seed=seed, after=values[seed], before=0.5 + seed / 100)
    return root


@pytest.fixture
def runs(root):
    return read_runs(root, **STUDY)


def on_primary(claims: pd.DataFrame) -> pd.DataFrame:
    found = claims[(claims["split"] == PLAN.primary_split) & (claims["endpoint"] == PLAN.primary_endpoint)]
    return found.set_index("contrast")


def by_hand(condition: str, other: str) -> float:
    """p of the paired t test."""
    return stats.ttest_rel(VALUES[condition], VALUES[other]).pvalue


# --- the plan ---


def test_neither_a_control_that_is_not_there_nor_secondary_endpoints_change_the_hash_of_a_plan():
    for secondary in ("", "accuracy_greedy", "accuracy_greedy decision_entropy"):
        assert dataclasses.replace(PLAN, secondary=secondary).digest == PLAN.digest == "66317e5e1f84eeb6"
    assert CONTROLLED.digest != dataclasses.replace(CONTROLLED, control="").digest
    assert dataclasses.replace(CONTROLLED, control="broad").digest != CONTROLLED.digest


@pytest.mark.parametrize(
    "change, message",
    [
        ({"control": "narrow"}, "control = 'narrow' is not allowed: the name of one condition other than the baseline"),
        ({"control": "warm_start"}, "control = 'warm_start'"),
        ({"control": "a b"}, "control = 'a b'"),
        ({"secondary": "charm"}, "secondary = 'charm' is not allowed: endpoints other than the primary one, of acc"),
        ({"secondary": "accuracy_greedy accuracy_sampled"}, "secondary = 'accuracy_greedy accuracy_sampled'"),
    ],
)
def test_a_control_and_secondary_endpoints_that_cannot_be_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAN, **change)


def test_the_baseline_is_not_held_against_the_control_which_is_held_against_it():
    assert CONTROLLED.pairs(list(VALUES)) == [
        ("medium", "narrow"), ("broad", "narrow"), ("wide", "narrow"), ("broad", "medium"), ("wide", "medium"),
    ]  # fmt: skip
    named = dataclasses.replace(CONTROLLED, contrasts="medium wide")
    assert named.planned_pairs(list(VALUES)) == [("medium", "narrow"), ("wide", "narrow"), ("wide", "medium")]
    assert CONTROLLED.pairs(["narrow", "broad"]) == [("broad", "narrow")], "no run of the control"


def test_another_baseline_is_no_control_and_no_contrast_of_its_own(tmp_path):
    text = (PARAMS / "inputs.yaml").read_text().replace("contrasts: all", "contrasts: medium broad\ncontrol: medium")
    (tmp_path / "inputs.yaml").write_text(text)
    other = plan.choose_plan("inputs", "medium", folder=tmp_path)
    assert (other.baseline, other.contrasts, other.control) == ("medium", "narrow broad", "")
    kept = plan.choose_plan("inputs", "broad", folder=tmp_path)
    assert (kept.baseline, kept.contrasts, kept.control) == ("broad", "narrow medium", "medium")


# --- claims ---


def test_contrasts_with_the_control_are_the_paired_t_tests_of_a_hand(runs):
    claims = on_primary(tables.claims(runs, CONTROLLED))
    for condition in OTHERS:
        row, difference = claims.loc[f"{condition} - medium"], np.subtract(VALUES[condition], VALUES["medium"])
        mean, low, high = t_interval(pd.Series(difference))
        assert (row["difference"], row["low"], row["high"]) == pytest.approx((mean, low, high), abs=1e-12)
        assert row["p"] == pytest.approx(by_hand(condition, "medium"), rel=1e-9)
    assert "narrow - medium" not in claims.index and "medium - narrow" in claims.index


def test_contrasts_with_the_control_are_a_family_of_their_own_and_cost_the_baseline_nothing(runs):
    """The plan's family is a world and an endpoint: three splits, which are alike here."""
    one_split = dataclasses.replace(CONTROLLED, family="world split endpoint")
    without = dataclasses.replace(one_split, control="")
    claims, plain = (on_primary(tables.claims(runs, of_plan)) for of_plan in (one_split, without))
    holm = multipletests([by_hand(condition, "medium") for condition in OTHERS], method="holm")[1]
    assert claims.loc[[f"{c} - medium" for c in OTHERS], "p_holm"].tolist() == pytest.approx(holm.tolist(), rel=1e-9)
    pd.testing.assert_frame_equal(claims.loc[plain.index].drop(columns="plan"), plain.drop(columns="plan"))


def test_contrasts_with_the_control_are_planned_on_the_primary_endpoint_and_split_alone(runs):
    claims = tables.claims(runs, CONTROLLED)
    confirmed = claims[claims["status"] == "confirmatory"]
    expected = [f"{c} - narrow" for c in ("medium", *OTHERS)] + [f"{c} - medium" for c in OTHERS]
    assert sorted(confirmed["contrast"]) == sorted(expected)
    assert set(confirmed["split"]) == {PLAN.primary_split} and set(confirmed["endpoint"]) == {PLAN.primary_endpoint}
    assert set(tables.claims(runs, CONTROLLED, departed=True)["status"]) == {"exploratory"}
    later = on_primary(tables.claims(runs, CONTROLLED, later=["wide"]))
    assert later.loc[["wide - narrow", "wide - medium"], "status"].tolist() == ["exploratory"] * 2
    assert later.loc["broad - medium", "p_holm"] == pytest.approx(3 * by_hand("broad", "medium")), "three splits alike"


def test_claims_stand_in_the_order_baseline_control_warm_start(runs):
    against = [contrast.rpartition(" - ")[2] for contrast in on_primary(tables.claims(runs, CONTROLLED)).index]
    assert [name for name, _ in itertools.groupby(against)] == ["narrow", "medium", "warm_start"]


def test_power_and_items_know_the_contrasts_with_the_control_and_how_many_there_are(root, runs):
    one_split = dataclasses.replace(CONTROLLED, family="world split endpoint")
    needed = power.power_table(runs, one_split).set_index("contrast")
    assert list(needed.index) == [f"{c} - {o}" for c, o in one_split.pairs(sorted(VALUES))]
    sd = np.std(np.subtract(VALUES["wide"], VALUES["medium"]), ddof=1)
    assert needed.loc["wide - medium", "sd"] == pytest.approx(sd)
    assert needed.loc["wide - medium", "detectable_holm"] == pytest.approx(power.detectable(sd, 5, 0.05 / 2))
    of_answers = items.item_table(read_answers(root, **STUDY), one_split)
    assert set(of_answers["contrast"]) == set(needed.index) and (of_answers["seeds"] == 5).all()


def test_a_control_without_runs_is_a_departure():
    controlled = dataclasses.replace(CONTROLLED, contrasts="broad")
    assert departures.planned_conditions(controlled, ()) == ["narrow", "medium", "broad"]
    made = pd.DataFrame({"world": "local_norms", "condition": ["narrow", "broad"] * 5, "seed": np.arange(10) // 2})
    made["plan"] = controlled.digest
    ends = made.assign(split=PLAN.primary_split, endpoint=PLAN.primary_endpoint)
    first = [{"digest": controlled.digest}]
    assert departures.departures(controlled, made, ends, made[["world", "condition", "seed"]], first, True) == [
        "The plan compares narrow, medium, broad; local_norms has no runs of medium."
    ]


def test_a_forest_keeps_the_families_apart(runs):
    ax = plots.plot_contrasts(tables.claims(runs, CONTROLLED))
    apart = [float(line.get_ydata()[0]) for line in ax.lines if line.get_color() == "0.5"]
    assert apart == [2.5, 4.5], "three contrasts with the baseline, two with the control, four with the warm start"
    plt.close("all")


# --- secondary endpoints and what is shown ---


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """A study of today's layout under a plan with a control and two secondary endpoints; its folder of tables."""
    for condition, values in VALUES.items():
        for seed in SEEDS:
            keep_tables(write_run(tmp_path / "runs", condition=condition, seed=seed, after=values[seed]))
    monkeypatch.setattr("studylib.claims.plots.save", lambda *figure: [])
    controlled = dataclasses.replace(CONTROLLED, secondary="decision_entropy accuracy_greedy")
    monkeypatch.setattr(plan, "read_plan", lambda axis, folder=None: controlled)
    return tmp_path


def test_secondary_endpoints_are_compared_without_being_asked_for_and_are_exploratory(asked):
    _, claims = tables.write_tables(asked / "runs", asked / "out", **STUDY)
    assert "decision_entropy" in set(claims["endpoint"])
    beside = tables.beside_primary(claims, plan.read_plan("inputs"))
    assert list(beside) == ["above medium", "decision_entropy", "accuracy_greedy"]
    assert set(beside["decision_entropy"]["contrast"]) == {f"{c} - narrow" for c in ("medium", *OTHERS)}
    assert set(beside["decision_entropy"]["status"]) == {"exploratory"}
    assert set(beside["above medium"]["contrast"]) == {f"{c} - medium" for c in OTHERS}


def test_an_arm_in_which_only_some_runs_have_a_secondary_endpoint_is_left_out_of_it_alone(asked):
    """One of the runs is older than the endpoint: it has a summary and no tables."""
    folder = asked / "runs" / "inputs/tiny_cpu/local_norms/wide/seed2"
    shutil.rmtree(folder)
    write_run(asked / "runs", condition="wide", seed=2, after=VALUES["wide"][2])
    _, claims = tables.write_tables(asked / "runs", asked / "out", **STUDY)
    contrasts = {name: set(part["contrast"]) for name, part in claims.groupby("endpoint")}
    assert "wide - narrow" in contrasts["accuracy_sampled"]
    assert "medium - narrow" in contrasts["decision_entropy"] and "wide - narrow" not in contrasts["decision_entropy"]


def test_the_terminal_and_the_report_show_what_the_plan_asks_beside_the_primary_endpoint(asked, monkeypatch):
    out = asked / "out"
    summary = summarise("inputs", run_root=str(asked / "runs"), out_root=str(out))
    said = summary.in_words()
    places = [said.index(f"Beside it: {name}") for name in ("above medium", "decision_entropy", "accuracy_greedy")]
    assert places == sorted(places) and "broad - medium = " in said and "decision_entropy: broad - narrow = " in said
    record = summary.as_record()
    assert [row["contrast"] for row in record["beside"]["above medium"]] == ["broad - medium", "wide - medium"]
    page = report.report(out / "inputs", plan.read_plan("inputs"))
    assert "<h3>Beside it: above medium</h3>" in page and "decision_entropy: broad - narrow = " in page


def test_runs_that_lack_a_secondary_endpoint_are_compared_and_that_is_said(root, tmp_path, monkeypatch):
    """Runs of an older layout know the endpoints of their summary and no other."""
    monkeypatch.setattr("studylib.claims.plots.save", lambda *figure: [])
    older = dataclasses.replace(CONTROLLED, secondary="decision_entropy")
    monkeypatch.setattr(plan, "read_plan", lambda axis, folder=None: older)
    summary = summarise("inputs", run_root=str(root), out_root=str(tmp_path))
    assert "Beside it: decision_entropy\nNo such claims: the tables are older than the endpoint" in summary.in_words()
    assert "<li>No such claims" in report.report(tmp_path / "inputs", older)


def test_a_plan_without_either_is_shown_as_before(root, tmp_path, monkeypatch):
    monkeypatch.setattr("studylib.claims.plots.save", lambda *figure: [])
    summary = summarise("inputs", run_root=str(root), out_root=str(tmp_path))
    assert summary.beside == {} and "Beside it" not in summary.in_words()
