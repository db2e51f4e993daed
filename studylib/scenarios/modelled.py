"""Ratings by a model of raters in the place of people's own: what a policy is paid for is then a learnt reward.

The model (`rater_models.py`) is fitted on a survey: scenarios of the training side, of each of which as many raters as
`RATED_BY` are heard, the same for every condition and seed. The axes of embeddings are found on these scenarios and on
those that are trained on, of which no rating is read. Each rater that it knows then rates every scenario of training
as the model predicts; who these raters are stays as it was, so that a pool can be asked.

* `pal`: raters differ by prototype, and their number is chosen on held-out items.
* `pooled`: all raters are one (Bradley-Terry), so that their ratings of a scenario agree. What is left of disagreement
  in such a reward is nothing, whatever is kept of the ratings.
"""

import pandas as pd

from studylib.randomness import generator
from studylib.scenarios import rater_models
from studylib.scenarios.ratings import with_ratings
from studylib.scenarios.scale import levels
from studylib.text.embedding import embed_words

SURVEYED, RATED_BY = 160, 20  # scenarios of the survey, and ratings of each that are heard
AXES = 64  # dimensions that the embeddings of scenarios are reduced to


def survey(rows: list[dict]) -> pd.DataFrame:
    """Columns rater, item (index of the row), value: the ratings of the rows that are heard."""
    heard = [
        (row["ratings"][j], i)
        for i, row in enumerate(rows)
        for j in generator(0, f"modelled/{row['id']}").permutation(len(row["ratings"]))[:RATED_BY]
    ]
    return pd.DataFrame([(r["rater"], i, r["value"]) for r, i in heard], columns=["rater", "item", "value"])


def modelled(rows: list[dict], surveyed: list[dict], kind: str) -> list[dict]:
    """The rows, each rated by every rater of the survey as a model of them (`rater_models.KINDS`) predicts.

    Raises ValueError where the survey has scenarios on different scales, or nobody rates two of them differently.
    """
    scales = {tuple(levels(row["options"])) for row in (*rows, *surveyed)}
    if len(scales) > 1:
        raise ValueError(f"a model of raters takes scenarios on one scale, and these have {len(scales)}")
    vectors = embed_words([row["prompt"] for row in (*surveyed, *rows)])
    features, table = rater_models.reduced(vectors, AXES), survey(surveyed)
    of_survey = features[: len(surveyed)]
    k = rater_models.KINDS[kind] or rater_models.choose(table, of_survey)[0]
    model = rater_models.fit(table, of_survey, k)
    predicted = model.ratings(features)[:, len(surveyed) :].T
    groups = {r["rater"]: r["groups"] for row in surveyed for r in row["ratings"]}
    return [
        with_ratings(row, [{"rater": rater, "value": float(value), "groups": groups[rater]}
                           for rater, value in zip(model.raters, values, strict=True)])
        for row, values in zip(rows, predicted, strict=True)
    ]  # fmt: skip
