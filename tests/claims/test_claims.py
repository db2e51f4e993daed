"""Known truth first, then planted effects in made run folders. Run: python -m pytest tests/test_claims.py"""

import json
import math

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from studylib.claims import plots, tables
from studylib.claims.decisions import decide, sentence
from studylib.claims.plan import choose_plan, read_plan
from studylib.claims.statistics import holm, paired_contrast, t_interval
from studylib.compare import summarise
from studylib.evaluation.rates import wilson
from studylib.evaluation.table import read_runs
from studylib.runs.read import incomplete_runs, other_profiles, read_curves, read_provenance

STUDY = {"axis": "inputs", "profile": "tiny_cpu"}
PLAN = read_plan("inputs")
SEEDS = range(6)
SPLITS = ("held_out", "held_out_domains", "held_out_styles")
# Deviations of six seeds with mean 0: the planted means come back exactly, whatever the seeds add.
SHARED = np.array([-0.03, 0.01, 0.02, -0.01, 0.03, -0.02])
OWN = {"narrow": np.zeros(6), "medium": SHARED[::-1] / 5, "broad": np.array([2, -1, -1, 2, -1, -1]) / 200}
PLANTED = {
    "local_norms": {"narrow": 0.60, "medium": 0.61, "broad": 0.85},
    "universal_norms": {"narrow": 0.80, "medium": 0.80, "broad": 0.80},
}


def write_answers(folder, condition, seed, accuracy, scenarios=10):
    """The evaluation answers of a made run: one greedy and four samples to every scenario, some of them right."""
    ids = [f"{split}{i}" for split in SPLITS for i in range(scenarios)]
    table = pd.DataFrame([(i, i.rstrip("0123456789"), k) for k in range(5) for i in ids], columns=["id", "split", "k"])
    rng = np.random.default_rng([len(condition), seed])
    table["verdict"] = (rng.random(len(table)) < accuracy).astype(float)
    words = rng.integers(0, {"narrow": 4, "medium": 8, "broad": 16}.get(condition, 8), (len(table), 20))
    said = [" ".join(f"w{word}" for word in row) for row in words]
    answers = table["verdict"].map({1.0: "right", 0.0: "wrong"})
    table["response"] = [f"<think>{r}</think><answer>{a}</answer>" for r, a in zip(said, answers, strict=True)]
    table.assign(format=1.0, readable=True).to_parquet(folder / "responses.parquet")


