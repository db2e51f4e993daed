"""The manipulation check, on policies whose distribution over the accepted stances is known.

Run: python -m pytest tests/claims/test_manipulation.py
"""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pyarrow.parquet import write_table
from run_tables import scenario
from test_claims import STUDY, write_run

from studylib.claims import manipulation as m
from studylib.params import RunParams
from studylib.randomness import generator
from studylib.rewards.paid import paid, why_unknown
from studylib.scenarios.rows import to_dataset

OPTIONS = ["keep", "tell", "help", "wait", "leave", "ask"]
LEVELS = {"keep": 1.0, "tell": 0.9, "help": 0.8, "wait": 0.7}
GROUPS = {"keep": ["a", "b"], "tell": ["a", "b"], "help": ["a"], "wait": ["b"]}
ACCEPTED = [{"option": option, "level": level, "groups": GROUPS[option]} for option, level in LEVELS.items()]
ROW = {"options": OPTIONS, "answer": "keep", "accepted": ACCEPTED}
BINARY = "correct=1.0"


def answers(shares: dict[str, float], n: int, seed: int, scenarios: int = 40) -> pd.DataFrame:
    """n sampled answers to each scenario from a policy that gives the options these shares, and a greedy one."""
    rng = generator(seed, "test/manipulation")
    rows = []
    for i in range(scenarios):
        given = rng.choice(list(shares), size=n, p=list(shares.values()))
        for k, option in enumerate(["ask", *given]):
            response = f"<think>So it is.</think><answer>{option}</answer>"
            rows.append({"id": str(i), "split": "s", "k": k, "response": response, **ROW})
    return pd.DataFrame(rows)


def shares(**weights: float) -> dict[str, float]:
    return {option: weight / sum(weights.values()) for option, weight in weights.items()}


EVEN = shares(keep=1, tell=1, help=1, wait=1, leave=1)
ONE = shares(keep=8, leave=2)
TWO = shares(keep=4, tell=4, leave=1)


def params(objective: str, **given) -> RunParams:
    beta = {} if objective in ("grpo", "rft") else {"beta": 1.0}
    return RunParams(objective=objective, rewards=BINARY, **beta, **given)


def outcomes(policy: dict, setting, seeds: int = 4, n: int = 8, before: dict = EVEN) -> dict:
    runs = [
        m.facts(setting) | m.of_run(answers(before, n, s + 50), answers(policy, n, s), setting) for s in range(seeds)
    ]
    table = m.manipulation_table(pd.DataFrame(runs).assign(world="w", condition="c", seed=range(seeds)))
    assert list(table) == m.COLUMNS and len(table) == 1
    return table.iloc[0].to_dict()


# --- numbers ---


def test_stances_kept_of_counts_by_hand():
    assert m.kept_of([3, 0, 0]) == 1 and m.kept_of([2, 2, 2, 2]) == pytest.approx(4)
    assert m.kept_of([1, 3]) == pytest.approx(4 / 3**0.75)


def test_what_few_answers_show_of_a_policy_is_the_mean_over_all_that_they_could_be():
    """Against brute force over all 27 draws of three answers."""
    p, total = (0.5, 0.3, 0.2), 0.0
    for draw in np.ndindex(3, 3, 3):
        total += math.prod(p[i] for i in draw) * m.kept_of(np.bincount(draw, minlength=3))
    assert m.seen(p, 3) == pytest.approx(total, abs=0.05)
    assert m.seen(p, 1) == 1 and m.seen((1.0, 0.0), 9) == 1
    assert m.seen((0.25,) * 4, 4000) == pytest.approx(4, abs=0.01)


def test_the_optima_are_those_of_the_closed_forms():
    before, pay = np.array([0.4, 0.3, 0.2, 0.1]), np.array([1.0, 1.0, 0.5, 0.0])
    (tempered,) = m.optimum("tempered", before, pay, 2.0)
    assert tempered == pytest.approx(before * np.exp(2 * pay) / (before * np.exp(2 * pay)).sum())
    (filtered,) = m.optimum("filtered", before, pay, math.nan)
    assert filtered == pytest.approx(np.array([0.4, 0.3, 0.1, 0]) / 0.8)
    least, most = m.optimum("best", before, pay, math.nan)
    assert m.kept_of(least) == 1 and most.tolist() == [0.5, 0.5, 0, 0]
    assert m.optimum("tempered", before, pay, 420.0)[0] == pytest.approx([4 / 7, 3 / 7, 0, 0])
    assert not m.optimum("filtered", before, np.zeros(4), math.nan)[0].any()


