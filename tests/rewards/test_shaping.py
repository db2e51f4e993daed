"""Shaping and combination: closed forms, what an affine change cannot do, and the weights of conflicting rewards."""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize

from studylib.names import REWARDS, SHAPINGS
from studylib.params import COMBINATIONS, RunParams
from studylib.randomness import generator
from studylib.rewards import batch_reward
from studylib.rewards import shaping as s
from studylib.rewards.groups import normalised
from studylib.training.idle import identical_conditions, idle_message, shaping_is_idle

NAN = math.nan


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


# --- shaping ---


def test_par_is_the_mean_sigmoid_against_the_others():
    r = np.array([1.0, 0.0, 3.0])
    expected = [(sigmoid(1) + sigmoid(-2)) / 2, (sigmoid(-1) + sigmoid(-3)) / 2, (sigmoid(2) + sigmoid(3)) / 2]
    assert s.shaped(r, 3, "par") == pytest.approx(expected)


def test_rounding_is_no_difference_to_scale_up():
    for how in ("min_max", "mean_std"):
        assert np.ptp(s.shaped(np.array([0.1 + 0.2, 0.3]), 2, how)) < 1e-9


def test_lsc_is_the_centred_log_sigmoid_and_has_a_floor():
    r = np.array([1.0, 0.0, 3.0])
    assert s.shaped(r, 3, "lsc") == pytest.approx([math.log(sigmoid(x)) for x in (-0.5, -2.0, 2.5)])
    assert s.shaped(np.array([-1e6, 0.0]), 2, "lsc") == pytest.approx([s.LSC_FLOOR, 0])


def test_the_other_shapings_by_hand():
    r = np.array([0.0, 1.0, 2.0, 9.0])
    assert s.shaped(r, 2, "tanh") == pytest.approx(np.tanh([-1, 1, -7, 7]))
    assert s.shaped(r, 2, "min_max") == pytest.approx(r / 9)
    assert s.shaped(r, 2, "mean_std") == pytest.approx((r - 3) / r.std())
    assert s.shaped(r, 2, "clip") == pytest.approx([0, 1, 2, 3 + r.std()])
    assert (s.shaped(r, 2, "none") == r).all()


@pytest.mark.parametrize("how", SHAPINGS)
def test_an_answer_without_a_score_stays_without_and_counts_in_no_mean(how):
    known, more = np.array([1.0, 0.0, 3.0]), np.array([1.0, 0.0, 3.0, NAN])
    assert s.shaped(more, 4, how)[:3] == pytest.approx(s.shaped(known, 3, how))
    assert np.isnan(s.shaped(more, 4, how)[3])
    assert np.isnan(s.shaped(np.full(4, NAN), 4, how)).all()
    assert np.isfinite(s.shaped(np.full(4, 0.5), 4, how)).all(), "no difference, no division by it"


def test_a_total_needs_every_reward_that_is_trained_on():
    r = np.array([[1.0, 0.5, NAN], [NAN, 0.5, 0.0]])
    found = s.total(r, np.array([2.0, 1.0, 0.0]), 2)
    assert found[0] == 2.5 and np.isnan(found[1])


def test_the_lsc_sum_is_an_and():
    """Two answers of the same sum: the one that is middling in both beats the one that fails in one."""
    r = np.array([[2.0, -2.0], [0.0, 0.0]])
    one_fails, middling = s.total(r, np.ones(2), 2, combination="lsc")
    assert s.total(r, np.ones(2), 2)[0] == s.total(r, np.ones(2), 2)[1]
    assert one_fails == pytest.approx(math.log(sigmoid(2)) + math.log(sigmoid(-2)))
    assert middling == pytest.approx(math.log(sigmoid(-2)) + math.log(sigmoid(2)))
    r = np.array([[4.0, -4.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert np.argmin(s.total(r, np.ones(2), 4, combination="lsc")) == 0


def test_normalising_first_weighs_rewards_alike_and_summing_first_weighs_them_by_their_spread():
    r = np.array([[0.0, 1.0], [10.0, 0.0]])
    assert normalised(s.total(r, np.ones(2), 2), 2) == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)])
    assert s.total(r, np.ones(2), 2, combination="normalise_then_sum") == pytest.approx([0, 0])


# --- affine changes ---


@pytest.mark.parametrize("how", [how for how in SHAPINGS if how != "none"])
def test_no_shaping_of_one_reward_with_two_values_changes_a_group_normalised_advantage(how):
    params = RunParams(rewards="correct=1", shaping=how)
    clipped = how == "clip"  # the mean of the step lies between the two values, so that both are moved alike
    assert shaping_is_idle(params) or clipped
    rng = generator(1, "test/affine")
    r = rng.integers(2, size=400).astype(float)
    assert normalised(s.shaped(r, 4, how), 4) == pytest.approx(normalised(r, 4), abs=1e-4)


