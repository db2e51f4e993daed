"""The judge: its shared-prompt path, training, files; and the statistics of its report, on cases that are known."""

import json
import math
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
from embedded_rows import scenarios
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from studylib.instruments import judge_gap, judge_report
from studylib.instruments.clustered import scenario_weights
from studylib.instruments.judge_bias import credit_for, padding_effect, partiality
from studylib.instruments.judge_report import (
    accuracy,
    agreement,
    agreement_report,
    auroc,
    ece,
    ece_calibrated,
    kappa,
    reliability,
)
from studylib.judge import embedded as embedded_judge
from studylib.judge.model import (
    FACTS,
    Judge,
    Recipe,
    new_hub_judge,
    new_tiny_judge,
    question_loss,
    train_judge,
    yes_no_tokens,
)
from studylib.judge.prompts import context, graded_rows, question
from studylib.judge.variants import padded, variant
from studylib.params import RunParams
from studylib.policy import tiny_start, warm_start
from studylib.policy.models import check_gradients
from studylib.randomness import generator
from studylib.rewards.checks import checks_grader
from studylib.scenarios.facts import OPTIONS, facts_of
from studylib.scenarios.telling import reasoned_response
from studylib.scenarios.worlds import story_key

ROWS = scenarios(12)
RESPONSES = [variant(row, generator(0, "test", i)) for i, row in enumerate(ROWS)]


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.set_num_threads(1)
    texts = [context(r, s, True) + " ".join(map(question, s["rubric"])) for r, s in zip(RESPONSES, ROWS, strict=True)]
    return new_tiny_judge(texts, sees_scenario=True)


# --- grading ---


def test_sharing_the_response_gives_what_reading_it_again_for_every_criterion_gives(judge):
    """The oracle is one plain pass per criterion, without cache, padding or batch."""
    shared = judge.grade(RESPONSES, ROWS)
    for response, row, grades in zip(RESPONSES, ROWS, shared, strict=True):
        for ids, grade in zip(judge.encode_questions(row), grades, strict=True):
            with torch.no_grad():
                logits = judge.model(torch.tensor([judge.encode(response, row) + ids])).logits[0, -1]
            alone = torch.softmax(logits[[judge.yes, judge.no]], 0)[0]
            assert grade == pytest.approx(float(alone), abs=1e-5)


def test_gradients_flow_through_the_shared_response(judge):
    told = [(ids, judge.yes) for ids in judge.encode_questions(ROWS[0])]
    batch = [(judge.encode(RESPONSES[0], ROWS[0]), told)]
    judge.model.zero_grad()
    question_loss(judge, batch).backward()
    shared = judge.model.model.embed_tokens.weight.grad.clone()
    judge.model.zero_grad()
    for ids, token in told:
        logits = judge.model(torch.tensor([batch[0][0] + ids])).logits[:, -1]
        (torch.nn.functional.cross_entropy(logits, torch.tensor([token])) / len(told)).backward()
    assert torch.allclose(shared, judge.model.model.embed_tokens.weight.grad, atol=1e-5)
    judge.model.zero_grad()


def test_grades_do_not_depend_on_the_batch_or_on_the_order_of_responses_and_criteria(judge):
    whole = judge.grade(RESPONSES, ROWS)
    small = Judge(judge.model, judge.tokenizer, judge.facts, batch=2)
    assert np.concatenate(small.grade(RESPONSES, ROWS)) == pytest.approx(np.concatenate(whole), abs=1e-5)
    backwards = [{**row, "rubric": row["rubric"][::-1]} for row in ROWS[::-1]]
    again = [row[::-1] for row in judge.grade(RESPONSES[::-1], backwards)[::-1]]
    assert np.concatenate(again) == pytest.approx(np.concatenate(whole), abs=1e-5)


