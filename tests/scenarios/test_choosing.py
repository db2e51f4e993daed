"""Training sets of one size, chosen in many ways: what is chosen, and that all else is the same in every condition."""

import itertools
from collections import Counter

import numpy as np
import pytest

from studylib.axes import read_axis
from studylib.params import RunParams
from studylib.policy.tiny import tiny_tokenizer
from studylib.scenarios import choosing
from studylib.scenarios.choosing import RULES, search
from studylib.scenarios.facts import facts_of, right_answer
from studylib.scenarios.measured import coverage, measured
from studylib.scenarios.selection import select, train_sources
from studylib.text.embedding import embed_words, rarity, unit

AXIS, REAL = read_axis("inputs_measured"), read_axis("inputs_measured_real")
SEEDS = range(AXIS.plan["seeds"])
TOKENS = 0.12  # largest difference of the prompts' tokens from those of `random`, as a share, ...
TOKENS_OF_A_STYLE = 0.25  # ... and where all are in one style, which has its own length


def run(condition, seed=0, **given) -> RunParams:
    return RunParams.resolve({"axis": AXIS.path.stem, "condition": condition, "seed": seed, **given})


# --- the search ------------------------------------------------------------------------------------------------------


def cosines(n, seed):
    vectors = unit(np.random.default_rng(seed).random((n, 3)))
    return vectors @ vectors.T


def covered(similarity, chosen) -> float:
    """Facility location: how like its nearest chosen text each text is, summed."""
    return similarity[:, list(chosen)].max(1).sum()


@pytest.mark.parametrize("seed", range(20))
def test_covering_is_near_the_best_of_all_subsets_and_least_covering_near_the_worst(seed):
    """At least 1 - 1/e of the best by theorem; of twenty small sets 0.97 of it. Of the other no bound is known."""
    similarity = cosines(9, seed)
    of_all = [covered(similarity, chosen) for chosen in itertools.combinations(range(9), 3)]
    found = {rule: covered(similarity, search(similarity, ["a"] * 9, {"a": 3}, rule)) for rule in RULES}
    assert found["covering"] >= 0.97 * max(of_all)
    assert found["least_covering"] <= np.quantile(of_all, 0.2) < np.quantile(of_all, 0.8) <= found["covering"]


@pytest.mark.parametrize("rule", RULES)
def test_each_step_takes_what_the_rule_says_by_brute_force(rule):
    similarity, chosen = cosines(12, 3), []
    for taken in search(similarity, ["a"] * 12, {"a": 7}, rule):
        worth = {}
        for i in set(range(12)) - set(chosen):
            gain = covered(similarity, [*chosen, i]) - (covered(similarity, chosen) if chosen else 0)
            nearest = max((similarity[i, j] for j in chosen), default=0)
            worth[i] = RULES[rule](np.array(gain), np.array(nearest))
        assert worth[taken] == pytest.approx(max(worth.values()), abs=1e-8)
        chosen.append(taken)


def test_the_answers_take_turns_in_one_search():
    kinds = ["a"] * 8 + ["b"] * 4
    chosen = search(cosines(12, 0), kinds, {"a": 4, "b": 3}, "farthest")
    assert [kinds[i] for i in chosen] == list("abababa") and len(set(chosen)) == 7