def test_what_a_shaping_can_change():
    idle = {how: shaping_is_idle(RunParams(rewards="rubric=1", shaping=how)) for how in SHAPINGS}
    assert idle == {"none": True, "par": False, "lsc": False, "tanh": False, "clip": False, "min_max": True,
                    "mean_std": True}  # fmt: skip
    assert not shaping_is_idle(RunParams(rewards="correct=1 format=0.5", shaping="par")), "two rewards: four values"
    assert not shaping_is_idle(RunParams(rewards="correct=1", shaping="par", objective="dr_grpo")), "not normalised"
    assert shaping_is_idle(RunParams(rewards="rubric=1", shaping="par", objective="rft")), "the best stays the best"
    two = "rating_expected"
    assert not shaping_is_idle(RunParams(rewards=f"{two}=1", shaping="par"))
    assert shaping_is_idle(RunParams(rewards=f"{two}=1", shaping="par"), frozenset({two})), "a scale with two levels"


def test_the_run_is_told_when_its_shaping_cannot_do_anything():
    assert idle_message(RunParams()) is None and idle_message(RunParams(rewards="rubric=1", shaping="par")) is None
    assert idle_message(RunParams(rewards="correct=1 format=0", shaping="par")) == (
        "shaping 'par' cannot change the gradient here: with rewards = 'correct=1 format=0' and objective 'grpo' the "
        "advantages are those of the plain sum"
    )


def config(**given):
    return vars(RunParams(axis="rewards", **given))


def test_conditions_with_the_same_advantages_cannot_differ():
    configs = {
        "correct": config(rewards="correct=1"),
        "twice": config(rewards="correct=2 format=0"),
        "par": config(rewards="correct=1", shaping="par"),
        "window": config(rewards="correct=1", diversity_window=8),
        "format": config(rewards="correct=1 format=0.1"),
        "longer": config(rewards="correct=1", max_new_tokens=99),
        "diversity": config(rewards="correct=0.9 diversity=0.1"),
        "diversity_8": config(rewards="correct=0.9 diversity=0.1", diversity_window=8),
    }
    same = set(itertools.combinations(["correct", "twice", "par", "window"], 2))
    assert set(identical_conditions(configs)) == same


def test_conditions_that_train_on_the_same_advantages_are_identical_and_more_is_not_a_sum():
    one = config(rewards="correct=1 rubric=1")
    more = config(rewards="correct=1 rubric=1", combination="more")
    doubled = {**one, "condition": "other", "seed": 4, "rewards": "correct=2 rubric=2"}
    assert identical_conditions({"a": one, "b": doubled}) == [("a", "b")], "an affine change of the reward"
    assert identical_conditions({"a": one, "b": {**one, "condition": "other"}}) == [], "their rewards do not differ"
    assert identical_conditions({"a": one, "b": more}) == []


def test_more_has_nothing_to_mix_of_one_reward():
    one, more = RunParams(rewards="rubric=1"), RunParams(rewards="rubric=1 correct=0", combination="more")
    assert idle_message(more).startswith("combination 'more' cannot change the gradient here")
    assert identical_conditions({"a": vars(one), "b": vars(more)}) == [("a", "b")]
    two = idle_message(RunParams(rewards="rubric=1 correct=1 format=0", combination="more"))
    assert two.startswith("combination 'more' of two rewards gives both the weight 0.5")
    assert idle_message(RunParams(rewards="rubric=1 correct=1 format=1", combination="more")) is None


def test_parameters_that_nobody_reads_make_no_difference():
    dispersed = config(rewards="correct=1 dispersion=1")
    assert identical_conditions({"a": dispersed, "b": {**dispersed, "embedder_revision": "x"}}) == [("a", "b")]
    embedded = {**dispersed, "embedder": "some/model", "embedder_revision": "x"}
    assert identical_conditions({"a": dispersed, "b": embedded}) == []
    assert identical_conditions({"a": embedded, "b": {**embedded, "embedder_revision": "y"}}) == []
    rubric = config(rewards="rubric=1")
    assert identical_conditions({"a": rubric, "b": {**rubric, "judge": "some/folder"}}) == [("a", "b")]
    judged = {**rubric, "rubric_grader": "judge", "judge": "one"}
    assert identical_conditions({"a": judged, "b": {**judged, "judge": "another"}}) == []