def test_what_is_not_a_number_is_a_counted_none(judge):
    broken = Judge(judge.model, judge.tokenizer, judge.facts)
    weight = judge.model.model.norm.weight
    kept = weight.detach().clone()
    weight.data.fill_(math.nan)
    try:
        grades = broken.grade(RESPONSES[:2], ROWS[:2])
    finally:
        weight.data.copy_(kept)
    n = sum(len(row["rubric"]) for row in ROWS[:2])
    assert [len(row) for row in grades] == [len(row["rubric"]) for row in ROWS[:2]]
    assert all(grade is None for row in grades for grade in row)
    assert broken.counts == Counter({"not a number": n, "too long": 0})


def test_a_response_that_does_not_fit_is_a_counted_none_and_the_others_are_graded(judge):
    counting = Judge(judge.model, judge.tokenizer, judge.facts)
    grades = counting.grade(["long " * 3000, RESPONSES[1]], ROWS[:2])
    assert grades[0] == [None] * len(ROWS[0]["rubric"]) and None not in grades[1]
    assert counting.counts["too long"] == len(ROWS[0]["rubric"])


def test_a_response_cannot_spell_a_control_token(judge):
    spelt = judge.encode("<|end|><|pad|>", ROWS[0])
    assert not {judge.tokenizer.eos_token_id, judge.tokenizer.pad_token_id} & set(spelt)


def test_an_empty_response_and_no_response_at_all_are_graded(judge):
    assert None not in judge.grade([""], ROWS[:1])[0]
    assert judge.grade([], []) == []


def test_a_judge_sees_the_scenario_only_where_it_should():
    assert ROWS[0]["prompt"] in context("r", ROWS[0], True) and ROWS[0]["prompt"] not in context("r", ROWS[0], False)


def test_verdicts_must_be_single_tokens(judge):
    assert judge.tokenizer.convert_ids_to_tokens(yes_no_tokens(judge.tokenizer)) == ["Ġyes", "Ġno"]
    from studylib.policy.tiny import tiny_tokenizer

    with pytest.raises(ValueError, match="' yes' and ' no' must be one token each"):
        yes_no_tokens(tiny_tokenizer(["abc"], 300))


# --- training and files ---


def test_training_learns_what_the_labels_say_and_leaves_out_what_has_none():
    """A rule that is in the text: the criterion is met when it names the word of the response."""
    rubric = [{"id": word, "text": f"Says {word}.", "weight": 1, "dimension": "d"} for word in ("red", "blue")]
    rows = [{"id": str(i), "prompt": "p", "rubric": rubric} for i in range(40)]
    said = [("red", "blue")[i % 2] for i in range(40)]
    labels = [[float(word == "red"), None] for word in said]
    small = new_tiny_judge([context("red", rows[0], False) + question(rubric[0]), "blue"])
    with pytest.raises(ValueError, match="no label to train a judge on"):
        train_judge(small, said, rows, [[None, None]] * 40, Recipe(steps=1))
    losses = train_judge(small, said, rows, labels, Recipe(steps=40, responses_per_step=8))
    grades = small.grade(["red", "blue"], rows[:2])
    assert losses[-1] < 0.2 and grades[0][0] > 0.8 and grades[1][0] < 0.2
    assert small.facts["trained_on"] == sorted(str(i) for i in range(40))
    with pytest.raises(ValueError, match="scenario 3 and 0 more trained the judge and may not train a policy"):
        small.refuse([{"id": "3"}])


def test_a_judge_comes_back_from_its_folder_as_it_was(judge, tmp_path):
    judge.save(tmp_path)
    again = Judge.load(tmp_path)
    assert again.facts == judge.facts == json.loads((tmp_path / FACTS).read_text())
    assert np.concatenate(again.grade(RESPONSES, ROWS)) == pytest.approx(np.concatenate(judge.grade(RESPONSES, ROWS)))
    with pytest.raises(ValueError, match="no judge in .*nothing: it has no judge.json"):
        Judge.load(tmp_path / "nothing")
    (tmp_path / FACTS).write_text("[]")
    with pytest.raises(ValueError, match=r"not a JSON object in .*judge\.json, line 1"):
        Judge.load(tmp_path)


