"""How much do a policy's answers depend on the system message? Told by stories that are asked about under several."""

from itertools import combinations

import numpy as np
import pandas as pd

from studylib.evaluation.diversity import GREEDY
from studylib.text.answers import read_answer


def moved_by_message(answers: pd.DataFrame) -> float:
    """Share of the pairs of messages under one story to which the greedy answers differ; NaN without such pairs.

    0 for a policy that ignores messages. Where every pair calls for opposite answers, 1 for one that follows them, and
    where messages say nothing of what is right, 0. An answer that cannot be read is not moved.
    """
    greedy = answers[answers["k"] == GREEDY]
    decided = [read_answer(said, options) for said, options in zip(greedy["response"], greedy["options"], strict=True)]
    stories = pd.Series(decided, dtype=object).groupby(greedy["prompt"].to_numpy(), sort=False)
    moved = [None not in pair and pair[0] != pair[1] for _, of in stories for pair in combinations(of, 2)]
    return float(np.mean(moved)) if moved else np.nan
