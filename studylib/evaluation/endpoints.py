"""The endpoints of the study: records with a function of a table of answers, one below the other.

A table of answers has a row per answer of one policy on one split, with the columns of responses.parquet (id, k,
response, correct, ...; k = 0 is the greedy answer) and those of its scenario (prompt, options, answer, rubric, facts,
...). Every run keeps both, so an endpoint that is added here is known of all finished runs:
`compare(..., endpoint=NAME)`. Those with `default` are compared without being asked for.
"""

from collections.abc import Callable

import pandas as pd

from studylib.evaluation import coverage, pluralism, single, views
from studylib.evaluation.diversity import GREEDY, decision_entropy
from studylib.evaluation.messages import moved_by_message
from studylib.names import ENDPOINTS, Endpoint


def outcome(column: str, how: str) -> Callable[[pd.DataFrame], pd.Series]:
    """Function of a table of answers: the column of its greedy answers, or of its sampled ones; empty without one."""

    def item(answers: pd.DataFrame) -> pd.Series:
        wanted = answers[(answers["k"] == GREEDY) == (how == "greedy")]
        return wanted[column] if column in wanted else pd.Series(dtype=float)

    return item


def mean_of(item: Callable[[pd.DataFrame], pd.Series]) -> Callable[[pd.DataFrame], float]:
    """The mean over single answers; NaN where none has a value."""
    return lambda answers: float(item(answers).mean())


SHARE = {"range": (0.0, 1.0), "unit": "share right", "chance": 0.5, "needs": ("answer",)}
SCORE = {"range": (-1.0, 1.0), "unit": "mean over answers", "needs": ("score",)}  # P - N at the widest
for _kind, _column, _what in (("accuracy", "correct", SHARE), ("score", "score", SCORE)):
    for _how in ("sampled", "greedy"):
        _item = outcome(_column, _how)
        ENDPOINTS.add(Endpoint(f"{_kind}_{_how}", mean_of(_item), item=_item, default=True, **_what))


def entropy_of_samples(answers: pd.DataFrame) -> float:
    """Do the samples decide alike? `diversity.decision_entropy` of them; bits, 0 where all do."""
    return decision_entropy(answers[answers["k"] != GREEDY])


ENDPOINTS.add(Endpoint("decision_entropy", entropy_of_samples, range=(0.0, float("inf")), unit="bits"))


# --- are the reasons those that decide, and what was meant where the form was lost? ----------------------------------

FACTS = ("answer", "facts")
for _name, _item, _unit, _needs in (
    ("faithful_sampled", single.faithful_answers, "share faithful", FACTS),
    ("right_and_faithful_sampled", single.right_and_faithful, "share right and faithful", FACTS),
    ("unfaithful_given_correct", single.unfaithful_of_right, "share of right answers", FACTS),
    ("stated_calibration", single.stated_overlap, "mean overlap", (*FACTS, "accepted")),
    ("accuracy_lenient", single.right_leniently, "share right, read leniently", ("answer", "options")),
    ("forced_choice", outcome("forced", "greedy"), "mass on right options", ("answer", "forced")),
):
    ENDPOINTS.add(Endpoint(_name, mean_of(_item), unit=_unit, item=_item, needs=_needs))

# --- which of several accepted stances do the answers hold? ----------------------------------------------------------

SEVERAL = ("options", "accepted")
STANCES = {"range": (0.0, float("inf")), "needs": SEVERAL}  # an estimate may lie above the number of stances
ENDPOINTS.add(Endpoint("stances_kept", coverage.stances_kept, unit="stances", **STANCES))
ENDPOINTS.add(Endpoint("stances_kept_share", coverage.stances_kept_share, unit="share of accepted stances", **STANCES))
for _name, _k in (("overton_coverage", coverage.DRAWN), ("overton_16", 16)):
    ENDPOINTS.add(Endpoint(_name, coverage.overton(_k), unit=f"accepted stances in {_k} answers", needs=SEVERAL))
ENDPOINTS.add(Endpoint("groups_served", coverage.groups_served, unit="share of groups", needs=SEVERAL))
for _k in (1, 2, 4, 8, 16):
    ENDPOINTS.add(Endpoint(f"pass_{_k}", coverage.pass_at(_k), unit="share of scenarios", needs=FACTS))

# --- how well do the answers fit what people said? -------------------------------------------------------------------

for _name, _fit, _unit in (
    ("rating_fit", pluralism.rating_fit, "1 - total variation"),
    ("decided_fit", pluralism.decided_fit, "1 - total variation"),
    ("rating_agreement", pluralism.rating_agreement, "chance to agree with a rater"),
    ("worst_group_fit", pluralism.worst_group_fit, "1 - total variation"),
    ("group_gap", pluralism.group_gap, "difference of fits"),
):
    ENDPOINTS.add(Endpoint(_name, _fit, unit=_unit, needs=("options", "ratings")))

# --- which perspectives does one answer take? ------------------------------------------------------------------------

VIEWS = ("facts", "prompt")
for _name, _item, _unit, _most, _needs in (
    ("perspectives_covered", views.views_taken, "share of perspectives", 1.0, VIEWS),
    ("roles_named", views.roles_named, "roles per answer", float("inf"), ()),
    ("decisions_named", views.decisions_named, "decisions per answer", float("inf"), ("options",)),
    ("perspective_entropy", views.entropies, "share of the highest entropy", 1.0, VIEWS),
    ("no_perspective", views.silent, "share of answers", 1.0, VIEWS),
):
    ENDPOINTS.add(Endpoint(_name, mean_of(_item), range=(0.0, _most), unit=_unit, item=_item, needs=_needs))
ENDPOINTS.add(Endpoint("distinct_2", views.distinct_2, unit="share of word pairs", needs=("answer",)))

# --- do the answers turn on the system message? ----------------------------------------------------------------------

ENDPOINTS.add(
    Endpoint("moved_by_message", moved_by_message, unit="share of pairs of messages", needs=("options", "system"))
)
