"""Effects of crossed factors: planted ones are found, and what does not cross is refused.

Run: python -m pytest tests/claims/test_factorial.py
"""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from test_claims import STUDY, write_run

from studylib.axes import read_axis
from studylib.claims.factorial import COLUMNS, effects, interactions, levels_of, write_interactions
from studylib.claims.plan import Plan, read_plan
from studylib.params import RunParams

FACTORS = ("rating_scale", "disagreement", "objective")
VALUES = (("own", "two"), ("majority", "keep_all"), ("grpo", "dpo"))
PLAN = Plan(
    axis="a", question="?", worlds="w", baseline="own_majority_grpo", factors=" ".join(FACTORS), seeds=3, max_seeds=3
)


def settings() -> pd.DataFrame:
    cells = list(product(*VALUES))
    return pd.DataFrame(cells, columns=list(FACTORS)).assign(condition=["_".join(cell) for cell in cells])


def score(scale: bool, kept: bool, dpo: bool) -> float:
    """Effects .1, -.02 and 0 on average, and .08 between scale and what is kept; halves because of the averages."""
    return 0.5 + 0.1 * scale - 0.02 * kept + 0.08 * (scale - 0.5) * (kept - 0.5)


def runs(noise: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for seed, cell in product(range(3), product((False, True), repeat=3)):
        name = "_".join(values[second] for values, second in zip(VALUES, cell, strict=True))
        after = score(*cell) + noise * rng.normal()
        rows.append(("w", name, seed, PLAN.primary_split, PLAN.primary_endpoint, after))
    return pd.DataFrame(rows, columns=["world", "condition", "seed", "split", "endpoint", "after"])


def test_planted_effects_are_found():
    found = interactions(runs(), settings(), PLAN).set_index("effect")["difference"]
    assert found.to_dict() == pytest.approx({
        "rating_scale": 0.1, "disagreement": -0.02, "objective": 0, "rating_scale x disagreement": 0.08,
        "rating_scale x objective": 0, "disagreement x objective": 0, "rating_scale x disagreement x objective": 0,
    })  # fmt: skip


def test_effects_are_those_of_least_squares_on_centred_factors():
    table = runs(noise=0.05).merge(settings(), on="condition")
    for name, (first, _) in zip(FACTORS, VALUES, strict=True):
        table[name] = (table[name] != first) - 0.5
    fitted = smf.ols("after ~ " + " * ".join(FACTORS), table).fit().params
    second = levels_of(settings(), PLAN)
    by_seed = table.pivot(index="seed", columns="condition", values="after")
    mean = effects(by_seed, second).mean()
    assert {name.replace(" x ", ":"): value for name, value in mean.items()} == pytest.approx(
        fitted.drop("Intercept").to_dict()
    )


def test_effects_are_tested_over_seeds_and_corrected_together():
    found = interactions(runs(noise=0.01), settings(), PLAN)
    assert list(found) == COLUMNS and len(found) == 7 and (found["n"] == 3).all()
    assert ((found["low"] < found["difference"]) & (found["difference"] < found["high"])).all()
    assert (found["p_holm"] >= found["p"]).all()
    scale = found.set_index("effect").loc["rating_scale"]
    assert scale["low"] > 0


def test_conditions_that_do_not_cross_are_refused():
    with pytest.raises(ValueError, match="7 conditions do not cross the factors rating_scale, disagreement, objective"):
        levels_of(settings().iloc[:-1], PLAN)
    three = pd.concat([settings(), settings().assign(condition="x", objective="ppo")])
    with pytest.raises(ValueError, match="factor 'objective' has the values .*and two are crossed"):
        levels_of(three, PLAN)
    with pytest.raises(ValueError, match="no run of the baseline"):
        levels_of(settings()[settings()["condition"] != PLAN.baseline], PLAN)
    with pytest.raises(ValueError, match="'rater' is no parameter of the runs"):
        levels_of(settings(), Plan(axis="a", question="?", worlds="w", baseline="b", factors="rater"))


def test_a_study_writes_its_table_where_its_plan_crosses_factors(tmp_path):
    for condition, seed in product(("plain", "kept"), range(2)):
        write_run(tmp_path, condition=condition, seed=seed, after=0.5 + seed / 10, disagreement=condition)
    cells = pd.DataFrame(product(("plain", "kept"), range(2)), columns=["condition", "seed"])
    runs = cells.assign(
        world="local_norms", split="held_out_domains", endpoint="accuracy_sampled",
        after=0.5 + (cells["condition"] == "kept") * (cells["seed"] + 1) / 10,
    )  # fmt: skip
    place = {name: STUDY[name] for name in ("axis", "profile")}
    plan = Plan(axis="a", question="?", worlds="local_norms", baseline="plain", factors="disagreement")
    study = SimpleNamespace(root=tmp_path, out=tmp_path, plan=plan, runs=runs, **place)
    assert write_interactions(study)["difference"].tolist() == pytest.approx([0.15])
    assert list(pd.read_csv(tmp_path / "interactions.csv")) == COLUMNS
    study.plan = Plan(axis="a", question="?", worlds="local_norms", baseline="plain")
    assert write_interactions(study) is None


def test_the_packaged_factorial_crosses_what_it_says():
    plan, axis = read_plan("raters_factorial"), read_axis("raters_factorial")
    asked = ({"axis": "raters_factorial", "world": "opposed", "condition": name} for name in axis.conditions)
    made = [RunParams.resolve(values).as_dict() for values in asked]
    second = levels_of(pd.DataFrame(made), plan)
    assert len(second) == 16 and list(second) == ["rater_pool", "rating_scale", "disagreement", "objective"]


def test_a_plan_without_factors_keeps_its_hash():
    plan = Plan(axis="a", question="?", worlds="w", baseline="b")
    assert Plan(axis="a", question="?", worlds="w", baseline="b", factors="").digest == plan.digest != PLAN.digest
