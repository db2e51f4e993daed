"""Which answers a step gets: one per prompt from the policy as it is, each with a random stream of its own."""

from collections import Counter
from collections.abc import Callable

from studylib import processes
from studylib.policy.rollout import rollout
from studylib.policy.sampling import NoToken, Sampling
from studylib.randomness import generator
from studylib.training.batches import idle_groups, refill
from studylib.training.measure import measuring
from studylib.training.told import reasons_of, told


def sample(trainer, prompts: list[list[int]], ids: list[str]) -> list[list[int]]:
    """One answer to each prompt, as token ids; the k-th answer to a scenario in a step has its own random stream.

    So a run that resumes, or that decodes other answers beside this one, draws the same tokens. Prompts are dealt to
    the processes of a run, each with all its answers. `trainer.drawn` gets the log-probability with which each token
    was drawn, in steps that are measured.
    """
    p, step, training = trainer.params, trainer.state.global_step, trainer.model.training
    purpose, times = f"refill{trainer.attempt}" if trainer.attempt else trainer.mode, Counter()
    keys = []
    for scenario in ids:
        keys.append((p.seed, purpose, step, scenario, times[scenario]))
        times[scenario] += 1
    measured = measuring(trainer) and training
    how = Sampling(p.max_new_tokens, tuple(trainer.eos_token_ids), p.temperature)
    model = trainer.dense.refresh() if trainer.dense else trainer.model
    pad = trainer.processing_class.pad_token_id

    def own(rows: list[int]) -> list[tuple[list[int], list[float]]]:
        asked, of_asked, drawn = [prompts[i] for i in rows], [keys[i] for i in rows], [] if measured else None
        answers = rollout(model, asked, of_asked, how, pad, p.rollout_batch, p.rollout_compile, drawn)
        return list(zip(answers, drawn or [[]] * len(rows), strict=True))

    try:
        answers, drawn = zip(*_of_all_processes(own, prompts), strict=True)
    except NoToken as error:
        raise NoToken(f"after {step} optimiser steps, {error}") from None
    trainer.drawn = list(drawn) if any(drawn) else None  # not every sampler tells
    trainer.model.training = training  # TRL reads here whether it evaluates, and sampling is always in train() mode
    trainer.generated += sum(map(len, answers))
    trainer.reasons = []
    if trainer.objective.told and training:
        trainer.drawn = None  # what is told was not drawn
        return told(trainer, prompts, list(answers), ids)
    if trainer.objective.answer_only and training:
        trainer.reasons = reasons_of(trainer, prompts, answers)
    return list(answers)


def _of_all_processes(own: Callable[[list[int]], list], prompts: list[list[int]]) -> list:
    """What `own` gives for the rows that it is called with, of all rows; rows of one prompt are one process' work."""
    turns: dict[tuple, int] = {}
    turn = [turns.setdefault(tuple(prompt), len(turns)) for prompt in prompts]
    rows = [i for i in range(len(prompts)) if processes.mine(turn[i])]
    found = dict(pair for pairs in processes.of_all(lambda: list(zip(rows, own(rows), strict=True))) for pair in pairs)
    return [found[i] for i in range(len(prompts))]


def refilled(trainer, answers: dict) -> dict:
    """Groups without differences replaced by fresh ones: DAPO's dynamic sampling, arXiv 2503.14476, section 3.2.

    The log is of the step's first answers: those that replace others are chosen to differ, so their mean reward would
    be that of another policy.
    """
    g, pad = trainer.num_generations, trainer.processing_class.pad_token_id
    for attempt in range(1, trainer.params.dynamic_sampling + 1):
        trainer.attempt = attempt
        idle = idle_groups(answers["advantages"], g)
        if not len(idle):
            break
        with trainer.unlogged():
            more = trainer.answered(reserve(trainer, len(idle)))
        answers = refill(answers, more, idle, g, pad)
    return answers


def reserve(trainer, n: int) -> list[dict]:
    """`n` training scenarios drawn for dynamic sampling, each G times."""
    rng = generator(trainer.params.seed, "dynamic_sampling", trainer.state.global_step * 1000 + trainer.attempt)
    rows = [trainer.train_dataset[int(i)] for i in rng.integers(len(trainer.train_dataset), size=n)]
    return [row for row in rows for _ in range(trainer.num_generations)]
