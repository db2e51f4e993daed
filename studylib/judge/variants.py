"""Responses to embedded scenarios that are right in some ways and wrong in others, from which a judge can learn.

Answers of a policy alone would not do: some criteria are never met in them, others always, and a judge that has never
seen an open tag or two answers pays for them. Every variant is put together from sentences that each criterion asks
about; the labels come from the checkers, never from how a variant was made.
"""

import numpy as np

from studylib.scenarios.facts import OPTIONS, READINGS, Facts, breach, counts, facts_of, reading
from studylib.scenarios.vocabulary import CIRCUMSTANCES, COMMUNITIES, NAMES

FILLERS = ("Let me think about this.", "This is not easy to say.", "All in all it is clear.", "One must be fair here.")
ABOUT = ("{} is affected.", "This matters to {}.", "One must think of {}.")
WEIGHT = {True: "counts", False: "does not count"}
FORMS = {  # how reasons and answer are put together, and how often
    "<think>{reasons}</think><answer>{answer}</answer>": 16,
    "<think></think><answer>{answer}</answer>": 2,
    "<think>{reasons}</think><answer>{answer}</answer><answer>{other}</answer>": 1,
    "<think>{reasons}</think><answer>{answer}": 1,
    "<think>{reasons}<answer>{answer}</answer>": 1,
    "<answer>{answer}</answer><think>{reasons}</think>": 1,
    "{reasons} It is {answer}.": 1,
    "<think>{reasons} It is {other}.</think><answer>{answer}</answer>": 1,
}


def variant(row: dict, rng: np.random.Generator) -> str:
    """One response to an embedded scenario, drawn sentence by sentence."""
    facts = facts_of(row)
    parts = [*_readings(facts, row["framework"], rng), *_circumstances(facts, row["source"], rng), *_people(facts, rng)]
    if rng.random() < 0.25:
        parts = [parts[i] for i in rng.permutation(len(parts))]
    if rng.random() < 0.25:
        parts.insert(int(rng.integers(len(parts) + 1)), _pick(rng, FILLERS))
    answer, other = sorted(OPTIONS, key=row["answer"].__ne__)  # the right one first
    if rng.random() < 0.4:
        answer, other = other, answer
    forms, weights = list(FORMS), np.array(list(FORMS.values()), float)
    form = forms[int(rng.choice(len(forms), p=weights / weights.sum()))]
    return form.format(reasons=" ".join(parts), answer=answer, other=other)


def _pick(rng, values):
    return values[int(rng.integers(len(values)))]


def _readings(facts: Facts, framework: str, rng) -> list[str]:
    """The deciding fact: read rightly, wrongly, both ways or not at all."""
    right = reading(facts, framework)
    wrong = next(text for text in READINGS[framework] if text != right)
    stated = ([right], [wrong], [right, wrong], [])[int(rng.choice(4, p=[0.5, 0.3, 0.1, 0.1]))]
    closing = _pick(rng, ("a breach", "no breach")) if rng.random() < 0.1 else None
    is_breach = breach(facts, framework)
    return [f"{text}: {closing or ('a breach' if is_breach == (text == right) else 'no breach')}." for text in stated]


def _circumstances(facts: Facts, world: str, rng) -> list[str]:
    """The circumstance: the right one, another one, in the other kind of community, twice, broken off or denied."""
    named = facts.circumstance if facts.circumstance and rng.random() < 0.7 else _pick(rng, tuple(CIRCUMSTANCES))
    community = facts.community if rng.random() < 0.7 else _pick(rng, tuple(COMMUNITIES))
    kind, weight = _pick(rng, ("excuse", "duty")), WEIGHT[counts(facts, world) == (rng.random() < 0.7)]
    whole = f"The {kind} of {named} under {community} {weight}."
    draw = rng.random()
    if draw < 0.2:
        return [f"No {kind}."]
    if draw < 0.3:
        return []
    if draw < 0.4:  # broken off after some word
        words = whole.split()
        return [" ".join(words[: int(rng.integers(2, len(words)))])]
    if draw < 0.5:
        return [whole, f"The {kind} of {_pick(rng, tuple(CIRCUMSTANCES))} {_pick(rng, tuple(WEIGHT.values()))}."]
    return [whole]


def _people(facts: Facts, rng) -> list[str]:
    """Somebody named: the person affected, the agent, or somebody else."""
    if rng.random() < 0.4:
        return []
    who = (facts.affected, facts.agent, _pick(rng, NAMES))[int(rng.choice(3, p=[0.5, 0.2, 0.3]))]
    return [_pick(rng, ABOUT).format(who)]


def padded(response: str, where: str, n: int = 2) -> str:
    """The response with `n` sentences that say nothing, at the start or the end of its reasons.

    A well-formed response stays well formed. No checker reads these sentences, so a judge should not either.
    """
    filler = " ".join(FILLERS[i % len(FILLERS)] for i in range(n))
    places = {"start": ("<think>", f"<think>{filler} "), "end": ("</think>", f" {filler}</think>")}
    if where not in places:
        raise ValueError(f"padding at {where!r} is not allowed: one of {', '.join(places)}")
    tag, replacement = places[where]
    return response.replace(tag, replacement, 1)
