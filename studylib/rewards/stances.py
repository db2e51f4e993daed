"""Verifying answers in the world `plural_norms`: the stance, and the reasons that it is given for.

An answer is *supported* when its stance is accepted and its reasons hold: they state the breach that the stance
answers and do not take it back, there is this breach, and they hold no reading of the facts that is false and no other
kind of community. So whoever names all breaches, those that there are and those that there are not, supports nothing.
Words that are copied from the text count for nothing (`checks.own_words`).
"""

import itertools
import re

from studylib.names import Option
from studylib.rewards import BatchReward, per_batch, streams
from studylib.rewards.checks import names, own_words, states
from studylib.rewards.surface import sentences, words
from studylib.scenarios.facts import READINGS, facts_of, misreading
from studylib.scenarios.plural import GROUPS, TOO, supports
from studylib.scenarios.rows import accepted
from studylib.scenarios.vocabulary import COMMUNITIES
from studylib.text.answers import parse, read_answer
from studylib.text.spelling import spelt

EVALUATORS = ("binary", "graded", "noisy", "mean", "minimum", "any")
EVALUATOR = Option(
    "evaluator", "binary", "what an accepted stance is paid: 1 (binary; noisy: at times misjudged), its level (graded) "
    "or by groups of evaluators the share that accepts it (mean), 1 where all do (minimum) or any does (any)",
    lambda value: value in EVALUATORS, f"one of {', '.join(EVALUATORS)}",
)  # fmt: skip
NOISE = Option(
    "evaluator_noise", 0.2, "share of answers that the noisy evaluator judges the wrong way round",
    lambda value: 0 <= value < 0.5, "0 or more and below 0.5, where a judgement says nothing",
    unread_if=("evaluator", "binary"),
)  # fmt: skip

DENIALS = frozenset(["cannot", "false", "hardly", "never", "not", "untrue", "wrong"])
QUOTES = "\"'“”‘’„«»"


# --- reading ---------------------------------------------------------------------------------------------------------


def reasons_hold(response: str, scenario: dict) -> bool:
    """Whether the reasons state what supports the answer's stance, accepted or not, and nothing false of the facts."""
    stance = read_answer(response, scenario["options"])
    if stance is None:
        return False
    facts, reasons = facts_of(scenario), own_words(response, scenario)
    false = any(misreading(facts, framework).casefold() in reasons for framework in READINGS)
    elsewhere = any(names(reasons, kind) for kind in COMMUNITIES if kind != facts.community)
    return not elsewhere and not false and _holds_to(reasons, supports(stance).casefold())


def _holds_to(reasons: str, claim: str) -> bool:
    """Whether a sentence states the claim, as no quotation, and neither it nor the next sentence denies anything."""
    if re.search(rf"[{QUOTES}]\s*{re.escape(claim)}[^{QUOTES}]*[{QUOTES}]", reasons):
        return False
    pairs = itertools.pairwise([*sentences(reasons), ""])
    return any(states(one, claim) and not DENIALS & {*words(f"{one} {following}")} for one, following in pairs)


def supported(response: str, scenario: dict) -> bool:
    """Whether the answer's stance is accepted and its reasons hold."""
    return read_answer(response, scenario["options"]) in accepted(scenario) and reasons_hold(response, scenario)


def stated(response: str, scenario: dict) -> frozenset[str]:
    """The stances that a response states as fitting: its own, and those after "Fitting too:"; none of a malformed one.

    A response that says so more than once, or lists what is no option, states its own stance alone.
    """
    stance, parsed = read_answer(response, scenario["options"]), parse(response)
    if stance is None:
        return frozenset()
    lists = re.findall(rf"{re.escape(spelt(TOO))}([^.]*)\.", spelt(parsed[0]))
    others = {word.strip() for word in lists[0].split(",")} if len(lists) == 1 else set()
    return frozenset({stance} | (others if others <= set(scenario["options"]) else set()))


# --- what it is paid -------------------------------------------------------------------------------------------------


def paid(scenario: dict, params) -> dict[str, float]:
    """Accepted stance -> what it is worth to the evaluator, in [0, 1]; other stances are worth 0.

    This is before the noisy evaluator misjudges.
    """
    stances = {stance["option"]: stance for stance in scenario["accepted"]}
    accepting = {option: len(stance["groups"]) / len(GROUPS) for option, stance in stances.items()}
    return {
        "graded": {option: stance["level"] for option, stance in stances.items()},
        "mean": accepting,
        "minimum": {option: float(share == 1) for option, share in accepting.items()},
    }.get(params.evaluator, dict.fromkeys(stances, 1.0))


@per_batch("stance", needs=("options", "accepted", "facts"), options=(EVALUATOR, NOISE))
def _stance(params, grader) -> BatchReward:
    """What the evaluator pays for an accepted stance whose reasons hold; 0 for any other answer."""

    def rewards(responses: list[str], scenarios: list[dict]) -> list[float | None]:
        values = [
            paid(row, params)[read_answer(response, row["options"])] if supported(response, row) else 0.0
            for response, row in zip(responses, scenarios, strict=True)
        ]
        return _misjudged(values, scenarios, params) if params.evaluator == "noisy" else values

    return rewards


def _misjudged(values: list[float], scenarios: list[dict], params) -> list[float]:
    """Judgements of which some are turned round, whatever the answer says."""
    draws = (rng.random() for rng in streams(params.seed, "stance/noise", scenarios))
    return [1.0 - value if draw < params.evaluator_noise else value for value, draw in zip(values, draws, strict=True)]
