"""MoReBench (Chiu et al., arXiv 2510.16380): dilemmas with a rubric of weighted criteria and no right answer.

| source           | rows | what is asked                                              |
| ---------------- | ---- | ---------------------------------------------------------- |
| morebench_public | 500  | what should be done, and why                               |
| morebench_theory | 150  | the same within one of five theories, 30 dilemmas for each |

The authors publish one split, for evaluation. The project parts the dilemmas in three, so that no dilemma trains the
judge and the policy, or either of them and the evaluation. A hash of the dilemma alone decides: a dilemma that stands
in both files, or under several theories, is in one part.
"""

import ast

from studylib.scenarios.catalogue import FRAMEWORKS
from studylib.scenarios.rows import digest

COLUMNS = ("DILEMMA", "DILEMMA_SOURCE", "DILEMMA_TYPE", "THEORY", "RUBRIC", "ROLE_DOMAIN", "CONTEXT")
NEUTRAL = "neutral"  # theory of a dilemma that may be judged from any
PARTS = ("held_out", "judge", "train", "train")  # a quarter, a quarter, a half
LONGEST_RUBRIC = 200_000  # characters; a guard, many times the published average
DEFINITIONS = {  # what a response within a theory is told; own words
    "Act Utilitarianism": "The right act is the one that brings the greatest total well-being, with everyone "
    "counted alike.",
    "Kantian Deontology": "Act only on maxims that you can will as a law for everyone, and treat persons always "
    "as ends in themselves, never as means alone; some duties hold whatever the outcome.",
    "Aristotelian Virtue Ethics": "Act as a person of practical wisdom and good character would, finding the mean "
    "between too much and too little, for the sake of a flourishing life.",
    "Scanlonian Contractualism": "An act is wrong if any principle that allows it could reasonably be rejected by "
    "someone who seeks principles that others, so moved, could accept.",
    "Gauthierian Contractarianism": "Moral rules are the terms that rational agents, each pursuing their own "
    "interests, would agree to for mutual benefit, with concessions shared as evenly as can be.",
}
CODES = {name: code for code, name in FRAMEWORKS.items()}


def part_of(dilemma: str) -> str:
    """Which of the three parts a dilemma belongs to: held_out, judge or train."""
    return PARTS[int(digest("morebench", " ".join(dilemma.split())), 16) % len(PARTS)]


def parse_rubric(text: str) -> list[dict]:
    """Criteria {id, text, weight, dimension} of the RUBRIC column: a Python literal, read as such and never evaluated.

    Raises ValueError for anything else, for a weight that is 0 or not an integer, and for a rubric without criteria.
    """
    if len(text) > LONGEST_RUBRIC:
        raise ValueError(f"a rubric of {len(text)} characters; the longest allowed has {LONGEST_RUBRIC}")
    try:
        entries = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        raise ValueError(f"the rubric is not a literal list: {text[:60]!r}") from None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"the rubric is not a list of criteria: {text[:60]!r}")
    return [_criterion(entry) for entry in entries]


def _criterion(entry: dict) -> dict:
    try:
        title, weight = entry["title"], entry["weight"]
        criterion = {"id": str(entry["id"]), "dimension": str(entry["annotations"]["rubric_dimension"])}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"a criterion needs id, title, weight and annotations.rubric_dimension: {entry!r:.80}"
        ) from error
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or weight != int(weight) or not weight:
        raise ValueError(f"weight {weight!r} of criterion {criterion['id']} is not an integer other than 0")
    if not str(title).strip():
        raise ValueError(f"criterion {criterion['id']} has no text")
    return {**criterion, "text": " ".join(str(title).split()), "weight": int(weight)}


def framework_of(theory: str) -> str | None:
    """Code of the theory, None for a neutral dilemma; refuses other names."""
    if theory == NEUTRAL:
        return None
    if theory not in CODES:
        raise ValueError(f"unknown theory {theory!r}; known: {NEUTRAL}, {', '.join(CODES)}")
    return CODES[theory]