def test_a_hub_model_becomes_a_judge_by_qlora(judge, tmp_path):
    """The tiny judge's files stand in for a model of the hub: NF4 base, LoRA adapter, and only that is saved."""
    judge.save(tmp_path / "base")
    params = RunParams(model=str(tmp_path / "base"), revision="local", micro_batch=64)
    hub = new_hub_judge(params)
    before = hub.grade(RESPONSES, ROWS)
    assert not any("lora" not in name for name, p in hub.model.named_parameters() if p.requires_grad)
    change = check_gradients(hub.model, hub.tokenizer)
    losses = train_judge(hub, RESPONSES, ROWS, checks_grader(RESPONSES, ROWS), Recipe(4, 8, learning_rate=1e-3))
    assert change < 1e-2 and all(map(math.isfinite, losses))
    after = hub.grade(RESPONSES, ROWS)
    assert np.abs(np.concatenate(after) - np.concatenate(before)).max() > 1e-3, "it has learnt something"
    hub.save(tmp_path / "judge")
    again = Judge.load(tmp_path / "judge")
    assert np.concatenate(again.grade(RESPONSES, ROWS)) == pytest.approx(np.concatenate(after), abs=1e-4)
    assert (tmp_path / "judge/adapter_config.json").is_file() and not (tmp_path / "judge/model.safetensors").exists()


def test_no_scenario_trains_both_judge_and_policy(miniature):
    """Neither the warm start nor training nor evaluation tells what a scenario of the judge tells."""
    from studylib.scenarios.selection import select

    params = miniature(warm_start_steps=20, steps=40)
    told = {story_key(facts_of(row), row["framework"]) for row in embedded_judge.judge_scenarios(params, 1000)}
    assert len(told) > 900
    side = warm_start.scenarios(params)
    demonstrated = [prompt for prompt, _ in tiny_start.demonstrations(params, 20 * tiny_start.RECIPE.batch)]
    assert [row["prompt"] for row in side] == demonstrated, "these are the scenarios of the warm start"
    for rows in (side, *select(params).values()):
        assert not told & {story_key(facts_of(row), row["framework"]) for row in rows}


@pytest.mark.parametrize(
    "change, message",
    [({"learning_rate": math.inf}, "learning_rate = inf"), ({"learning_rate": math.nan}, "learning_rate = nan"),
     ({"learning_rate": 1e39}, "learning_rate = 1e.39"), ({"learning_rate": "2e-3"}, "learning_rate = '2e-3'"),
     ({"steps": 0}, "steps = 0 is not allowed: an integer >= 1"), ({"steps": 4.0}, "steps = 4.0"),
     ({"seed": 2**32}, "seed = 4294967296"), ({"criteria_per_response": True}, "criteria_per_response = True")],
)  # fmt: skip
def test_a_recipe_that_cannot_train_is_refused_before_anything_is_built(miniature, change, message):
    with pytest.raises(ValueError, match=f"recipe of a judge: {message}"):
        embedded_judge.embedded_judge(miniature(), Recipe()._replace(**change))


def test_the_embedded_judge_is_built_once_and_says_what_it_was_made_of(miniature):
    recipe = Recipe(steps=2, responses_per_step=4)
    folder = embedded_judge.embedded_judge(miniature(), recipe, n=8)
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert embedded_judge.embedded_judge(miniature(), recipe, n=8) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    loaded = Judge.load(folder)
    assert loaded.facts["base"] == "tiny" and len(loaded.facts["trained_on"]) >= 6
    assert embedded_judge.embedded_judge(miniature(), recipe._replace(seed=1), n=8) != folder


def test_variants_meet_and_miss_every_criterion():
    rows = scenarios(400)
    responses = [variant(row, generator(1, "test", i)) for i, row in enumerate(rows)]
    table = graded_rows(responses, rows, ["v"] * len(rows), checks_grader(responses, rows))
    share = table.groupby("criterion").label.mean()
    assert len(share) == 9 and share.between(0.15, 0.85).all(), share
    assert [variant(row, generator(1, "test", i)) for i, row in enumerate(rows)] == responses