def test_ratings_on_a_scale_of_two_levels_rank_answers_alike():
    """Whether p is .9 or .6, each of them is a + b [answer is the majority's]; any_of may accept both."""
    ratings = [name for name in REWARDS if name.startswith("rating_")]
    two = frozenset(ratings)
    configs = {name: config(rewards=f"{name}=1") for name in ratings}
    alike = [name for name in ratings if REWARDS[name].agreement]
    assert len(ratings) == 7 and set(ratings) - set(alike) == {"rating_any_of"}
    assert set(identical_conditions(configs, two)) == set(itertools.combinations(alike, 2))
    assert ("rating_brier", "rating_ordinal") not in identical_conditions(configs), "a longer scale"
    row = {"id": "r", "options": ["permissible", "wrong"], "answer": None,
           "ratings": [{"rater": str(i), "value": 1.0 + (i < 3), "groups": []} for i in range(10)]}  # fmt: skip
    said = [f"<think>x</think><answer>{option}</answer>" for option in row["options"] * 2]
    worth = {name: normalised(np.array(batch_reward(name, [row])(said, [row] * 4), float), 4) for name in alike}
    for name in alike:
        assert worth[name] == pytest.approx(worth["rating_majority"]), name


def test_no_two_conditions_of_the_rewards_axis_are_identical():
    from studylib.axes import read_axis

    for axis in ("rewards", "surface"):
        names = list(read_axis(axis).conditions)
        configs = {name: vars(RunParams.resolve({"axis": axis, "condition": name})) for name in names}
        assert len(names) > 10 and identical_conditions(configs) == []


# --- MORE ---


def test_weights_of_two_gradients_in_closed_form():
    """lambda = ((b - a) . b) / |a - b|^2 for a, cut to 0..1 (MGDA, arXiv 1810.04650, Algorithm 1)."""
    rng = generator(0, "test/more")
    for _ in range(200):
        a, b = rng.normal(size=(2, 3))
        weight = min(1.0, max(0.0, float((b - a) @ b / ((a - b) @ (a - b)))))
        assert s.min_norm_weights([a, b]) == pytest.approx([weight, 1 - weight], abs=1e-5)


@pytest.mark.parametrize(
    "gradients, weights",
    [
        ([[1, 0], [0, 1]], [1 / 2, 1 / 2]),
        ([[1, 0], [-1, 0]], [1 / 2, 1 / 2]),
        ([[2, 0], [0, 1]], [1 / 5, 4 / 5]),
        ([[1, 0], [3, 0]], [1, 0]),
        ([[3, 0], [-1, 0]], [1 / 4, 3 / 4]),
        ([[1, 0], [0, 0]], [1, 0]),
        ([[0, 0], [0, 0]], [1 / 2, 1 / 2]),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [1 / 3] * 3),
    ],
)
def test_weights_by_hand(gradients, weights):
    assert s.min_norm_weights(np.array(gradients, float)) == pytest.approx(weights, abs=1e-5)


def test_weights_of_several_gradients_are_those_of_a_general_solver():
    rng = generator(0, "test/more/several")
    for n in (3, 4, 5):
        g = rng.normal(size=(n, 6)) + 0.5
        sum_is_one = {"type": "eq", "fun": lambda w: w.sum() - 1}
        found = minimize(lambda w, g=g: (w @ g) @ (w @ g), np.full(n, 1 / n), bounds=[(0, 1)] * n,
                         constraints=[sum_is_one], options={"ftol": 1e-14, "maxiter": 1000})  # fmt: skip
        assert s.min_norm_weights(g) == pytest.approx(found.x, abs=1e-3)
        assert s.min_norm_weights(g).sum() == pytest.approx(1)


def test_the_average_gradient_is_nearly_the_newest():
    assert s.moved(None, np.ones((2, 3))).tolist() == [[1] * 3] * 2
    assert s.moved(np.zeros((1, 2)), np.ones((1, 2))) == pytest.approx(np.full((1, 2), 0.99))
    assert s.unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"shaping": "relu"}, f"shaping = 'relu' is not allowed: one of {', '.join(SHAPINGS)}"),
        ({"combination": "max"}, f"combination = 'max' is not allowed: one of {', '.join(COMBINATIONS)}"),
        ({"combination": "lsc", "shaping": "par"}, "shaping = 'par' is not allowed: none, because combination 'sum'"),
        (
            {"combination": "more", "rewards": "correct=0.9 format=0.1"},
            "'more' takes objective grpo, .* weights 0 or 1",
        ),
        ({"combination": "more", "objective": "dapo"}, "'more' takes objective grpo"),
        ({"combination": "normalise_then_sum", "objective": "dr_grpo"}, "'normalise_then_sum' takes overlong_cache 0"),
        ({"diversity_window": 1}, "diversity_window = 1 is not allowed: 2..256"),
        ({"rater_share": 0}, "rater_share = 0.0 is not allowed: a share"),
        ({"diversity_gate": "open"}, "diversity_gate = 'open' is not allowed: one of correct, form"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        RunParams(**given)
