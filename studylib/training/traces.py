"""Traces of roles: sampled from the policy, kept where a role agrees with itself, merged, and cut to one budget.

After MultiRole-R1 (arXiv 2507.20187, section 3), with these differences: roles are chosen by what the policy says from
them here and now; a merged trace that is longer than an answer may be is left out, where the paper leaves out the
longest and the shortest tenth; and every condition is trained on the same number of tokens of traces, which are gone
through again, in another order, until the number is reached.

No right answer is read anywhere in this file: what is sampled, kept and merged depends on the policy alone.

| traces      | what is sampled for a scenario       | what is trained on                                |
| ----------- | ------------------------------------ | ------------------------------------------------- |
| multi_role  | r roles, k answers of each           | one trace of each role, merged in random order     |
| single_role | one role, r k answers of it          | its traces, one by one                             |
| format_only | the same                             | r of its traces, merged: the form without the roles |
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from studylib.names import SOURCES
from studylib.params import RunParams
from studylib.randomness import generator
from studylib.scenarios.prompts import chat
from studylib.scenarios.roles import (
    LEAST,
    Role,
    choose,
    majority,
    merged,
    merged_answer,
    named,
    opening,
    proposal_chat,
    read_proposals,
)
from studylib.text.answers import parse, read_answer
from studylib.text.embedding import embed_words
from studylib.text.tokens import answer_text, left_to_write, opened, prompt_tokens

SCOUTS = 2  # answers of every proposed role, by which its quality is judged: how often they agree
ORDERS = 2  # merged traces of a scenario, as for ETHICS in the paper
PROPOSAL = "traces/proposal"  # purposes of random streams
Sample = Callable[[list[list[int]], list[tuple]], list[list[int]]]  # prompts and keys -> answers, all token ids


class Said(NamedTuple):
    """What the policy said from a role: its reasons, None where another role speaks in them too, and its answer."""

    reasons: str | None
    answer: str | None


class Trace(NamedTuple):
    """What is trained on."""

    scenario: str  # id
    roles: str  # names by "; ", in the order in which they speak
    answer: str
    response: str
    tokens: list[int]  # what is left to write after the prompt, up to and with the end token


class Policy(NamedTuple):
    """How traces are sampled: by a function, in the words of a tokenizer."""

    tokenizer: object
    ends: tuple[int, ...]
    sample: Sample


# --- roles -----------------------------------------------------------------------------------------------------------


def proposals(rows: list[dict], params: RunParams, policy: Policy) -> list[list[Role]]:
    """The roles of every scenario: those that its world offers, or what an instruct model proposes.

    A scenario for which the model proposes nothing usable has none. Raises ValueError where no scenario has enough.
    """
    offers = SOURCES.of(params.source).roles
    if offers:
        found = [offers(row) for row in rows]
    else:
        asked = prompt_tokens(policy.tokenizer, [proposal_chat(row) for row in rows])
        replies = policy.sample(asked, [(params.seed, PROPOSAL, row["id"]) for row in rows])
        texts = [answer_text(policy.tokenizer, (), reply, policy.ends) for reply in replies]
        found = [read_proposals(text.rpartition("</think>")[2]) for text in texts]
    least = min(LEAST, params.trace_roles)
    if not any(len(roles) >= least for roles in found):
        source = f"source {params.source!r}" if offers else f"model {params.model!r}"
        said = "" if offers else f"; its first reply was {texts[0][:200]!r}"
        raise ValueError(f"{source} has no roles for any of {len(rows)} scenarios, so there are no traces{said}")
    return found


def chosen_roles(rows: list[dict], params: RunParams, policy: Policy) -> list[list[Role]]:
    """The roles that speak about every scenario, by the formula in `scenarios/roles.py`; none where it has too few.

    E[M] of a role is how often `SCOUTS` answers from it agree. All conditions judge all proposed roles alike.
    """
    proposed = proposals(rows, params, policy)
    asked = [(row, role, k) for row, roles in zip(rows, proposed, strict=True) for role in roles for k in range(SCOUTS)]
    said = iter(speak(asked, params, policy, "traces/scout"))
    wanted = params.trace_roles if params.traces == "multi_role" else 1
    chosen = []
    for row, roles in zip(rows, proposed, strict=True):
        quality = np.array([agreement([next(said).answer for _ in range(SCOUTS)]) for _ in roles])
        if len(roles) < wanted:
            chosen.append([])
            continue
        vectors = embed_words([f"{role.name}: {role.looks_at}" for role in roles])
        rng = generator(params.seed, f"traces/roles/{row['id']}")
        chosen.append([roles[i] for i in choose(quality, vectors, wanted, params.role_diversity, rng)])
    return chosen


def agreement(answers: Sequence[str | None]) -> float:
    """Share of the answers that are the most frequent one; 0 where none can be read."""
    read = [answer for answer in answers if answer is not None]
    return max(map(read.count, read), default=0) / len(answers)


def speak(asked: list[tuple[dict, Role, int]], params: RunParams, policy: Policy, purpose: str) -> list[Said]:
    """What the policy says to each (scenario, role, number): it goes on from reasons that the role has opened."""
    tokenizer = policy.tokenizer
    prompts = prompt_tokens(tokenizer, [chat(row, params.instructed) for row, *_ in asked])
    starts = [_left(tokenizer, prompt, f"<think>{opening(role.name)}")
              for prompt, (_, role, _) in zip(prompts, asked, strict=True)]  # fmt: skip
    begun = [[*prompt, *start] for prompt, start in zip(prompts, starts, strict=True)]
    keys = [(params.seed, purpose, row["id"], role.name, k) for row, role, k in asked]
    said = []
    answers = policy.sample(begun, keys)
    for (row, role, _), prompt, start, answer in zip(asked, prompts, starts, answers, strict=True):
        text = answer_text(tokenizer, prompt, [*start, *answer], policy.ends)
        option = read_answer(text, row["options"])
        reasons = parse(text)[0] if option is not None else None
        said.append(Said(reasons if reasons and named(reasons) == [role.name] else None, option))
    return said


def _left(tokenizer, prompt: list[int], text: str) -> list[int]:
    """Token ids of what of a response, or of its beginning, is left to write after the tags that a prompt opened."""
    left = left_to_write(text, opened(tokenizer, prompt))
    return tokenizer(left, add_special_tokens=False)["input_ids"]


# --- from what was said to what is trained on ------------------------------------------------------------------------


def kept(said: Sequence[Said], rng: np.random.Generator) -> tuple[str | None, list[str]]:
    """The majority answer of one role, and the reasons that lead to it: the self-consistency filter.

    Answers whose reasons are not the role's alone have a vote of their own kind: none.
    """
    own = [one for one in said if one.reasons is not None]
    answer = majority([one.answer for one in own], rng)
    return answer, [one.reasons for one in own if one.answer == answer]


def merges(
    by_role: list[tuple[str, str | None, list[str]]], params: RunParams, rng: np.random.Generator
) -> list[tuple[list[str], str, str]]:
    """(roles, answer, reasons) of the traces of one scenario; by_role: (role, its answer, its reasons) of each.

    A scenario of which a role kept nothing has no traces.
    """
    if not by_role or any(answer is None for _, answer, _ in by_role):
        return []
    if params.traces == "single_role":
        ((role, answer, reasons),) = by_role
        picked = rng.permutation(len(reasons))[: ORDERS * params.trace_roles]
        return [([role], answer, reasons[i]) for i in picked]
    if params.traces == "format_only":
        by_role = by_role * params.trace_roles
    traces = []
    for _ in range(ORDERS):
        order = [by_role[i] for i in rng.permutation(len(by_role))]
        reasons = merged([each[int(rng.integers(len(each)))] for *_, each in order])
        traces.append(
            ([role for role, *_ in order], merged_answer([one for _, one, _ in order], params.merge, rng), reasons)
        )
    return traces


def sampled_traces(rows: list[dict], params: RunParams, policy: Policy) -> list[Trace]:
    """The traces of all scenarios, in their order."""
    roles = chosen_roles(rows, params, policy)
    each = params.trace_samples * (1 if params.traces == "multi_role" else params.trace_roles)
    asked = [(row, role, k) for row, own in zip(rows, roles, strict=True) for role in own for k in range(each)]
    said = iter(speak(asked, params, policy, "traces/role"))
    prompts = prompt_tokens(policy.tokenizer, [chat(row, params.instructed) for row in rows])
    traces = []
    for row, own, prompt in zip(rows, roles, prompts, strict=True):
        rng = generator(params.seed, f"traces/merge/{row['id']}")
        by_role = [(role.name, *kept([next(said) for _ in range(each)], rng)) for role in own]
        for speakers, answer, reasons in merges(by_role, params, rng):
            response = f"<think>{reasons}</think><answer>{answer}</answer>"
            tokens = [*_left(policy.tokenizer, prompt, response), policy.tokenizer.eos_token_id]
            if len(tokens) <= params.max_new_tokens:
                traces.append(Trace(row["id"], "; ".join(speakers), answer, response, tokens))
    return traces


def budgeted(traces: Sequence[Trace], budget: int, seed: int) -> list[Trace]:
    """Traces in random order, all of them before any comes again, up to the one with which `budget` tokens are reached.

    So two conditions are trained on numbers of tokens that differ by less than one trace.
    """
    taken, tokens = [], 0
    while traces and tokens < budget:
        for i in generator(seed, "traces/order", len(taken)).permutation(len(traces)):
            taken.append(traces[i])
            tokens += len(traces[i].tokens)
            if tokens >= budget:
                break
    return taken