def test_farthest_takes_one_of_each_heap_and_nearest_stays_in_one():
    heaps = np.repeat(np.eye(3), 4, axis=0) + np.random.default_rng(0).random((12, 3)) / 20
    similarity = unit(heaps) @ unit(heaps).T
    far, near = (search(similarity, ["a"] * 12, {"a": n}, rule) for rule, n in (("farthest", 3), ("nearest", 4)))
    assert {i // 4 for i in far} == {0, 1, 2} and len({i // 4 for i in near}) == 1


# --- the conditions of the axis --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chosen():
    """(condition, seed) -> what it trains on in half of its steps, and its numbers, for every seed of the plan."""
    found = {}
    for condition, seed in itertools.product(AXIS.conditions, SEEDS):
        splits = select(run(condition, seed, steps=30, eval_scenarios=20))
        reference = sorted(row["prompt"] for name, rows in splits.items() if name != "train" for row in rows)
        found[condition, seed] = splits["train"], measured(splits["train"], reference)
    return found


@pytest.mark.parametrize("condition", AXIS.conditions)
def test_prompts_steps_tokens_and_answers_are_matched(chosen, condition):
    tokenizer = tiny_tokenizer(row["prompt"] for row in chosen["random", 0][0])
    for seed in SEEDS:
        one, base = run(condition, seed), run("random", seed)
        budget = [(p.steps, p.answers_per_step, p.generations, p.max_new_tokens, p.learning_rate) for p in (one, base)]
        assert budget[0] == budget[1], "as many generated tokens at most"
        rows, others = chosen[condition, seed][0], chosen["random", seed][0]
        assert len(rows) == len(others) == 30 * 16
        assert Counter(row["answer"] for row in rows) == {"permissible": len(rows) / 2, "wrong": len(rows) / 2}
        tokens = [sum(map(len, tokenizer([row["prompt"] for row in part])["input_ids"])) for part in (rows, others)]
        most = TOKENS_OF_A_STYLE if condition == "one_style" else TOKENS
        assert abs(tokens[0] / tokens[1] - 1) <= most
        half = len(rows) // 2
        assert Counter(row["answer"] for row in rows[:half])["wrong"] == half / 2, "at every time of the run"


@pytest.mark.parametrize("seed", SEEDS)
def test_every_condition_does_what_its_name_says(chosen, seed):
    of = {condition: chosen[condition, seed][1] for condition in AXIS.conditions}
    for condition, found in of.items():
        assert found["distinct_share"] == (1 if condition == "all_different" else 1 / 8)
        assert found["label_noise"] == pytest.approx(0.2 if condition.endswith("_noisy") else 0)
    assert of["one_domain"]["domain_entropy"] == of["one_domain"]["community_entropy"] == 0
    assert 0.9 < of["two_domains"]["domain_entropy"] <= 1
    assert 1.9 < of["four_domains"]["domain_entropy"] <= 2 and of["random"]["domain_entropy"] > 3.4
    assert of["one_style"]["style_entropy"] == 0 < 1.9 < of["random"]["style_entropy"]
    assert of["one_framework"]["framework_entropy"] == 0 < 0.9 < of["random"]["framework_entropy"]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_most_dispersed_subset_is_measured_as_such_and_so_is_the_least(chosen, seed):
    of = {condition: chosen[condition, seed][1] for condition in AXIS.conditions}
    for measure in ("vendi_about", "distance_about"):
        assert of["farthest"][measure] > of["random"][measure] > of["nearest"][measure], measure
    for measure in ("vendi_about", "vendi_wording", "coverage"):
        assert of["covering"][measure] > of["least_covering"][measure], measure
    assert of["all_different"]["vendi_about"] > of["farthest"]["vendi_about"], "as many prompts, and more to see"


@pytest.mark.parametrize("seed", SEEDS)
def test_covering_covers_what_was_at_hand_best(chosen, seed):
    names, counts = ("all_different", "covering", "random", "least_covering"), {}
    for name in names:
        counts[name] = embed_words([row["prompt"] for row in chosen[name, seed][0]])
    at_hand, *sets = (unit(np.vstack([counts[name], counts[names[0]]]) * rarity(counts[names[0]])) for name in names)
    n = len(at_hand) // 2
    of_each = [coverage(vectors[:n], vectors[n:]) for vectors in sets]
    assert of_each == sorted(of_each, reverse=True) and coverage(at_hand[:n], at_hand[n:]) == pytest.approx(1)


def test_noise_alone_is_what_sets_the_noisy_subset_apart(chosen):
    for clean, noisy in (("random", "random_noisy"), ("farthest", "farthest_noisy")):
        assert {row["id"] for row in chosen[clean, 0][0]} == {row["id"] for row in chosen[noisy, 0][0]}
        rows = {row["id"]: row for row in chosen[noisy, 0][0]}.values()
        wrong = [row for row in rows if row["answer"] != right_answer(facts_of(row), row["framework"], row["source"])]
        assert Counter(row["answer"] for row in wrong) == {"wrong": 6, "permissible": 6}, "of 60"
        assert all(row["rubric"] is None for row in wrong), "which would still know the right answer"


def test_evaluation_is_the_same_for_every_condition():
    splits = [select(run(condition, steps=6, eval_scenarios=4)) for condition in AXIS.conditions]
    for name in ("held_out", "held_out_domains", "held_out_styles"):
        assert len({tuple(row["id"] for row in of_condition[name]) for of_condition in splits}) == 1


def test_seeds_choose_other_frameworks_and_other_subsets():
    sets = [select(run("one_framework", seed, steps=2, eval_scenarios=2))["train"] for seed in range(6)]
    assert {row["framework"] for rows in sets for row in rows} == {"kantian_deontology", "virtue_ethics"}


def test_without_a_choice_training_scenarios_are_those_that_are_drawn(monkeypatch):
    before = select(RunParams(steps=4, eval_scenarios=4))["train"]
    monkeypatch.setattr("studylib.scenarios.selection.choose", lambda rows, n, params: rows)
    assert select(RunParams(steps=4, eval_scenarios=4))["train"] == before


# --- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given, name",
    [
        ({"chosen_by": "best"}, "chosen_by"), ({"chosen_by": "farthest"}, "chosen_by"), ({"repeats": 2}, "repeats"),
        ({"repeats": 0, "chosen_by": "random"}, "repeats"), ({"label_noise": 0.1}, "label_noise"),
        ({"label_noise": 0.6, "chosen_by": "random"}, "label_noise"), ({"n_frameworks": 3}, "n_frameworks"),
        ({"source": "plural_norms", "chosen_by": "random"}, "chosen_by"),
        ({"chosen_by": "nearest", "repeats": 8, "steps": choosing.MOST}, "chosen_by"),
    ],
)  # fmt: skip
def test_a_choice_that_cannot_be_is_refused_by_its_name(given, name):
    with pytest.raises(ValueError, match=f"parameter {name} = .* is not allowed"):
        RunParams(**given)