def write_run(root, world="local_norms", condition="narrow", seed=0, after=0.6, before=0.55, finished=True, **config):
    config = {**STUDY, "source": world, "condition": condition, "seed": seed, **config}
    folder = root / config["axis"] / config["profile"] / world / condition / f"seed{seed}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    logged = {"generated_tokens": 100, "grad_norm": 0.1, "frac_reward_zero_std": 0.2, "clip_ratio/region_mean": 0.0}
    logged |= {"policy_entropy": 0.5, "kl_to_reference": 0.1}
    lines = [{"step": s, "reward": 0.5 + (after - 0.5) * s / 10, "entropy": 1 - s / 20, **logged} for s in range(1, 11)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    phases = {
        phase: {"accuracy_sampled": value, "accuracy_greedy": value, "unscorable": 0}
        for phase, value in {"before": before, "after": after}.items()
    }
    splits = dict.fromkeys(SPLITS, phases)
    (folder / "summary.json").write_text(json.dumps({"splits": splits}))
    if finished:
        manifest = {"params": config, "finished": True, "plan": PLAN.digest}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        write_answers(folder, condition, seed, after)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for world, conditions in PLANTED.items():
        for condition, mean in conditions.items():
            for seed in SEEDS:
                after = mean + SHARED[seed] + OWN[condition][seed]
                write_run(root, world, condition, seed, after, before=0.55 + SHARED[::-1][seed] / 3)
    return root


def series(*values):
    return pd.Series(values, index=range(len(values)), dtype=float)


# statistics: known truth


def test_t_interval_by_hand_and_against_scipy():
    # 1, 2, 3: mean 2, sd 1, se 1/sqrt(3), t(.975, 2) = 4.30265
    assert t_interval([1, 2, 3]) == pytest.approx((2, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    values = [0.61, 0.58, 0.7, 0.66]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert t_interval(values, 0.9)[1:] == pytest.approx(tuple(expected))


@pytest.mark.parametrize("values", [[0.7], [0.7, 0.7, 0.7]])
def test_t_interval_without_spread_is_not_estimable(values):
    mean, low, high = t_interval(values)
    assert mean == pytest.approx(0.7) and math.isnan(low) and math.isnan(high)


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [0.5, math.inf]])
def test_t_interval_refuses_what_is_no_number(values):
    with pytest.raises(ValueError, match="not finite"):
        t_interval(values)


def test_paired_contrast_by_hand_and_against_scipy():
    a, b = series(0.8, 0.9, 1.0), series(0.7, 0.7, 0.7)  # differences .1, .2, .3: t = .2 / (.1 / sqrt 3) = 3.4641
    result = paired_contrast(a, b)
    half = 4.302653 * 0.1 / math.sqrt(3)
    assert result["difference"] == pytest.approx(0.2) and result["n"] == 3
    assert (result["low"], result["high"]) == pytest.approx((0.2 - half, 0.2 + half))
    test = stats.ttest_rel(a, b)
    assert test.statistic == pytest.approx(2 * math.sqrt(3)) and result["p"] == pytest.approx(test.pvalue)
    assert (result["low90"], result["high90"]) == pytest.approx(tuple(test.confidence_interval(0.9)))


def test_the_interval_is_not_rounded():
    result = paired_contrast(series(0.123456, 0.234567, 0.345679), series(0.1, 0.2, 0.3))
    assert abs(result["low"] - round(result["low"], 2)) > 1e-4


def test_hedges_g_is_the_closed_form_on_the_average_sd():
    a, b = series(0.8, 0.9, 0.7, 1.0), series(0.6, 0.65, 0.7, 0.5)
    d_av = (a.mean() - b.mean()) / math.sqrt((a.var() + b.var()) / 2)
    assert paired_contrast(a, b)["hedges_g"] == pytest.approx(d_av * (1 - 3 / (4 * 8 - 9)))
    assert paired_contrast(b, a)["hedges_g"] < 0


def jzs_bayes_factor(t, n, r=0.707):
    """Marginal likelihood with a Cauchy(0, r) prior on the effect (Rouder et al. 2009), over that of effect 0."""

    def weighted(effect):
        return stats.nct.pdf(t, n - 1, effect * math.sqrt(n)) * stats.cauchy.pdf(effect, scale=r)

    return integrate.quad(weighted, -6, 6, points=[0, t / math.sqrt(n)], limit=200)[0] / stats.t.pdf(t, n - 1)


def test_bayes_factor_is_the_jzs_integral():
    a, b = series(0.8, 0.85, 0.7, 0.9, 0.75, 0.8), series(0.7, 0.72, 0.68, 0.7, 0.74, 0.69)
    result = paired_contrast(a, b)
    assert isinstance(result["bf10"], float)
    assert result["bf10"] == pytest.approx(jzs_bayes_factor(stats.ttest_rel(a, b).statistic, 6), rel=2e-3)


def test_pairs_are_matched_by_seed_not_by_position():
    a, b = series(0.8, 0.9, 1.0), series(0.7, 0.7, 0.9)
    assert paired_contrast(a, b.sample(frac=1, random_state=1)) == paired_contrast(a, b)


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_differences_without_spread_are_not_estimable(shift):
    base = series(0.61, 0.7, 0.73, 0.8)
    result = paired_contrast(base + shift, base)  # in floating point the differences are not identical
    assert result["difference"] == pytest.approx(shift)
    assert all(math.isnan(result[name]) for name in ("low", "high", "p", "hedges_g", "bf10"))


def test_one_pair_is_not_estimable():
    result = paired_contrast(series(0.8), series(0.6))
    assert result["difference"] == pytest.approx(0.2) and math.isnan(result["p"]) and math.isnan(result["low"])


def test_unequal_and_repeated_seeds_are_refused_by_name():
    with pytest.raises(ValueError, match=r"the treatment lacks the seeds \[2, 3\]"):
        paired_contrast(series(0.8, 0.7), series(0.8, 0.7, 0.6, 0.5))
    with pytest.raises(ValueError, match=r"seeds more than once: \[1\]"):
        paired_contrast(pd.Series([0.5, 0.6], index=[1, 1]), series(0.5, 0.6))


def test_holm_by_hand():
    # sorted .01 .03 .04: 3 * .01, 2 * .03, max(1 * .04, .06)
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1, 1])


