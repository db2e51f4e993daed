"""Perspectives in one answer: how many of those that a scenario offers it takes, each once (after OP-GRPO).

OP-GRPO (arXiv 2602.20759) rewards coverage of reference perspectives, uniqueness and a form. Its references come from
a data set and are matched by a tuned sentence embedder; here a scenario of an embedded world offers one perspective per
framework whose deciding fact its text tells, and an answer takes it by stating what that framework reads in the fact.
So no embedder is needed, and a reading that is wrong or denied takes nothing. Answers and references are matched one
to one: repeats never pay, and an answer that states both a reading and its opposite takes neither.
"""

import re
from collections import Counter
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from studylib.rewards.checks import states
from studylib.rewards.diversity import diversity_reward, of_reasons
from studylib.rewards.surface import sentences
from studylib.scenarios.facts import READINGS, facts_of, misreading, reading
from studylib.scenarios.telling import clause
from studylib.text.spelling import spelt

OPENING = re.compile(r"^[ \t]*(?:from|in) the perspective of ([^,.\n]+)", re.IGNORECASE)
SEGMENT = re.compile(r"^(?=[ \t]*(?:from|in) the perspective of )", re.IGNORECASE | re.MULTILINE)
MAX_SEGMENTS = 1000  # sentences that are matched; the rest of a longer answer takes no perspective


@lru_cache(maxsize=4096)
def offered(facts: str, prompt: str) -> tuple[tuple[str, str], ...]:
    """(right reading, wrong reading) of every framework whose deciding fact the prompt tells, case-folded."""
    whole = facts_of({"facts": facts})
    told = frameworks(facts, prompt)
    return tuple((reading(whole, f).casefold(), misreading(whole, f).casefold()) for f in told)


def frameworks(facts: str, prompt: str) -> list[str]:
    """The frameworks whose deciding fact the prompt tells."""
    whole, text = facts_of({"facts": facts}), spelt(prompt)
    return [framework for framework in READINGS if clause(whole, framework).casefold() in text]


def matched(segments: list[str], references: list[str]) -> tuple[int, int]:
    """(references taken, segments that take any): a largest one-to-one matching of segments that state a reference."""
    takes = np.array([[states(segment, reference) for reference in references] for segment in segments], dtype=bool)
    if not takes.any():
        return 0, 0
    pairs = maximum_bipartite_matching(csr_matrix(takes), perm_type="column")
    return int((pairs >= 0).sum()), int(takes.any(1).sum())


def _taken(reasons: str, scenario: dict) -> tuple[int, int, int]:
    """(references taken, segments that take one, references offered)."""
    text, pairs = spelt(reasons), offered(scenario["facts"], scenario["prompt"])
    if not pairs:
        raise ValueError(f"scenario {scenario['id']} holds no deciding fact, so it offers no perspective")
    references = [right for right, wrong in pairs if right in text and wrong not in text]
    if not references:
        return 0, 0, len(pairs)
    return *matched(sentences(text)[:MAX_SEGMENTS], references), len(pairs)


def coverage(reasons: str, scenario: dict) -> float:
    """Share of the offered perspectives that the reasons take, each counted once."""
    taken, _, offers = _taken(reasons, scenario)
    return taken / offers


def uniqueness(reasons: str, scenario: dict) -> float:
    """Perspectives taken per sentence that takes one: 1 without repeats, 0 when none is taken."""
    taken, takers, _ = _taken(reasons, scenario)
    return taken / takers if takers else 0.0


def perspective_format(reasons: str, scenario: dict) -> float:
    """OP-GRPO's form, its 0..2 points over 2, in [0, 1]; formula of its released code.

    Points for the share of segments that open with "From the perspective of X" (2 from 0.7 on, 1 from 0.3 on), minus
    0.5 per segment or name that comes again, minus up to 1 for names that what follows "Summary:" leaves out. One
    deviation: without a summary it holds no name, where the released code searches the whole text.
    """
    core, _, summary = spelt(reasons).partition("summary:")
    segments = [segment.strip() for segment in SEGMENT.split(core) if segment.strip()]
    opened = [match[1].strip() for segment in segments if (match := OPENING.match(segment))]
    share = len(opened) / len(segments) if segments else 0.0
    if share < 0.3:
        return 0.0
    repeats = sum(n - 1 for seen in (Counter(segments), Counter(opened)) for n in seen.values())
    named = sum(name in summary for name in set(opened)) / len(set(opened))
    left_out = next(penalty for low, penalty in ((0.75, 0.0), (0.5, 0.5), (0.25, 0.75), (0.0, 1.0)) if named >= low)
    return max(0.0, 1 + (share >= 0.7) - 0.5 * repeats - left_out) / 2


def _register(function) -> None:
    needs = ("facts", "prompt", "options")
    diversity_reward(function.__name__, lambda params: of_reasons(function), "sentences", needs=needs)


for _function in (coverage, uniqueness, perspective_format):
    _register(_function)
