"""Models of raters find planted groups, and nothing where there are none."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from studylib.names import TRAIN_DOMAINS, TRAIN_STYLES
from studylib.scenarios import rater_models
from studylib.scenarios.rated import make_split
from studylib.text.embedding import embed_words

RATED_BY = 20  # of forty raters


def survey(population: str, n: int = 160) -> tuple[pd.DataFrame, np.ndarray]:
    rows = make_split(
        "train", n, 0, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, population=population, rating_form="shares",
        rating_scale="own",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    asked = [(i, row["ratings"][j]) for i, row in enumerate(rows) for j in rng.permutation(40)[:RATED_BY]]
    table = pd.DataFrame([(r["rater"], i, r["value"]) for i, r in asked], columns=["rater", "item", "value"])
    return table, rater_models.reduced(embed_words([row["prompt"] for row in rows]), 64)


@pytest.fixture(scope="module")
def opposed():
    return survey("opposed")


def test_pal_finds_how_many_groups_there_are_and_who_is_in_which(opposed):
    k, found = rater_models.choose(*opposed, most=4)
    model = rater_models.fit(*opposed, k)
    truth = [name.rsplit(" ", 1)[0] for name in model.raters]
    assert k == 3, found
    assert adjusted_rand_score(truth, model.groups) >= 0.9


def test_pal_finds_one_group_where_raters_do_not_differ():
    assert rater_models.choose(*survey("alike"), most=3)[0] == 1


def test_pal_predicts_held_out_items_better_than_pooled_raters(opposed):
    table, features = opposed
    seen = table["item"] < 120
    right = {k: rater_models.scores(rater_models.fit(table[seen], features, k), table[~seen], features)
             for k in (1, 3)}  # fmt: skip
    assert right[3]["right"].mean() > right[1]["right"].mean() + 0.05
    assert right[3]["loss"].mean() < right[1]["loss"].mean()


def test_new_raters_are_placed_by_some_of_their_ratings(opposed):
    table, features = opposed
    new = table["rater"].str.endswith((" 0", " 1"))
    model = rater_models.fit(table[~new], features, 3)
    placed = rater_models.on_new_raters(model, table[new & (table["item"] < 80)], features)
    pooled = rater_models.fit(table[~new], features, 1)
    rest = table[new & (table["item"] >= 80)]
    before = rater_models.on_new_raters(pooled, table[new & (table["item"] < 80)], features)
    assert rater_models.scores(placed, rest, features)["right"].mean() > 0.05 + (
        rater_models.scores(before, rest, features)["right"].mean()
    )


def test_calibration_error_by_hand():
    """Ten pairs at confidence .8, of which eight are right, are calibrated; of which all are right, are .2 off."""
    loss = [-np.log(0.8)] * 8 + [-np.log(0.2)] * 2
    scored = pd.DataFrame({"right": [True] * 8 + [False] * 2, "loss": loss})
    assert rater_models.calibration_error(scored) == pytest.approx(0, abs=1e-9)
    assert rater_models.calibration_error(scored[:8]) == pytest.approx(0.2)


def test_raters_who_never_differ_teach_nothing():
    table = pd.DataFrame({"rater": ["a", "a", "b"], "item": [0, 1, 0], "value": [1.0, 1.0, 2.0]})
    with pytest.raises(ValueError, match="a rater who rates two items differently, and there is none"):
        rater_models.fit(table, np.eye(2), 1)