def test_holm_passes_nan_through_without_counting_it():
    assert holm([0.04, math.nan, 0.01]) == pytest.approx([0.04, math.nan, 0.02], nan_ok=True)
    assert np.isnan(holm([math.nan])).all()
    with pytest.raises(ValueError, match="1.2"):
        holm([1.2])


def test_wilson():
    assert wilson(30, 30) == pytest.approx((0.886, 1.0), abs=5e-4)
    assert all(map(math.isnan, wilson(0, 0)))
    with pytest.raises(ValueError, match="31 successes of 30"):
        wilson(31, 30)


# decisions


@pytest.mark.parametrize(
    "low, high, p_holm, expected",
    [
        (0.10, 0.30, 0.01, "different"),
        (0.01, 0.05, 0.01, "both (trivial)"),
        (-0.05, 0.05, 0.90, "equivalent"),
        (-0.20, 0.20, 0.90, "inconclusive"),
        (0.12, 0.30, 0.05, "inconclusive"),  # .05 is not below .05
        (-0.10, 0.05, 0.90, "inconclusive"),  # on the margin is not inside
        (math.nan, math.nan, math.nan, "not estimable"),
        (-0.05, 0.05, math.nan, "not estimable"),
    ],
)
def test_the_truth_table_of_decisions(low, high, p_holm, expected):
    assert decide(low, high, low, high, p_holm) == expected


def test_the_decision_takes_equivalence_from_the_90_percent_interval():
    assert decide(-0.11, 0.11, -0.09, 0.09, 0.9) == "equivalent"
    assert decide(-0.11, 0.11, -0.09, 0.09, 0.9, margin=0.08) == "inconclusive"


def test_the_decision_refuses_swapped_intervals_and_a_margin_of_zero():
    with pytest.raises(ValueError, match="not inside"):
        decide(-0.09, 0.09, -0.11, 0.11, 0.9)
    with pytest.raises(ValueError, match="above 0, not 0"):
        decide(-0.1, 0.1, -0.1, 0.1, 0.9, margin=0)


# run folders


def test_read_runs_is_long(root):
    runs = read_runs(root, **STUDY)
    assert list(runs) == ["world", "condition", "seed", "split", "endpoint", "before", "after"]
    assert len(runs) == 2 * 3 * 6 * 3 * 2 and incomplete_runs(root) == []


def test_only_complete_runs_count(tmp_path):
    folder = write_run(tmp_path)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "config.json").write_text("{}")  # a model's config is not a run
    unfinished = write_run(tmp_path, seed=1, finished=False)
    assert set(read_runs(tmp_path, **STUDY)["seed"]) == {0}
    assert incomplete_runs(tmp_path) == [unfinished]


def test_other_axes_and_profiles_are_left_out(tmp_path):
    write_run(tmp_path, seed=0)
    write_run(tmp_path, seed=1, profile="gpu_80gb")
    write_run(tmp_path, seed=2, axis="objective")
    assert set(read_runs(tmp_path, **STUDY)["seed"]) == {0}
    assert other_profiles(tmp_path, **STUDY).to_dict() == {"gpu_80gb": 1}


def test_no_run_is_one_clear_sentence(tmp_path):
    with pytest.raises(ValueError, match="no complete run of axis 'inputs' with profile 'tiny_cpu'"):
        read_runs(tmp_path, **STUDY)
    with pytest.raises(ValueError, match="no folder of runs"):
        read_runs(tmp_path / "nowhere", **STUDY)