def test_noise_of_less_than_one_scenario_is_refused():
    with pytest.raises(ValueError, match="label_noise = 0.01 of 4 scenarios is less than one"):
        select(RunParams(chosen_by="random", repeats=4, label_noise=0.01, steps=2, eval_scenarios=2))


def test_too_few_scenarios_of_one_answer_are_refused(tmp_path):
    (tmp_path / "ethics").mkdir()
    lines = [f"{int(i > 1)},I rest because of {i}." for i in range(20)]
    for split in ("train", "test"):
        text = "\n".join(line.replace("rest", split) for line in lines)
        (tmp_path / "ethics" / f"justice_{split}.csv").write_text(f"label,scenario\n{text}\n")
    given = {"axis": "real", "condition": "sft", "source": "ethics_justice", "data_dir": str(tmp_path)}
    given |= {"steps": 1, "chosen_by": "random"}
    with pytest.raises(ValueError, match="2 scenarios of ethics_justice with the answer 'unreasonable' are at hand"):
        select(RunParams.resolve(given))
    rows = select(RunParams.resolve(given | {"repeats": 4}))["train"]
    assert Counter(row["answer"] for row in rows) == {"reasonable": 8, "unreasonable": 8}


# --- several published sources mixed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", REAL.conditions)
def test_published_sources_are_mixed_in_equal_shares_with_every_answer_equally_often(data_dir, condition):
    given = {"axis": REAL.path.stem, "profile": "smollm2_cpu", "data_dir": data_dir, "condition": condition}
    params = RunParams.resolve(given)
    splits = select(params)
    rows = splits["train"]
    counts = Counter((row["source"], row["answer"]) for row in rows)
    assert len(rows) == 384 and {source for source, _ in counts} == set(train_sources(params))
    assert "ethics_justice" not in train_sources(params) and len(train_sources(params)) == params.train_sources
    assert max(counts.values()) - min(counts.values()) <= 1 and len(counts) == 2 * params.train_sources
    assert len({row["id"] for row in rows}) == 384 // params.repeats
    evaluated = {row["prompt"] for row in splits["held_out"]}
    assert not evaluated & {row["prompt"] for row in rows}
    found = measured(rows, sorted(evaluated))
    assert found["source_entropy"] == pytest.approx(np.log2(params.train_sources))