def test_the_policy_before_training_is_pooled_over_scenarios_and_smoothed_by_one_answer():
    before = {"1": m.Counter(keep=3, tell=1), "2": m.Counter(keep=0, help=4)}
    assert m.preferences(before) == {"keep": 4 / 10, "tell": 2 / 6, "help": 5 / 6}


def test_a_run_keeps_what_its_policy_is_known_to_keep():
    """800 answers to each scenario: the plug-in entropy is that of the policy."""
    policy = shares(keep=4, tell=2, help=1, wait=1, leave=8)
    found = m.of_run(answers(EVEN, 800, 0, 3), answers(policy, 800, 1, 3), params("alpha_dpg"))
    inside = np.array([4, 2, 1, 1]) / 8
    assert found["kept"] == pytest.approx(np.exp(-(inside * np.log(inside)).sum()), abs=0.05)
    assert found["before"] == pytest.approx(4, abs=0.05) and found["optimum"] == pytest.approx(4, abs=0.05)
    assert found["optimum_low"] == found["optimum_high"] == pytest.approx(4, abs=0.05)
    assert (found["every_low"], round(found["every_high"], 1)) == (1, 4)


# --- outcomes ---


@pytest.mark.parametrize("objective", ["flowrl", "flowrl_raw", "gflowrl", "vargrad", "alpha_dpg"])
def test_who_promises_to_keep_all_stances_and_keeps_one_does_not_match(objective):
    assert outcomes(EVEN, params(objective))["outcome"] == "matches"
    kept = outcomes(ONE, params(objective))
    assert kept["outcome"] == "does not match" and kept["kept"] == 1
    assert outcomes(TWO, params(objective))["outcome"] == "does not match"


def test_where_all_accepted_stances_are_paid_alike_a_maximiser_may_keep_any_number():
    for policy in (EVEN, ONE, TWO):
        assert outcomes(policy, params("grpo"))["outcome"] == m.ANY


def graded(objective: str, **given):
    """As parameters of a reward for stances with graded pay."""
    values = {**params(objective, **given).as_dict(), "evaluator": "graded", "reward_weights": {"stance": 1.0}}
    return SimpleNamespace(**values)


def test_on_graded_rewards_a_maximiser_keeps_the_best_and_a_tempered_policy_what_beta_leaves():
    assert outcomes(ONE, graded("grpo"))["outcome"] == "matches"
    assert outcomes(EVEN, graded("grpo"))["outcome"] == "does not match"
    eight = outcomes(EVEN, graded("gflowrl"))
    tempered = {option: math.exp(8 * level) for option, level in LEVELS.items()}
    inside = np.array(list(tempered.values())) / sum(tempered.values())
    assert eight["beta_per_answer"] == 8 and eight["outcome"] == "does not match"
    assert eight["optimum"] == pytest.approx(np.exp(-(inside * np.log(inside)).sum()), abs=0.1)
    assert outcomes(shares(**tempered), graded("gflowrl"), n=16)["outcome"] == "matches"
    sharp = outcomes(ONE, graded("flowrl_raw"))
    assert sharp["beta_per_answer"] == 420 and sharp["optimum"] == pytest.approx(1) and sharp["outcome"] == "matches"


def test_what_cannot_be_told_is_not_called_a_match():
    assert outcomes(EVEN, params("base", steps=0))["outcome"] == "nothing is promised"
    assert outcomes(EVEN, params("dpo"))["outcome"] == "nothing is promised"
    assert outcomes(EVEN, RunParams(beta=0.1, rewards=BINARY))["outcome"] == "nothing is promised", "another optimum"
    assert outcomes(EVEN, params("gflowrl"), seeds=1)["outcome"] == "cannot tell: one seed"
    assert outcomes(EVEN, params("gflowrl"), n=1)["outcome"] == m.SAME, "one answer shows one stance"
    other = RunParams(objective="gflowrl", beta=1.0, rewards="diversity=1.0")
    assert "what reward 'diversity' pays" in outcomes(EVEN, other)["outcome"]
    runs = pd.DataFrame([
        m.facts(params("gflowrl")) | m.of_run(answers(EVEN, 8, 9), answers(policy, 8, s), params("gflowrl"))
        for s, policy in enumerate((ONE, EVEN))
    ]).assign(world="w", condition="c")  # fmt: skip
    assert m.manipulation_table(runs)["outcome"].tolist() == [m.WIDE]