def test_a_run_twice_is_refused(tmp_path):
    write_run(tmp_path / "first")
    write_run(tmp_path / "second")
    with pytest.raises(ValueError, match="two runs of world local_norms, condition narrow, seed 0"):
        read_runs(tmp_path, **STUDY)


@pytest.mark.parametrize("score", [math.inf, [], {}])
def test_a_score_that_is_no_number_names_its_run(tmp_path, score):
    folder = write_run(tmp_path, seed=3)
    summary = json.loads((folder / "summary.json").read_text())
    summary["splits"]["held_out"]["after"]["accuracy_greedy"] = score
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ValueError, match="seed3: accuracy_greedy after training on held_out is .*, not a number"):
        read_runs(tmp_path, **STUDY)


def test_runs_with_other_splits_are_refused(tmp_path):
    write_run(tmp_path, seed=0)
    folder = write_run(tmp_path, seed=1)
    summary = json.loads((folder / "summary.json").read_text())
    del summary["splits"]["held_out"]
    (folder / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(ValueError, match="seed1 has the splits"):
        read_runs(tmp_path, **STUDY)


def test_curves_of_a_resumed_run_keep_the_last_line_of_a_step(tmp_path):
    folder = write_run(tmp_path)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "reward": 0.9}\n{"step": 10, "train_runtime": 3.0}\n')
    curves = read_curves(tmp_path, **STUDY)
    assert list(curves)[:6] == ["world", "condition", "seed", "step", "reward", "entropy"]
    assert len(curves) == 10 and curves["reward"].iloc[-1] == 0.9


# tables


def test_planted_effects_come_back(root, tmp_path):
    _, claims = tables.write_tables(root, tmp_path, **STUDY)
    claims = claims[claims["split"] == "held_out_domains"].query("endpoint == 'accuracy_sampled'")
    claims = claims.set_index(["world", "contrast"])
    planted = claims.loc[("local_norms", "broad - narrow")]
    assert planted["difference"] == pytest.approx(0.25) and planted["decision"] == "different"
    null = claims.loc["universal_norms"].loc[["broad - narrow", "medium - narrow"]]
    assert null["difference"].tolist() == pytest.approx([0, 0]) and set(null["decision"]) == {"equivalent"}
    assert claims.loc[("local_norms", "narrow - warm_start"), "difference"] == pytest.approx(0.05)


def test_a_noisy_null_is_inconclusive(tmp_path):
    for seed in range(3):
        write_run(tmp_path, seed=seed, after=0.6)
        write_run(tmp_path, condition="broad", seed=seed, after=0.6 + (-0.2, 0.0, 0.2)[seed])
    claims = tables.claims(read_runs(tmp_path, **STUDY), PLAN).set_index("contrast")
    assert set(claims.loc["broad - narrow", "decision"]) == {"inconclusive"}
    assert set(claims.loc["narrow - warm_start", "decision"]) == {"not estimable"}  # a constant shift of .05


def test_csv_columns_order_and_precision(root, tmp_path):
    written = tables.write_tables(root, tmp_path, **STUDY)
    header = (tmp_path / "claims.csv").read_text().splitlines()[0]
    assert header.startswith("world,contrast,split,endpoint,difference,low,high,p_holm,hedges_g,bf10,decision,status")
    header = (tmp_path / "means.csv").read_text().splitlines()[0]
    assert header == "world,condition,split,endpoint,mean,low,high,seeds"
    for table, again in zip(written, tables.read_tables(tmp_path), strict=True):
        pd.testing.assert_frame_equal(table, again, rtol=1e-14, check_dtype=False)


def test_means_have_the_warm_start_once_per_seed(root):
    means = tables.means(read_runs(root, **STUDY))
    first = means[(means["world"] == "local_norms") & (means["split"] == "held_out_domains")].head(4)
    assert list(first["condition"]) == ["narrow", "medium", "broad", "warm_start"]
    assert first["mean"].tolist() == pytest.approx([0.60, 0.61, 0.85, 0.55]) and set(means["seeds"]) == {6}
    assert means["split"].iloc[0] == "held_out_domains"


