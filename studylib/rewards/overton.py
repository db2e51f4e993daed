"""The reward of OP-GRPO as its code computes it (arXiv 2602.20759, repository fuyu12345/OPRL-LLM, Apache-2.0).

    max(0, 0.3 coverage + 0.25 uniqueness + 0.125 form - 0.2 [not in the form asked for])

coverage: 0..5 points for the share of reference perspectives that segments of the answer match, each once; uniqueness:
0..1 for the share of segments that say what no earlier one says, 1 for a single segment; form: 0..2 points for segments
that open with a perspective, less those that come again. The right answer is no part of it. Deviations:

1. A segment begins where a role does ("I need to think from X's perspective."), as traces of this study are merged; the
   released code splits at "From the perspective of X".
2. A segment matches a reference where it states that reading of the facts (`perspectives.py`), and repeats an earlier
   one where it states no other reading; the released code asks a tuned embedder for cosines of 0.7 and 0.78.
3. The form asked for is that of an answer here. An answer has no summary, and as in the released code the whole text
   then stands for it, so that every name is in it.
"""

from studylib.rewards import per_response
from studylib.rewards.checks import states
from studylib.rewards.perspectives import matched, offered
from studylib.scenarios.roles import named, parts
from studylib.text.answers import parse, read_answer
from studylib.text.spelling import spelt

PER_COVERAGE, PER_UNIQUENESS, PER_FORM, MALFORMED = 0.3, 0.25, 0.125, 0.2
HIGHEST = 5 * PER_COVERAGE + PER_UNIQUENESS + 2 * PER_FORM


@per_response("op_grpo", needs=("facts", "prompt", "options"))
def op_grpo(response: str, scenario: dict) -> float:
    """OP-GRPO's reward of one answer, in [0, 2]; deviations in the module's docstring."""
    parsed = parse(response)
    reasons = parsed[0] if parsed else response
    pairs, segments = offered(scenario["facts"], scenario["prompt"]), [spelt(part) for part in parts(reasons)]
    if not pairs:
        raise ValueError(f"scenario {scenario['id']} holds no deciding fact, so it offers no perspective")
    text = spelt(reasons)
    references = [right for right, wrong in pairs if right in text and wrong not in text]
    taken = matched(segments, references)[0] if references and segments else 0
    worth = PER_COVERAGE * coverage_points(taken / len(pairs))
    worth += PER_UNIQUENESS * uniqueness_points(unique_share(segments, references))
    worth += PER_FORM * form_points(segments, named(reasons))
    malformed = read_answer(response, scenario["options"]) is None
    return max(0.0, worth - MALFORMED * malformed)


def coverage_points(share: float) -> int:
    """0 for nothing, else 1 below 0.2, 2 below 0.4, 3 below 0.6, 4 below 0.8, and 5."""
    return 0 if share == 0 else 1 + sum(share >= step for step in (0.2, 0.4, 0.6, 0.8))


def uniqueness_points(share: float) -> float:
    """1 for all, 0.75 above 0.8, 0.4 above 0.6, else 0."""
    return 1.0 if share == 1 else 0.75 if share > 0.8 else 0.4 if share > 0.6 else 0.0


def unique_share(segments: list[str], references: list[str]) -> float:
    """Share of the segments that state a reading which no earlier one states; 1 for a single segment, or none."""
    if len(segments) <= 1:
        return 1.0
    said: set[str] = set()
    new = 0
    for segment in segments:
        stated = {reference for reference in references if states(segment, reference)}
        new += bool(stated - said)
        said |= stated
    return new / len(segments)


def form_points(segments: list[str], roles: list[str]) -> float:
    """2 where there are segments, which all open with a role here, less 0.5 for each text or name that comes again."""
    repeats = len(segments) - len(set(segments)) + len(roles) - len({spelt(role) for role in roles})
    return max(0.0, 2.0 * bool(segments) - 0.5 * repeats)