def test_a_policy_that_lost_every_accepted_answer_is_named():
    lost = outcomes(shares(leave=1), params("gflowrl"))
    assert lost["outcome"] == "cannot tell: no accepted answer is left" and lost["seeds"] == 0


def test_one_right_answer_leaves_nothing_to_keep():
    def one(policy, seed):
        return answers(policy, 8, seed).assign(accepted=None)

    for objective in ("grpo", "flowrl", "alpha_dpg"):
        setting = params(objective)
        runs = [m.facts(setting) | m.of_run(one(EVEN, s), one(ONE, s), setting) for s in range(3)]
        table = m.manipulation_table(pd.DataFrame(runs).assign(world="w", condition="c"))
        assert table["outcome"].tolist() == [m.SAME] and table["kept"].tolist() == [1]


def test_finished_runs_are_read_from_their_folders_and_the_table_is_written(tmp_path):
    """gflowrl keeps all stances and vargrad, which an older run calls gflowrl, one; one without tables is no row."""
    wrote = {"old": {"objective": "gflowrl"}, "new": {"objective": "gflowrl", "gflow_beta": 8.0}}
    for (condition, config), policy in zip(wrote.items(), (ONE, EVEN), strict=True):
        for seed in range(3):
            folder = write_run(tmp_path, "local_norms", condition, seed, beta=1.0, rewards=BINARY, steps=60, **config)
            for phase, given in (
                ("responses_before", answers(EVEN, 8, seed + 9)),
                ("responses", answers(policy, 8, seed)),
            ):
                given[["id", "split", "k", "response"]].assign(correct=1.0).to_parquet(folder / f"{phase}.parquet")
            rows = [scenario(str(i), "s", i, **ROW) for i in range(40)]
            write_table(to_dataset(rows).data.table, folder / "scenarios.parquet")
    write_run(tmp_path, "local_norms", "without", 0)
    study = SimpleNamespace(root=tmp_path, out=tmp_path, split="s", axis=STUDY["axis"], profile=STUDY["profile"])
    table = m.write_manipulation(study).set_index("condition")
    assert table["objective"].to_dict() == {"old": "vargrad", "new": "gflowrl"}
    assert table["outcome"].to_dict() == {"old": "does not match", "new": "matches"}
    assert table["beta_per_answer"].to_dict() == {"old": 420, "new": 8} and set(table["seeds"]) == {3}
    assert list(pd.read_csv(tmp_path / "manipulation.csv")) == m.COLUMNS


# --- pay ---


@pytest.mark.parametrize(
    "evaluator, pays",
    [
        ("binary", [1, 1, 1, 1]), ("noisy", [1, 1, 1, 1]), ("graded", [1.0, 0.9, 0.8, 0.7]),
        ("mean", [2 / 3, 2 / 3, 1 / 3, 1 / 3]), ("minimum", [0, 0, 0, 0]), ("any", [1, 1, 1, 1]),
    ],
)  # fmt: skip
def test_what_an_evaluator_pays_for_each_option(evaluator, pays):
    setting = SimpleNamespace(
        reward_weights={"stance": 2.0, "format": 0.0}, evaluator=evaluator, shaping="none", combination="sum"
    )
    assert list(paid(ROW, setting).values()) == pytest.approx([2 * pay for pay in (*pays, 0, 0)])


def test_correct_pays_every_accepted_option_alike_and_what_is_not_known_is_refused():
    plain = RunParams(rewards="correct=1.0 format=0.5")
    assert paid(ROW, plain) == dict(zip(OPTIONS, [1.5] * 4 + [0.5] * 2, strict=True)) and why_unknown(plain) == ""
    for given in ({"rewards": "diversity=1.0"}, {"rewards": BINARY, "shaping": "tanh"}):
        with pytest.raises(ValueError, match="for an option is not known"):
            paid(ROW, RunParams(**given))