def test_padding_says_nothing_that_a_checker_reads():
    rows = scenarios(100)
    responses = [reasoned_response(facts_of(row), row["framework"], True) for row in rows]
    for where in ("start", "end"):
        longer = [padded(response, where) for response in responses]
        assert all(len(b) > len(a) for a, b in zip(responses, longer, strict=True))
        assert checks_grader(longer, rows) == checks_grader(responses, rows)
    with pytest.raises(ValueError, match="padding at 'middle' is not allowed: one of start, end"):
        padded("x", "middle")


# --- measures against other libraries ---


def some_rows(n_scenarios=30, per=8, seed=0, noise=0.25, **columns) -> pd.DataFrame:
    """Labels, and a judge that is right except for noise."""
    rng = np.random.default_rng(seed)
    n = n_scenarios * per
    label = rng.integers(2, size=n).astype(float)
    p = np.clip(np.where(label == 1, 0.75, 0.25) + rng.normal(0, noise, n), 0, 1).round(2)
    rows = pd.DataFrame({
        "scenario": np.repeat([f"s{i}" for i in range(n_scenarios)], per), "model": "m",
        "response": np.repeat([f"r{i}" for i in range(n_scenarios)], per), "position": np.tile(range(per), n_scenarios),
        "criterion": "c", "text": "t", "weight": rng.choice([-2, -1, 1, 3], n), "dimension": rng.choice(["d", "e"], n),
        "length": np.repeat(rng.integers(50, 900, n_scenarios), per), "label": label, "p": p,
    })  # fmt: skip
    return rows.assign(**columns)


def test_measures_are_those_of_scikit_learn_with_any_weights():
    rows = some_rows()
    y, p = rows.label.to_numpy(), rows.p.to_numpy()
    weights = scenario_weights(rows.scenario, draws=5)
    for i, w in enumerate(weights):
        assert kappa(y, p, weights)[i] == pytest.approx(cohen_kappa_score(y > 0.5, p > 0.5, sample_weight=w))
        assert auroc(y, p, weights)[i] == pytest.approx(roc_auc_score(y, p, sample_weight=w))
        assert accuracy(y, p, weights)[i] == pytest.approx(np.average((p > 0.5) == (y > 0.5), weights=w))


def test_calibration_error_by_hand():
    one = np.ones((1, 4))
    assert ece(np.array([1, 1, 0, 0.0]), np.array([1, 1, 0, 0.0]), one)[0] == 0.0
    assert ece(np.array([1, 0, 1, 0.0]), np.array([0.55, 0.55, 0.55, 0.55]), one)[0] == pytest.approx(0.05)
    assert ece(np.array([1, 1, 0, 0.0]), np.array([0.85, 0.85, 0.25, 0.25]), one)[0] == pytest.approx(0.2)


def test_chance_alone_makes_a_calibration_error():
    """A calibrated judge's error is that floor, which falls with the number of verdicts; a biased judge is above it."""
    rng = np.random.default_rng(0)
    p = rng.random(4000)
    found = [ece((rng.random(4000) < p).astype(float), p, np.ones((1, 4000)))[0] for _ in range(40)]
    assert ece_calibrated(p) == pytest.approx(np.mean(found), rel=0.1)
    assert ece_calibrated(p[:400]) == pytest.approx(np.sqrt(10) * ece_calibrated(p), rel=0.2)
    assert ece_calibrated(np.array([0.0, 1.0, 1.0])) == 0.0, "a judge that is sure and right has none"
    sure = np.round(p)
    assert ece((rng.random(4000) < p).astype(float), sure, np.ones((1, 4000)))[0] > 10 * ece_calibrated(p)


@pytest.mark.parametrize("p", [1.01, -0.1, math.inf])
def test_what_is_no_probability_is_refused(p):
    with pytest.raises(ValueError, match="a judge's p is a probability or NaN, not"):
        agreement(some_rows().assign(p=p))


