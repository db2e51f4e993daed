"""The analysis plan: what it refuses, what makes a claim exploratory, what is said of broken studies; the report.

Run: python -m pytest tests/test_claims_plan.py
"""

import dataclasses
import json
import re
import shutil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_claims import PLAN, STUDY, write_run

from studylib.axes import axis_names, read_axis
from studylib.claims import departures, items, plan, plots, plots_seeds, power, report, tables
from studylib.claims.statistics import t_interval
from studylib.evaluation.rates import wilson
from studylib.evaluation.table import read_answers, read_runs
from studylib.paths import FIGURES, PARAMS, ROOT

REPOSITORY, FILE = ROOT / "params", PARAMS / "inputs.yaml"
WOBBLE = [0.00, 0.02, -0.01, 0.01, -0.02]
EFFECT = {"narrow": 0.0, "medium": 0.1, "broad": 0.2}


@pytest.fixture
def root(tmp_path):
    """A study that kept to the plan of axis inputs: two worlds, three conditions, five seeds."""
    root = tmp_path / "runs"
    for world, scale in (("local_norms", 1), ("universal_norms", 0)):
        for place, (condition, effect) in enumerate(EFFECT.items()):
            for seed, own in enumerate(np.roll(WOBBLE, place)):
                write_run(root, world, condition, seed, 0.6 + scale * effect + own, 0.55 + WOBBLE[seed] / 2)
    return root


def made(root, out, **options) -> tuple[pd.DataFrame, list[str]]:
    """Claims and the notes beside them."""
    _, claims = tables.write_tables(root, out, **STUDY, **options)
    return claims, tables.read_table(out, "notes")["note"].tolist()


