"""Forced choice: what a policy would answer if it had to name one of the options now, whatever its form.

The reasons that it wrote are followed by `</think><answer>`, and each option with `</answer>` behind it is scored by
the sum of the log-probabilities of its tokens. It is read of the policy and not of its text, so a policy that forgot
the answer tag still shows what it judges.
"""

from collections.abc import Sequence

import torch

from studylib.policy.decoder import Decoder
from studylib.policy.models import sampling_mode, steady_attention
from studylib.policy.rollout import as_in_training
from studylib.policy.sampling import Sampling
from studylib.text.answers import ANSWER, END_ANSWER, END_THINK
from studylib.text.tokens import opened


def option_shares(
    model, tokenizer, prompts: Sequence[Sequence[int]], responses: Sequence[str], options: Sequence[Sequence[str]],
    max_new_tokens: int, batch: int = 256,
) -> list[list[float]]:  # fmt: skip
    """The share of each option of each prompt, summing to 1, after the reasons of the response to it.

    prompts: token ids; responses: as `answer_text` gives them; max_new_tokens: what reasons and option have room in, to
    which long reasons are cut. Options are scored in batches of `batch`; equal prompts with reasons are encoded once.
    """
    before, after, sizes = [], [], []
    for prompt, response, named in zip(prompts, responses, options, strict=True):
        reasons, close = _reasons(opened(tokenizer, prompt), response)
        endings = [_ids(tokenizer, f"{close}{option}{END_ANSWER}") for option in named]
        room = max(0, max_new_tokens - max(map(len, endings)))
        shared = _shared(endings)  # encoded once; alike for every option, so it changes no share
        before += [[*prompt, *_ids(tokenizer, reasons)[:room], *endings[0][:shared]]] * len(named)
        after += [ending[shared:] for ending in endings]
        sizes.append(len(named))
    logps = torch.tensor(continuation_logps(model, before, after, tokenizer.pad_token_id, batch), dtype=torch.float64)
    return [part.softmax(0).tolist() for part in logps.split(sizes)]


def _reasons(open_tags: str, response: str) -> tuple[str, str]:
    """(what the policy wrote of its reasons, what has to follow before an option); open_tags: those of the prompt."""
    if ANSWER in open_tags:
        return "", ""
    if END_THINK in open_tags:
        return "", ANSWER
    return response.partition(END_THINK)[0].removeprefix(open_tags), END_THINK + ANSWER


def _shared(endings: list[list[int]]) -> int:
    """How many tokens all endings begin with, of each but its last one."""
    shared = 0
    while all(len(ending) > shared + 1 and ending[shared] == endings[0][shared] for ending in endings):
        shared += 1
    return shared


def _ids(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def continuation_logps(
    model, before: Sequence[Sequence[int]], after: Sequence[Sequence[int]], pad: int, batch: int = 256
) -> list[float]:
    """Log-probability of each continuation (token ids, at least one) after the tokens before it (at least two)."""
    order = sorted(range(len(before)), key=lambda i: (len(before[i]), before[i]))
    logps = [0.0] * len(before)
    with sampling_mode(model), as_in_training(model), steady_attention(model):
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            found = _logps(model, [before[i] for i in chosen], [after[i] for i in chosen], pad)
            for i, logp in zip(chosen, found, strict=True):
                logps[i] = logp
    return logps


def _logps(model, before: list[Sequence[int]], after: list[Sequence[int]], pad: int) -> list[float]:
    longest = max(map(len, after))
    decoder = Decoder(model, before, Sampling(longest, ()), pad)
    forced = torch.tensor([[*ids, *[pad] * (longest - len(ids))] for ids in after], device=decoder.device)
    length = torch.tensor([len(ids) for ids in after], device=decoder.device)
    total = torch.zeros(len(after), dtype=torch.float64, device=decoder.device)
    for t in range(longest):
        token = forced[:, t]
        logp = torch.log_softmax(decoder.next_logits().float(), -1).gather(-1, token[:, None]).squeeze(1)
        total += torch.where(t < length, logp.double(), 0.0)
        decoder.token = token
    return total.tolist()