def test_holm_family_is_one_world_and_endpoint_over_all_splits(root):
    runs = read_runs(root, **STUDY)
    claims = tables.claims(runs, PLAN).query("world == 'local_norms' and endpoint == 'accuracy_sampled'")
    medium = runs.query("world == 'local_norms' and endpoint == 'accuracy_sampled' and split == 'held_out'")
    arms = {name: arm.set_index("seed")["after"] for name, arm in medium.groupby("condition")}
    p = [paired_contrast(arms[name], arms["narrow"])["p"] for name in ("broad", "medium")] * 3
    found = claims[claims["contrast"] == "medium - narrow"]["p_holm"]
    assert found.tolist() == pytest.approx([holm(p)[1]] * 3)


def test_a_missing_seed_and_a_missing_baseline_are_refused(tmp_path):
    for seed in range(2):
        write_run(tmp_path, seed=seed, after=0.6 + seed / 10)
    write_run(tmp_path, condition="broad", seed=0)
    runs = read_runs(tmp_path, **STUDY)
    with pytest.raises(ValueError, match=r"broad - narrow in local_norms, .*the treatment lacks the seeds \[1\]"):
        tables.claims(runs, PLAN)
    with pytest.raises(ValueError, match="no runs of the baseline 'medium', only of narrow, broad"):
        tables.claims(runs, choose_plan("inputs", baseline="medium"))


def test_the_tables_are_made_once_and_then_read(root, tmp_path):
    made = summarise(**STUDY, run_root=str(root), out_root=str(tmp_path)).in_words()
    read = summarise("inputs", run_root="nowhere", out_root=str(tmp_path)).in_words()
    assert "made from" in made and "as they were written" in read
    assert "curves.png" in read and "broad - narrow" in read
    again = summarise(**STUDY, run_root=str(root), out_root=str(tmp_path), remake=True).in_words()
    assert "made from" in again and again.split("\n", 1)[1] == read.split("\n", 1)[1]


def test_sentence(root):
    row = tables.claims(read_runs(root, **STUDY), PLAN).iloc[0].to_dict()
    assert sentence(row).startswith("local_norms, held_out_domains, accuracy_sampled: medium - narrow = +0.010, 95 %")
    assert sentence(row).endswith("(both (trivial), margin 0.1). This claim is confirmatory.")
    assert "97.5 % interval" in sentence(row, alpha=0.025)
    assert "(not estimable). This" in sentence({**row, "decision": "not estimable"})
    with pytest.raises(ValueError, match="'maybe'"):
        sentence({**row, "decision": "maybe"})


@pytest.mark.parametrize("margin, shown", [(0.1, "0.1"), (0.015, "0.015"), (0.004, "0.004"), (0.0125, "0.0125")])
def test_a_sentence_gives_the_margin_and_the_interval_that_decided(margin, shown):
    row = {"world": "w", "split": "s", "endpoint": "e", "contrast": "a - b", "difference": 0.001, "p_holm": 0.8}
    row |= {"low": -0.0051, "high": 0.0071, "low90": -0.0031, "high90": 0.0036}
    same = sentence({**row, "decision": "equivalent"}, margin)
    assert f"margin {shown})" in same
    assert "95 % interval [-0.005, +0.007], 90 % [-0.003, +0.004], Holm p = 0.800" in same
    assert ", 95 % [-0.003" in sentence({**row, "decision": "both (trivial)"}, margin, alpha=0.025)
    assert "90 %" not in sentence({**row, "decision": "inconclusive"}, margin)
    assert "90 %" not in sentence({**row, "decision": "different"}, margin)


# figures


def one_world(table):
    return table[table["world"] == "local_norms"]


