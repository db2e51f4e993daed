"""Roles: who looks at a scenario, how they are proposed, chosen, asked and merged (after MultiRole-R1).

MultiRole-R1 (arXiv 2507.20187) has a model propose roles with conflicting views, draws some of them by

    P(R_i | Q) = softmax( E[M(R_i | Q)] + alpha E_j[1 - cos(h_i, h_j)] )

and joins one trace of reasoning per role by "Wait, I need to think from X's perspective." In the embedded worlds the
roles of a scenario are known (`names.Source.roles`); elsewhere an instruct model is asked for them.
"""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from studylib.names import Option

JOIN = " Wait, "
OPENED = re.compile(r"\bI need to think from ([^.,<>\n]{1,80}?)['’]s perspective\.")
LEAST, MOST = 2, 5  # roles that a model is to propose
PROPOSED = re.compile(r"- ([^:<>.,\n]{2,60}): ([^<>\n]{3,200})")
ASK = (
    "Name {most} roles, such as people concerned or schools of thought, whose views of the following question differ. "
    "Write one line for each and nothing else, in the form\n- role: what this role looks at\n\n{prompt}"
)


class Role(NamedTuple):
    name: str  # as in "from {name}'s perspective"
    looks_at: str


KINDS = ("none", "multi_role", "single_role", "format_only")
MERGES = ("convergent", "divergent")
TRACES = Option(
    "traces", "none", "what is trained on before rewards: traces of several roles (multi_role), of one (single_role), "
    "of one that speaks as often as several (format_only), or none", lambda value: value in KINDS,
    f"one of {', '.join(KINDS)}, and none for the tiny model where no world offers roles and it would have to propose "
    "them", fits=lambda params: params.traces == "none" or params.instructed or params.is_world,
)  # fmt: skip


def _of_traces(name: str, default, help: str, holds, allowed: str, **more) -> Option:
    return Option(name, default, help, holds, allowed, unread_if=("traces", "none"), **more)


OPTIONS = (
    TRACES,
    _of_traces(
        "trace_scenarios", 120, "training scenarios that traces are sampled for",
        lambda n: n >= 2 and n % 2 == 0, "an even number >= 2",
    ),
    _of_traces(
        "trace_roles", 3, "roles of a trace", lambda n: 1 <= n <= MOST, f"1..{MOST}, and 2 or more for multi_role",
        fits=lambda params: params.traces != "multi_role" or params.trace_roles >= 2,
    ),
    _of_traces(
        "trace_samples", 5, "answers of each role, of which the majority is kept", lambda n: n >= 1, "1 or more"
    ),
    _of_traces("trace_tokens", 24000, "tokens of traces that are trained on", lambda n: n >= 1, "1 or more"),
    _of_traces("trace_learning_rate", 1e-3, "peak learning rate on traces", lambda r: 0 < r <= 1, "above 0, at most 1"),
    _of_traces(
        "role_diversity", 10.0, "alpha: what a role's distance to others counts beside its quality",
        lambda alpha: 0 <= alpha <= 1000, "0..1000",
    ),
    _of_traces(
        "merge", "convergent", "a trace of several roles answers as most of them (convergent) or the last (divergent)",
        lambda merge: merge in MERGES, f"one of {', '.join(MERGES)}",
    ),
)  # fmt: skip


# --- asking and reading ----------------------------------------------------------------------------------------------


def opening(role: str) -> str:
    """How reasons from a role begin: what a policy goes on from."""
    return f"I need to think from {role}'s perspective."


def merged(traces: Sequence[str]) -> str:
    """Reasons of several roles, one after the other."""
    return JOIN.join(traces)


def named(reasons: str) -> list[str]:
    """The roles that reasons are told from, in order; one that comes again is there again."""
    return OPENED.findall(reasons)


def parts(reasons: str) -> list[str]:
    """The reasons of each role with their opening; what stands before the first role is none of them."""
    bounds = [*(match.start() for match in OPENED.finditer(reasons)), len(reasons)]
    return [reasons[start:end].removesuffix(JOIN).strip() for start, end in itertools.pairwise(bounds)]


def proposal_chat(row: dict) -> list[dict]:
    """Messages that ask a model for the roles of a scenario."""
    return [{"role": "user", "content": ASK.format(most=MOST, prompt=row["prompt"])}]


def read_proposals(reply: str) -> list[Role]:
    """The roles of a reply, at most `MOST`; none unless it has `LEAST` different ones, a line for each and no other."""
    lines = [line.strip() for line in reply.strip().splitlines() if line.strip()]
    found = [PROPOSED.fullmatch(line) for line in lines]
    if not all(found):
        return []
    unique = {match[1].strip().casefold(): Role(match[1].strip(), match[2].strip()) for match in reversed(found)}
    ordered = [role for role in reversed(unique.values())][:MOST]
    return ordered if len(ordered) >= LEAST else []


# --- choosing --------------------------------------------------------------------------------------------------------


def role_probabilities(quality: np.ndarray, cosine: np.ndarray, alpha: float) -> np.ndarray:
    """(n,) softmax of quality plus alpha times the mean distance 1 - cos to others.

    quality: (n,) expected worth of a role's answers; cosine: (n, m) between the roles and the m that each is held
    against.
    """
    score = quality + alpha * (1 - cosine).mean(1)
    weight = np.exp(score - score.max())
    return weight / weight.sum()


def choose(quality: np.ndarray, vectors: np.ndarray, n: int, alpha: float, rng: np.random.Generator) -> list[int]:
    """Indices of `n` different roles, or of all where there are fewer, drawn one after the other.

    vectors: (roles, dimensions), h above. The paper does not say what j runs over; here it is all other roles for the
    first that is drawn, and for the next ones those that were: else both of two that look at the same are far from the
    rest, and are taken together.
    """
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosine, chosen = unit @ unit.T, []
    while len(chosen) < min(n, len(quality)):
        left = [i for i in range(len(quality)) if i not in chosen]
        against = [[j for j in (chosen or left) if j != i] or [i] for i in left]
        held = np.array([[cosine[i, others].mean()] for i, others in zip(left, against, strict=True)])
        chosen.append(left[int(rng.choice(len(left), p=role_probabilities(quality[left], held, alpha)))])
    return chosen


# --- what several answers come to ------------------------------------------------------------------------------------


def majority(answers: Sequence[str | None], rng: np.random.Generator) -> str | None:
    """The most frequent readable answer, one of them by chance where several are; None where none is readable."""
    counts = Counter(answer for answer in answers if answer is not None)
    top = sorted(answer for answer, count in counts.items() if count == max(counts.values()))
    return top[int(rng.integers(len(top)))] if top else None


def merged_answer(answers: Sequence[str], merge: str, rng: np.random.Generator) -> str:
    """What a trace of roles with these answers, in their order, answers: that of most roles where it is `convergent`,
    and where it is `divergent`, so that each role's own stands, that of the last."""
    return majority(answers, rng) if merge == "convergent" else answers[-1]