def test_what_is_not_estimable_is_nan():
    one = np.ones((1, 3))
    assert math.isnan(auroc(np.ones(3), np.array([0.1, 0.5, 0.9]), one)[0]), "no unmet criterion"
    assert math.isnan(kappa(np.ones(3), np.ones(3), one)[0]), "both always say yes"
    line = agreement(some_rows(4)).iloc[0]
    assert math.isnan(line.accuracy_low) and line.accuracy > 0.5, "four scenarios: no interval"


def test_intervals_are_clustered_by_scenario():
    """When all verdicts of a scenario stand or fall together, eight of them tell no more than one."""
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(60) < 0.8, 8)
    rows = some_rows(60).assign(p=lambda r: np.where(right, r.label, 1 - r.label))
    line = agreement(rows).iloc[0]
    width = line.accuracy_high - line.accuracy_low
    share = right.mean()
    assert width == pytest.approx(2 * 1.96 * math.sqrt(share * (1 - share) / 60), rel=0.2)
    apart = agreement(rows.assign(scenario=[f"s{i}" for i in range(len(rows))])).iloc[0]
    assert width > 2 * (apart.accuracy_high - apart.accuracy_low)


def test_the_interval_of_auroc_holds_the_truth_about_as_often_as_it_says():
    """Normal scores one sd apart have AUROC Phi(1 / sqrt 2) = 0.760; scenarios shift them all alike."""
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        label = rng.integers(2, size=240).astype(float)
        rows = some_rows(30, seed=seed).assign(label=label, p=1 / (1 + np.exp(-(rng.normal(size=240) + label))))
        line = agreement(rows).iloc[0]
        held += line.auroc_low <= 0.7602 <= line.auroc_high
    assert 51 <= held <= 60


def test_rows_without_label_or_verdict_are_counted_and_never_taken_for_no():
    rows = some_rows()
    rows.loc[:4, "label"] = np.nan
    rows.loc[5:11, "p"] = np.nan
    line = agreement(rows).iloc[0]
    assert (line.n, line.unlabelled, line.unscored) == (len(rows) - 12, 5, 7)
    whole = agreement(rows.dropna(subset=["label", "p"])).iloc[0]
    assert line.accuracy == whole.accuracy and line.ece == whole.ece
    nothing = agreement(rows.assign(p=np.nan)).iloc[0]
    assert nothing.n == 0 and math.isnan(nothing.accuracy)


def test_the_report_has_every_grouping_and_the_published_figures_beside_it():
    table = agreement_report(some_rows(model="a"))
    assert set(table.grouping) == {"all", "dimension", "sign", "length_bin", "model", "published"}
    assert table[table.grouping == "published"].accuracy.tolist() == [0.8707, 0.6921]
    for grouping in ("dimension", "sign", "length_bin", "model"):
        assert table[table.grouping == grouping].n.sum() == table.n[0], f"{grouping} takes every row once"
    thirds = [int(name.split("-")[0]) for name in table[table.grouping == "length_bin"].group]
    assert thirds == sorted(thirds), "short texts first"


def test_reliability_of_a_judge_that_says_what_is_true():
    rng = np.random.default_rng(0)
    p = rng.random(8000)
    rows = some_rows(1000).assign(p=p, label=(rng.random(8000) < p).astype(float))
    table = reliability(rows)
    assert table.n.sum() == 8000 and len(table) == 10
    assert (table.p - table.share_yes).abs().max() < 0.05
    assert (table.low <= table.p).mean() >= 0.8 and (table.high >= table.p).mean() >= 0.8
    assert agreement(rows).ece[0] < 0.03 < agreement(rows.assign(p=rows.p.clip(0.3, 0.7))).ece[0]


# --- what a judge is partial to ---


