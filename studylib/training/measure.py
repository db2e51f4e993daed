"""What is measured of a step's answers, for any objective: how well they could be read, and at every tenth step the
policy's entropy, its KL to the reference and how far the sampler was from it.
"""

import torch

from studylib.names import SOURCES
from studylib.text.readable import shares
from studylib.text.tokens import cut_off

MEASURE_EVERY = 10  # steps


def measuring(trainer) -> bool:
    """Whether the answers of this step are measured."""
    return trainer.state.global_step // trainer.params.updates_per_batch % MEASURE_EVERY == 0


def measure(trainer, answers: dict, sampled: torch.Tensor | None) -> None:
    """Log `policy_entropy` (nats per token), `kl_to_reference` (nats per answer) and, where the sampler's
    log-probabilities (B, T) are known, `sampler_mismatch` (nats per token) and `sampler_largest_ratio` (at least 1).
    """
    if not measuring(trainer):
        return
    mask, policy = answers["completion_mask"], trainer.score(answers)
    with trainer.model.disable_adapter():
        reference = trainer.score(answers).logps
    trainer.log_value("policy_entropy", (policy.entropy * mask).sum() / mask.sum())
    trainer.log_value("kl_to_reference", ((policy.logps - reference) * mask).sum(1).mean())
    if sampled is not None:
        apart = ((sampled - policy.logps) * mask).abs()
        trainer.log_value("sampler_mismatch", apart.sum() / mask.sum())
        trainer.log_value("sampler_largest_ratio", apart.max().exp())


def problems(trainer, rows: list[dict], completions: list, answers: list[list[int]]) -> dict[str, float]:
    """Share of a step's answers with each problem of reading them. completions: texts or chats; answers: token ids."""
    texts = [answer if isinstance(answer, str) else answer[0]["content"] for answer in completions]
    options = [row.get("options") for row in rows]
    cut = [cut_off(answer, trainer.eos_token_ids) for answer in answers]
    return shares(zip(texts, options, cut, strict=True), SOURCES.of(trainer.params.source).rated)