def edit(path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# --- the file ---


@pytest.mark.parametrize("axis", [axis for axis in axis_names(REPOSITORY) if plan.has_plan(axis, REPOSITORY)])
def test_every_plan_speaks_of_conditions_that_are_there(axis):
    fixed = plan.read_plan(axis, REPOSITORY)
    planned = set() if fixed.contrasts == "all" else set(fixed.contrasts.split())
    assert {*fixed.held_against, *planned} <= read_axis(axis, REPOSITORY).conditions.keys()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"margin": 0.0}, "margin = 0.0 is not allowed: between 0 and 1"),
        ({"margin": "0.1"}, "margin = '0.1' must be of type float"),
        ({"alpha": 0.7}, "alpha = 0.7"),
        ({"seeds": 1}, "at least 2, or there is no spread"),
        ({"seeds": True}, "seeds = True must be of type int"),
        ({"max_seeds": 9}, "as many as seeds with one look"),
        ({"looks": 2}, "more with more looks"),
        ({"family": "split"}, "'world endpoint' or 'world split endpoint'"),
        ({"primary_endpoint": "reward"}, "one of accuracy_sampled, accuracy_greedy"),
        ({"contrasts": "narrow"}, "other than the baseline"),
        ({"baseline": "warm_start"}, "the name of one condition"),
        ({"question": " "}, "question = ' ' is not allowed: not empty"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused_in_one_sentence(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAN, **change)


def test_the_file_is_checked_and_comments_do_not_change_the_hash(tmp_path):
    text = FILE.read_text()
    more = "settings: {lora_r: 8}\n# a remark\naxis: inputs\n" + text + "  wide: {n_domains: 11}\n"
    (tmp_path / "inputs.yaml").write_text(more)
    assert plan.read_plan("inputs", tmp_path).digest == PLAN.digest
    (tmp_path / "inputs.yaml").write_text(text.replace("margin: 0.10", "margin: 0.11"))
    assert plan.read_plan("inputs", tmp_path).digest != PLAN.digest
    for wrong, message in (
        ("marign: 1\n" + text, "unknown 'marign'; the names of a plan are axis, .*; did you mean margin"),
        ("steps: 60\n" + text, "unknown 'steps'; the names of a plan are axis"),
        (text.replace("baseline: narrow\n", ""), "no 'baseline'"),
        ("axis: objective\n" + text, "is the plan of axis 'objective'"),
    ):
        (tmp_path / "inputs.yaml").write_text(wrong)
        with pytest.raises(ValueError, match=message):
            plan.read_plan("inputs", tmp_path)


@pytest.mark.parametrize(
    "line, message",
    [
        ("alpha: 0.05\nalpha: 0.10", "inputs.yaml, line 2: key 'alpha' comes twice"),
        ("\talpha: 0.05", "inputs.yaml, line 1: .*cannot start any token"),
        ("seeds: 1:30", "inputs.yaml: plan: seeds = '1:30' must be of type int"),
        ("seeds: 5.0", "inputs.yaml: plan: seeds = 5.0 must be of type int"),
        ("margin: .nan", "inputs.yaml: plan: margin = nan is not allowed"),
        ("worlds: [local_norms]", "inputs.yaml: parameter 'worlds' is nested"),
    ],
)
def test_a_plan_that_reads_wrong_is_named_with_its_file(tmp_path, line, message):
    name = line.split(":")[0].strip()
    kept = [old for old in FILE.read_text().splitlines() if not old.startswith(f"{name}:")]
    (tmp_path / "inputs.yaml").write_text("\n".join([line, *kept]))
    with pytest.raises(ValueError, match=message):
        plan.read_plan("inputs", tmp_path)


def test_numbers_of_a_plan_are_read_as_they_are_written(tmp_path):
    text = FILE.read_text()
    text = text.replace("seeds: 5\n", "seeds: 010\n").replace("alpha: 0.05", "alpha: 5e-2")
    (tmp_path / "inputs.yaml").write_text(text)
    found = plan.read_plan("inputs", tmp_path)
    assert (found.seeds, found.max_seeds, found.alpha) == (10, 10, 0.05)


def test_the_plans_in_the_repository_have_the_hashes_of_the_finished_studies():
    hashes = {axis: plan.plan_digest(axis, REPOSITORY) for axis in axis_names(REPOSITORY)}
    assert hashes | {
        "inputs": "66317e5e1f84eeb6", "objective": "2ba05e7eb93f76ba", "rewards": "caea8c7604e88358",
        "paper": "b92a4986d45d0f68", "surface": "", "landscape": "13c12553b64afa3b", "controls": "c5ee4471536e95ae",
    } == hashes  # fmt: skip


def test_an_axis_without_a_plan(tmp_path):
    assert plan.plan_digest("surface", tmp_path) == ""
    with pytest.raises(ValueError, match="axis 'surface' has no analysis plan .*name a baseline to explore"):
        plan.choose_plan("surface", folder=tmp_path)
    explored = plan.choose_plan("surface", "yule", folder=tmp_path)
    assert explored.baseline == "yule" and not explored.is_planned("any world", "held_out", "accuracy_sampled")


# --- confirmatory or exploratory ---


def test_a_study_that_kept_to_its_plan_has_confirmatory_primary_claims_only(root, tmp_path):
    claims, notes = made(root, tmp_path)
    confirmed = claims[claims["status"] == "confirmatory"]
    assert notes == [] and set(claims["plan"]) == {PLAN.digest}
    assert set(confirmed["split"]) == {PLAN.primary_split} and set(confirmed["endpoint"]) == {PLAN.primary_endpoint}
    assert set(confirmed["contrast"]) == {"medium - narrow", "broad - narrow"} and len(confirmed) == 4
    pd.testing.assert_frame_equal(confirmed, tables.primary(claims, PLAN))
    stored = json.loads((root / "inputs/tiny_cpu/first_plan.json").read_text())
    assert stored["digest"] == PLAN.digest and stored["plan"]["margin"] == 0.1


def test_a_claim_made_after_the_plan_changed_is_exploratory(root, tmp_path, monkeypatch):
    made(root, tmp_path)
    folder = tmp_path / "params"
    folder.mkdir()
    text = FILE.read_text()
    (folder / "inputs.yaml").write_text(text.replace("margin: 0.10", "margin: 0.30"))
    changed = plan.read_plan("inputs", folder)
    monkeypatch.setattr(plan, "choose_plan", lambda *given: changed)
    monkeypatch.setattr(plan, "plan_digest", lambda axis: changed.digest)
    claims, notes = made(root, tmp_path)
    assert set(claims["status"]) == {"exploratory"} and set(claims["plan"]) == {changed.digest}
    assert notes[0] == f"The first comparison was made under plan {PLAN.digest}, this one is {changed.digest}."
    assert notes[1].startswith(f"30 of 30 runs were made under plan {PLAN.digest}, not {changed.digest}; the first is")


def test_another_baseline_or_margin_explores_and_is_never_stored_as_the_plan(root, tmp_path):
    claims, notes = made(root, tmp_path, baseline="medium", margin=0.2)
    assert set(claims["status"]) == {"exploratory"} and "broad - medium" in set(claims["contrast"])
    assert notes[0].startswith("The first comparison was made under plan (none)")
    assert not list(root.rglob("first_plan.json"))
    assert made(root, tmp_path)[1] == [], "the planned comparison is still to be made"


def test_runs_of_another_plan_and_of_none(root, tmp_path):
    edit(root / "inputs/tiny_cpu/local_norms/broad/seed0/manifest.json", plan="0123456789abcdef")
    edit(root / "inputs/tiny_cpu/local_norms/broad/seed1/manifest.json", plan=None)
    claims, notes = made(root, tmp_path)
    assert set(claims["status"]) == {"exploratory"}
    assert notes == [
        f"1 of 30 runs were made under no plan, not {PLAN.digest}; the first is world local_norms, "
        "condition broad, seed 1.",
        f"1 of 30 runs were made under plan 0123456789abcdef, not {PLAN.digest}; the first is world local_norms, "
        "condition broad, seed 0.",
    ]  # fmt: skip


def test_runs_of_another_profile_are_left_out_by_name_and_the_study_keeps_to_its_plan(root, tmp_path):
    shutil.copytree(root / "inputs/tiny_cpu", root / "inputs/colab_t4", ignore=lambda *_: ["universal_norms"])
    for path in (root / "inputs/colab_t4").rglob("config.json"):
        edit(path, profile="colab_t4")
    claims, notes = made(root, tmp_path)
    assert notes == ["15 runs of profile colab_t4 are left out: this comparison is of tiny_cpu."]
    assert "confirmatory" in set(claims["status"]) and set(claims["n"]) == {5}


def test_seeds_worlds_and_contrasts_that_were_not_planned(root, tmp_path):
    for condition in EFFECT:
        write_run(root, "local_norms", condition, 5, 0.7)
    claims, notes = made(root, tmp_path)
    assert notes == ["The plan fixes the seeds 0..4; broad in local_norms has 0, 1, 2, 3, 4, 5."]
    assert set(claims["status"]) == {"exploratory"}
    shutil.rmtree(root / "inputs/tiny_cpu/universal_norms")
    assert "there are no runs of universal_norms." in made(root, tmp_path)[1][0]
    partial = dataclasses.replace(PLAN, contrasts="broad")
    claims = tables.primary(tables.claims(read_runs(root, **STUDY), partial), partial).set_index("contrast")["status"]
    assert claims.to_dict() == {"broad - narrow": "confirmatory", "medium - narrow": "exploratory"}


def test_a_sequential_plan_takes_each_of_its_looks_at_a_smaller_alpha(root):
    looks = dataclasses.replace(PLAN, worlds="local_norms", seeds=5, max_seeds=10, looks=2)
    seeds = pd.DataFrame({"world": "local_norms", "condition": ["narrow", "broad"] * 10, "seed": np.arange(20) // 2})
    provenance = seeds.assign(plan=looks.digest)
    runs = seeds.assign(split=looks.primary_split, endpoint=looks.primary_endpoint)
    first = [{"digest": looks.digest, "conditions": ["narrow", "broad"]}]
    for rows, notes in ((10, 0), (20, 0), (14, 1), (15, 1)):
        found = departures.departures(looks, provenance.head(rows), runs.head(rows), seeds.head(rows), first, True)
        assert len(found) == notes
    one, two = (tables.claims(read_runs(root, **STUDY), p).iloc[0] for p in (PLAN, looks))
    assert two["high"] - two["low"] > one["high"] - one["low"] and two["p"] == one["p"]
    assert two["high90"] == pytest.approx(one["high"]), "1 - 2 alpha / 2 is 95 %"


# --- broken studies: one sentence each ---


def test_a_missing_seed(root, tmp_path):
    shutil.rmtree(root / "inputs/tiny_cpu/local_norms/broad/seed3")
    with pytest.raises(ValueError, match=r"broad - narrow in local_norms, .*: the treatment lacks the seeds \[3\]"):
        made(root, tmp_path)


def test_duplicated_rows(root):
    runs = read_runs(root, **STUDY)
    with pytest.raises(ValueError, match=r"in local_norms, held_out: seeds more than once: \[0\]"):
        tables.claims(pd.concat([runs, runs.head(1)]), PLAN)
    path = root / "inputs/tiny_cpu/local_norms/broad/seed3/responses.parquet"
    answers = pd.read_parquet(path)
    pd.concat([answers, answers.tail(2)]).to_parquet(path)
    with pytest.raises(
        ValueError, match="seed3/responses.parquet: 2 answers are there twice; the first is held_out_styles"
    ):
        read_answers(root, **STUDY)


def test_verdicts_and_scores_that_are_no_numbers_and_answers_that_are_missing(root, tmp_path):
    folder = root / "inputs/tiny_cpu/local_norms/broad/seed3"
    answers = pd.read_parquet(folder / "responses.parquet")
    answers.assign(verdict=answers["verdict"].where(answers["k"] != 2)).to_parquet(folder / "responses.parquet")
    with pytest.raises(ValueError, match="30 answers are neither correct nor wrong"):
        read_answers(root, **STUDY)
    (folder / "responses.parquet").unlink()
    with pytest.raises(ValueError, match=r"seed3/responses.parquet is missing; delete the folder"):
        read_answers(root, **STUDY)
    summary = json.loads((folder / "summary.json").read_text())
    del summary["splits"]["held_out"]["after"]["accuracy_sampled"]
    edit(folder / "summary.json", **summary)
    with pytest.raises(ValueError, match="seed3: accuracy_sampled after training on held_out is missing; delete"):
        made(root, tmp_path)


def test_a_study_with_one_condition_and_one_with_one_seed(root, tmp_path):
    for condition in ("medium", "broad"):
        for world in PLAN.worlds.split():
            shutil.rmtree(root / f"inputs/tiny_cpu/{world}/{condition}")
    claims, notes = made(root, tmp_path)
    assert notes == ["There is one condition only, narrow: nothing to compare it with."]
    assert set(claims["contrast"]) == {"narrow - warm_start"}
    one = tables.claims(read_runs(root, **STUDY).query("seed == 0"), PLAN)
    assert set(one["decision"]) == {"not estimable"} and one[["p", "hedges_g", "bf10", "p_signflip"]].isna().all(
        axis=None
    )


# --- single answers ---


def scored(answers: pd.DataFrame) -> pd.DataFrame:
    """The same answers with a rubric's score beside: a quarter where right, else -0.5; one has none."""
    score = answers["correct" if "correct" in answers else "verdict"].map({1.0: 0.25, 0.0: -0.5})
    return answers.assign(score=score.where(answers.index != answers.index[-1]))


@pytest.mark.parametrize("how, greedy", [("sampled", False), ("greedy", True)])
@pytest.mark.parametrize("kind, scale", [("accuracy", 1), ("score", 0.75)])
def test_the_item_level_takes_the_answers_and_the_outcome_of_the_endpoint(root, how, greedy, kind, scale):
    answers = scored(read_answers(root, **STUDY))
    found = items.item_table(answers, dataclasses.replace(PLAN, primary_endpoint=f"{kind}_{how}"))
    cell = answers[((answers["k"] == 0) == greedy) & (answers["split"] == PLAN.primary_split)]
    arms = cell.query("world == 'local_norms'").groupby("condition")["correct"].mean()
    row = found.query("world == 'local_norms' and contrast == 'broad - narrow'").iloc[0]
    assert row["difference"] == pytest.approx(scale * (arms["broad"] - arms["narrow"]))
    assert row["answers"] == 2 * 5 * 10 * (1 if greedy else 4)


def test_the_item_level_is_at_the_alpha_of_one_look(root):
    answers = read_answers(root, **STUDY)
    one, two = (
        items.item_table(answers, dataclasses.replace(PLAN, **looks)).iloc[0]
        for looks in ({}, {"seeds": 5, "max_seeds": 10, "looks": 2})
    )
    half = stats.t.isf(0.05 / 2 / 2, 5 - 1) * two["se"]
    assert two["high"] - two["difference"] == pytest.approx(half) and two["high"] > one["high"]


def test_rates_of_single_runs_by_hand():
    table = pd.DataFrame(
        {"world": "w", "condition": "c", "seed": 0, "split": "held_out", "k": 0, "correct": [1.0] * 30}
    )
    row = items.rates(table, "held_out").iloc[0]
    assert (row["rate"], row["low"], row["high"], row["interval"]) == (1.0, *wilson(30, 30), "Wilson")
    graded = table.assign(correct=np.where(table.index % 3, 0.9, 0.95))  # their sum, 27.5, is no count of right answers
    row = items.rates(graded, "held_out").iloc[0]
    assert (row["rate"], row["low"], row["high"]) == t_interval(graded["correct"]) and row["interval"] == "t"


def test_open_responses_are_scored_and_what_the_grader_left_out_is_left_out(root):
    for path in root.rglob("responses.parquet"):
        scored(pd.read_parquet(path)).assign(verdict=np.nan).to_parquet(path)
    answers = read_answers(root, **STUDY)
    assert set(answers["correct"].dropna()) == {0.25, -0.5} and answers["correct"].isna().sum() == 30
    found = items.item_table(answers, dataclasses.replace(PLAN, primary_endpoint="score_greedy"))
    assert len(found) == 4 and found["difference"].notna().all()


# --- figures and the report ---


@pytest.mark.parametrize("endpoint, share", [("accuracy_sampled", True), ("score_sampled", False)])
def test_a_rubric_score_is_no_share_and_has_no_chance_level(root, endpoint, share):
    runs = one_world(read_runs(root, **STUDY)).query("endpoint == 'accuracy_sampled'").assign(endpoint=endpoint)
    runs["after"] -= 0 if share else 0.8  # scores may be below 0, and so may their density
    diverse = items.diversity_table(one_world(read_answers(root, **STUDY)), PLAN.primary_split, budget=100)
    means = plots.plot_means(runs, endpoint=endpoint)
    clouds = plots_seeds.plot_seeds(runs, endpoint=endpoint)
    front = plots_seeds.plot_pareto(diverse, endpoint=endpoint)
    labels = means.get_ylabel(), clouds.get_xlabel(), front.get_xlabel()
    assert [("(share right)" in text, "score" in text) for text in labels] == [(share, not share)] * 3
    assert any("chance" in text.get_text() for text in means.get_legend().get_texts()) == share
    assert (min(cloud.get_datalim(clouds.transData).x0 for cloud in clouds.collections[:1]) >= 0) == share
    plt.close("all")


def test_claims_are_read_with_both_intervals_and_the_smallest_p_of_so_many_seeds(root):
    claims = tables.primary(tables.claims(read_runs(root, **STUDY), PLAN), PLAN)
    shown, first = tables.readable(claims, PLAN).iloc[0], claims.iloc[0]
    assert shown["95 % interval"] == f"[{first['low']:+.3f}, {first['high']:+.3f}]"
    assert shown["90 % interval"] == f"[{first['low90']:+.3f}, {first['high90']:+.3f}]"
    assert shown["p_signflip (smallest)"] == f"{first['p_signflip']:.3f} (0.062)" and first["p_signflip_min"] == 0.0625
    looks = dataclasses.replace(PLAN, seeds=5, max_seeds=10, looks=2)
    assert {"97.5 % interval", "95 % interval"} <= set(tables.readable(claims, looks))
    nothing = claims.assign(low=np.nan, high=np.nan, low90=np.nan, high90=np.nan, p_signflip=np.nan)
    assert set(tables.readable(nothing, PLAN)["90 % interval"]) == {"not estimable"}
    assert set(tables.readable(nothing, PLAN)["p_signflip (smallest)"]) == {"not estimable"}


def test_the_bootstrap_of_few_runs_is_shown_with_a_warning(root, tmp_path):
    tables.write_tables(root, tmp_path, **STUDY)
    few = items.iqm_table(read_runs(root, **STUDY), PLAN.primary_endpoint)
    for seeds, warned in ((5, True), (9, True), (10, False)):
        few.assign(seeds=seeds).to_csv(tmp_path / "iqm.csv", index=False)
        page = report.write_report("inputs", tmp_path, tmp_path / "none.csv").read_text()
        assert ("These intervals are too narrow" in page) == warned == bool(items.iqm_warning(few.assign(seeds=seeds)))


def one_world(table):
    return table[table["world"] == "local_norms"]


def test_figures_of_seeds_draw_every_seed(root):
    runs, answers = read_runs(root, **STUDY), read_answers(root, **STUDY)
    diverse = items.diversity_table(answers, PLAN.primary_split, budget=100)
    ax = plots_seeds.plot_seeds(one_world(runs))
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_alpha() == 0.5) == 15
    assert len(ax.collections) > 3, "five seeds have a density"
    ax = plots_seeds.plot_pareto(one_world(diverse))
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_alpha() == 0.35) == 15
    ax = plots_seeds.plot_ranks(one_world(runs))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["broad", "medium", "narrow"]
    assert "Kendall's W = 1.00" in ax.get_title()
    plots_seeds.plot_power(one_world(power.power_table(runs, PLAN)))
    plt.close("all")


def test_the_front_is_what_no_other_condition_beats():
    means = pd.DataFrame({"q": [0.5, 0.7, 0.6, 0.9], "d": [0.9, 0.6, 0.5, 0.6]}, index=list("abcd"))
    assert list(plots_seeds.pareto_front(means, "q", "d").index) == ["a", "d"]


def test_too_few_right_answers_for_the_budget_are_named_not_drawn(root):
    diverse = items.diversity_table(read_answers(root, **STUDY), PLAN.primary_split, budget=100)
    diverse.loc[(diverse["condition"] == "broad") & (diverse["seed"] == 2), "distinct_n"] = np.nan
    ax = plots_seeds.plot_pareto(one_world(diverse))
    assert "not estimable: broad" in ax.get_xlabel()
    plt.close("all")


def test_a_forest_of_many_contrasts_grows(root):
    claims = one_world(tables.claims(read_runs(root, **STUDY), PLAN))
    many = claims.loc[np.repeat(claims.index, 6)]
    few, tall = (plots.plot_contrasts(table).figure.get_size_inches()[1] for table in (claims, many))
    assert tall > few and tall == plots.forest_height(30)
    plt.close("all")


def test_the_report_is_one_file_that_opens_without_a_network(root, tmp_path):
    out = tmp_path / "out"
    tables.write_tables(root, out, **STUDY)
    runs = read_runs(root, **STUDY)
    plots.save(plots.plot_means(one_world(runs)).figure, "accuracy", out, runs)
    pd.DataFrame({"paper": ["A & B <1>"], "value": [0.5]}).to_csv(out / "published.csv", index=False)
    page = report.write_report("inputs", out, tmp_path / "none.csv").read_text()
    assert not re.findall(r"(?:src|href)\s*=\s*(?![\"']?data:)|@import|url\(", page)
    assert PLAN.question in page and PLAN.digest in page and "data:image/png;base64," in page
    assert "4 claims are confirmatory, as planned; the other 56 are exploratory." in page
    assert "<th>90 % interval</th>" in page and "<th>p_signflip (smallest)</th>" in page and "(0.062)</td>" in page
    assert "broad - narrow = +0.200" in page and "A &amp; B &lt;1&gt;" in page and "local_norms/broad/seed0" in page
    plt.close("all")


def test_the_report_leaves_out_a_table_without_rows(root, tmp_path):
    """As of a study with one condition."""
    for world in PLAN.worlds.split():
        for condition in ("medium", "broad"):
            shutil.rmtree(root / f"inputs/tiny_cpu/{world}/{condition}")
    tables.write_tables(root, tmp_path, **STUDY)
    items.item_table(read_answers(root, **STUDY), PLAN).to_csv(tmp_path / "items.csv", index=False)
    page = report.write_report("inputs", tmp_path, tmp_path / "none.csv").read_text()
    assert "Item level" not in page and "There is one condition only, narrow: nothing to compare it with." in page


def test_the_report_of_the_committed_tables_and_of_none(tmp_path):
    page = report.report(FIGURES / "inputs", PLAN)
    assert page.count("data:image/png") >= 3 and "broad - narrow" in page
    with pytest.raises(ValueError, match="no means.csv in .*make study AXIS=inputs"):
        report.write_report("inputs", tmp_path)