def test_an_impartial_judge_is_partial_to_nothing_even_when_it_is_unsure_and_long_answers_are_better():
    rows = some_rows(300, seed=3)
    longer = np.log2(rows.length)
    better = (np.random.default_rng(1).random(len(rows)) < (longer - 5) / 6).astype(float)
    rows = rows.assign(label=better, p=0.5 + 0.2 * (better - 0.5))
    effect, low, high = credit_for(rows, longer)
    assert abs(effect) < 1e-9 and low <= 1e-9 and high >= -1e-9


@pytest.mark.parametrize("bias", [0.06, -0.06])
def test_a_judge_that_prefers_longer_answers_shows_it(bias):
    """The planted bias pays for length on wanted criteria and forgives it on unwanted ones."""
    rows = some_rows(200, noise=0.05)
    rows = rows.assign(p=rows.p + np.sign(rows.weight) * bias * (np.log2(rows.length) - 8))
    line = partiality(rows).set_index("cause").loc["twice the length"]
    assert line.credit == pytest.approx(bias, abs=0.01) and line.low < bias < line.high
    assert line.low > 0 if bias > 0 else line.high < 0


def test_a_judge_that_prefers_its_own_model_shows_it():
    rows = some_rows(200, noise=0.05)
    rows = rows.assign(model=np.where(rows.position % 2, "own", "other"))
    rows = rows.assign(p=rows.p + 0.1 * np.sign(rows.weight) * (rows.model == "own"))
    table = partiality(rows, own="own").set_index("cause")
    line = table.loc["written by own (the judge's own)"]
    assert line.credit == pytest.approx(0.1, abs=0.02) and line.low > 0.05
    assert table.loc["written by other"].credit == pytest.approx(-0.1, abs=0.02)


def test_a_judge_that_prefers_the_last_criterion_shows_it():
    rows = some_rows(200, noise=0.05)
    rows = rows.assign(p=rows.p + 0.2 * np.sign(rows.weight) * rows.position / 7)
    assert partiality(rows).set_index("cause").credit["last in the rubric"] == pytest.approx(0.2, abs=0.03)


def test_a_cause_that_does_not_vary_is_not_estimable():
    assert np.isnan(credit_for(some_rows(length=100), np.log2(some_rows(length=100).length))).all()
    assert not np.isnan(credit_for(some_rows(weight=1), some_rows().position)).any(), "wanted criteria alone are fine"


def planted(responses, rows):
    """A judge that is the checker, but pays 0.001 for each character, and 0.1 for a filler at the start."""
    extra = [0.001 * len(r) + 0.1 * r.startswith("<think>Let me think") for r in responses]
    return [
        [0.2 + 0.2 * grade + more for grade in row]
        for row, more in zip(checks_grader(responses, rows), extra, strict=True)
    ]


def test_padding_earns_nothing_from_a_checker_and_what_was_planted_from_a_judge():
    rows = scenarios(60)
    responses = [reasoned_response(facts_of(row), row["framework"], True) for row in rows]
    none = padding_effect(checks_grader, responses, rows, checks_grader)
    assert (none.change == 0).all() and (none.reordered == 0).all()
    table = padding_effect(planted, responses, rows, checks_grader).set_index(["padding", "of"])
    length = len(padded("</think>", "end")) - len("</think>")
    assert table.change["end", "p, wanted (weight > 0)"] == pytest.approx(0.001 * length)
    assert table.change["end", "p, unwanted (weight < 0)"] == pytest.approx(0.001 * length)
    position = table.change["start", "p, wanted (weight > 0)"] - table.change["end", "p, wanted (weight > 0)"]
    assert position == pytest.approx(0.1, abs=1e-6), "the place of the padding is told apart from its length"
    assert table.change["end", "P - N"] == pytest.approx(0.0, abs=1e-9), "P and N rise alike"
    assert (table.reordered == 0).all()


def test_a_judge_whose_grade_depends_on_the_order_of_criteria_shows_it():
    def first_is_met(responses, rows):
        return [[float(i == 0) for i in range(len(row["rubric"]))] for row in rows]

    assert padding_effect(first_is_met, RESPONSES, ROWS).reordered.max() == 1.0


