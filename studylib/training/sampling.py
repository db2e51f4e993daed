"""Which answers a step gets: one per prompt from the policy as it is, each with a random stream of its own."""

from collections import Counter

from studylib.policy.rollout import rollout
from studylib.policy.sampling import NoToken, Sampling
from studylib.randomness import generator
from studylib.training.measure import measuring
from studylib.training.told import told


def sample(trainer, prompts: list[list[int]], ids: list[str]) -> list[list[int]]:
    """One answer to each prompt, as token ids; the k-th answer to a scenario in a step has its own random stream.

    So a run that resumes, or that decodes other answers beside this one, draws the same tokens. `trainer.drawn` gets
    the log-probability with which each token was drawn, in steps that are measured.
    """
    p, step, training = trainer.params, trainer.state.global_step, trainer.model.training
    trainer.drawn = [] if measuring(trainer) and training else None
    purpose, times = f"refill{trainer.attempt}" if trainer.attempt else trainer.mode, Counter()
    keys = []
    for scenario in ids:
        keys.append((p.seed, purpose, step, scenario, times[scenario]))
        times[scenario] += 1
    how = Sampling(p.max_new_tokens, tuple(trainer.eos_token_ids), p.temperature)
    model = trainer.dense.refresh() if trainer.dense else trainer.model
    pad = trainer.processing_class.pad_token_id
    try:
        answers = rollout(model, prompts, keys, how, pad, p.rollout_batch, p.rollout_compile, trainer.drawn)
    except NoToken as error:
        raise NoToken(f"after {step} optimiser steps, {error}") from None
    trainer.model.training = training  # TRL reads here whether it evaluates, and sampling is always in train() mode
    trainer.generated += sum(map(len, answers))
    if trainer.objective.told and training:
        trainer.drawn = None  # what is told was not drawn
        return told(trainer, prompts, answers, ids)
    return answers


def reserve(trainer, n: int) -> list[dict]:
    """`n` training scenarios drawn for dynamic sampling, each G times."""
    rng = generator(trainer.params.seed, "dynamic_sampling", trainer.state.global_step * 1000 + trainer.attempt)
    rows = [trainer.train_dataset[int(i)] for i in rng.integers(len(trainer.train_dataset), size=n)]
    return [row for row in rows for _ in range(trainer.num_generations)]