def test_figures_are_files_and_repeat(root, tmp_path):
    runs = read_runs(root, **STUDY)
    claims = tables.claims(runs, PLAN)
    for name, draw, df in [
        ("accuracy", plots.plot_means, one_world(runs)),
        ("contrasts", plots.plot_contrasts, one_world(claims)),
    ]:
        fig = draw(df).figure
        paths = plots.save(fig, name, tmp_path, df)
        again = plots.save(draw(df).figure, name, tmp_path / "again", df)
        assert [path.suffix for path in paths] == [".pdf", ".png", ".csv"]
        assert all(path.stat().st_size > 0 for path in paths)
        assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    plt.close("all")


def test_curves_draw_every_seed_and_one_mean(root):
    ax = plots.plot_curves(one_world(read_curves(root, **STUDY)))
    thin = [line for line in ax.lines if line.get_linewidth() < 1]
    assert len(thin) == 3 * len(SEEDS) and len(ax.lines) == len(thin) + 3
    assert [line.get_label() for line in ax.lines if line not in thin] == ["narrow", "medium", "broad"]
    plt.close("all")


def test_one_look_per_condition():
    looks = plots.looks(["zeta", "broad", "alpha", "warm_start", "narrow"])
    assert list(looks) == ["narrow", "broad", "alpha", "zeta", "warm_start"]
    assert {name: looks[name]["color"] for name in ("narrow", "broad")} == {
        name: plots.PALETTE[name] for name in ("narrow", "broad")
    }
    assert len({look["color"] for look in looks.values()}) == len({look["marker"] for look in looks.values()}) == 5
    with pytest.raises(ValueError, match="19 looks for 20 conditions"):
        plots.looks("abcdefghijklmnopqrst")


ALIKE = ("Dd", "v<>^", "PX+x", "hp8o", "*", "s", "1234")  # markers that are easily mixed up at a small size


def test_any_two_of_nineteen_conditions_can_be_told_apart_without_colour():
    shape = {marker: family for family in ALIKE for marker in family}
    for names in ([chr(97 + i) for i in range(19)], list(PLANTED["local_norms"])):
        looks = plots.looks([*names, "warm_start"]).values()
        assert len({look["marker"] for look in looks}) == len(looks)
        assert len({(look["linestyle"], shape[look["marker"]]) for look in looks}) == len(looks)


def test_the_mean_curves_bear_the_markers_of_their_conditions(root):
    ax = plots.plot_curves(one_world(read_curves(root, **STUDY)))
    means = [line for line in ax.lines if line.get_linewidth() >= 2]
    assert [line.get_marker() for line in means] == ["o", "s", "^"]
    assert len({line.get_markevery() for line in means}) > 1, "beside each other where curves meet"
    plt.close("all")


def test_figures_refuse_two_worlds_and_the_name_of_a_table(root, tmp_path):
    runs = read_runs(root, **STUDY)
    with pytest.raises(ValueError, match="one Axes shows one world"):
        plots.plot_means(runs)
    with pytest.raises(ValueError, match="'nowhere'"):
        plots.plot_means(runs, split="nowhere")
    with pytest.raises(ValueError, match="overwrite the table claims.csv"):
        plots.save(plt.figure(), "claims", tmp_path, runs)
    plt.close("all")


def test_conditions_whose_rewards_cannot_differ_are_refused(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, condition="narrow", seed=seed, rewards="verdict=1.0")
        write_run(tmp_path, condition="broad", seed=seed, rewards="verdict=3.0")
    with pytest.raises(ValueError, match="and .* cannot be compared: whatever the rewards, their advantages are"):
        tables.write_tables(tmp_path, tmp_path / "out", STUDY["axis"], "tiny_cpu")


def test_a_run_that_was_resumed_took_as_long_as_all_its_sittings(tmp_path):
    folder = write_run(tmp_path)
    steps = [{"step": step, "reward": 0.5, "step_time": 60.0} for step in range(1, 11)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in steps))
    path = folder / "manifest.json"
    for resumed_from, seconds in ((0, 100.0), (6, 100.0 + 6 * 60)):
        path.write_text(
            json.dumps(json.loads(path.read_text()) | {"wall_seconds": 100.0, "resumed_from": resumed_from})
        )
        assert read_provenance(tmp_path, **STUDY)["wall_seconds"].tolist() == [seconds]