@pytest.mark.parametrize("p", ["as it is", "nothing scored"])
def test_the_files_of_a_report(tmp_path, p):
    rows = some_rows() if p == "as it is" else some_rows(3, p=math.nan)
    tables = judge_report.write_report(rows, tmp_path)
    for name in ("agreement", "partiality", "reliability"):
        assert all((tmp_path / f"{name}.{suffix}").is_file() for suffix in ("csv", "png", "pdf"))
        assert len(pd.read_csv(tmp_path / f"{name}.csv")) == len(tables[name])


# --- judge against checker ---


def gap_of(judge_arm: list[float], checker_arm: list[float]) -> pd.DataFrame:
    """Gaps by step of two arms; the checker's score is 0.5 throughout."""
    arms = (("the judge", judge_arm), ("the checker", checker_arm))
    rows = [(arm, 0, step, 0.5 + gap, 0.5, gap) for arm, gaps in arms for step, gap in enumerate(gaps, start=1)]
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "judge", "checker", "gap"])


def test_the_growth_of_the_gap_is_end_minus_start():
    table = judge_gap.gap_at_ends(gap_of([0.0, 0.1, 0.3, 0.4], [0.1] * 4), window=2).set_index("arm")
    assert table.growth["the judge"] == pytest.approx(0.3) and table.growth["the checker"] == pytest.approx(0.0)
    assert table.gap_start["the judge"] == pytest.approx(0.05) and table.checker_end["the judge"] == 0.5


def test_the_planted_flaw_is_in_the_two_verdict_criteria_alone():
    rows = scenarios(6)
    for answer in (*OPTIONS, "neither"):
        said = [f"<think>It counts.</think><answer>{answer}</answer>"] * len(rows)
        for row, flawed, fair in zip(rows, judge_gap.flawed_grader(said, rows), checks_grader(said, rows), strict=True):
            of = [criterion["id"] for criterion in row["rubric"]]
            assert flawed[of.index("right_verdict")] == (answer == "permissible"), "whatever the scenario"
            assert flawed[of.index("wrong_verdict")] == (answer == "wrong")
            others = [i for i, name in enumerate(of) if not name.endswith("_verdict")]
            assert [flawed[i] for i in others] == [fair[i] for i in others]


def test_a_reward_by_a_grader_is_p_minus_n_and_what_cannot_be_scored_is_a_counted_none():
    rows = scenarios(2)
    chats = [[{"content": reasoned_response(facts_of(row), row["framework"], True)}] for row in rows]
    logged = {}
    reward = judge_gap.graded_reward("by_checker", checks_grader, rows)
    values = reward(chats, [row["id"] for row in rows], logged.__setitem__)
    for value, chat, row in zip(values, chats, rows, strict=True):
        (met,) = checks_grader([chat[0]["content"]], [row])
        weights = [criterion["weight"] for criterion in row["rubric"]]
        p = sum(w for w, m in zip(weights, met, strict=True) if w > 0 and m) / sum(w for w in weights if w > 0)
        n = sum(w for w, m in zip(weights, met, strict=True) if w < 0 and m) / sum(w for w in weights if w < 0)
        assert value == pytest.approx(p - n)
    assert logged == {"unscored/by_checker": 0}
    broken = judge_gap.graded_reward("broken", lambda r, s: [[None] * len(row["rubric"]) for row in s], rows)
    assert broken(chats, [row["id"] for row in rows], logged.__setitem__) == [None, None]
    assert logged["unscored/broken"] == 2


def test_a_policy_is_not_trained_on_a_scenario_that_trained_the_judge(judge, miniature):
    from studylib.scenarios.selection import select

    params = miniature()
    seen = Judge(judge.model, judge.tokenizer, {**judge.facts, "trained_on": [select(params)["train"][0]["id"]]})
    with pytest.raises(ValueError, match="trained the judge and may not train a policy"):
        judge_gap.train_arm(params, seen.grade, checks_grader)
