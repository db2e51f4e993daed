"""The held-out curve: what the policy scores on a few held-out scenarios while it is trained.

It tells how fast a condition learns what generalises, whatever its reward pays. The scenarios are the same for every
condition and seed, and the random numbers of an answer are the same at every look, so that looks differ by the policy
alone. Nothing of the training depends on a look, and no look chooses anything: what is claimed is measured after it.
"""

from collections.abc import Callable

from studylib.names import SOURCES
from studylib.params import RunParams
from studylib.policy.rollout import rollout, sampler
from studylib.policy.sampling import NoToken, Sampling
from studylib.randomness import torch_seed
from studylib.rewards.correct import correct
from studylib.rewards.faithful import faithful
from studylib.runs.read import SPLITS
from studylib.scenarios.prompts import chat
from studylib.scenarios.selection import Splits
from studylib.text.tokens import answer_texts, end_tokens, prompt_tokens

SCENARIOS, SAMPLES = 24, 4  # looked at; answers to each, at temperature 1
Look = Callable[[int], dict[str, float]]  # step -> name in metrics.jsonl -> share of the answers


def held_out_look(policy, tokenizer, splits: Splits, params: RunParams) -> Look | None:
    """What looks at the policy as it then is: `held_out/accuracy` and, in worlds, `held_out/faithful`.

    None where `eval_every` is 0, where scenarios are answered openly, because their grade may take a judge at every
    look, and where an untrained model is asked in another way than one that is trained: it has no curve.
    """
    rows = looked_at(splits)
    if not params.eval_every or params.instruction or params.few_shot or not rows or rows[0]["answer"] is None:
        return None
    rows = [row for row in rows for _ in range(SAMPLES)]
    prompts = prompt_tokens(tokenizer, [chat(row, params.instructed) for row in rows])
    keys = [(params.seed, "held_out_curve", row["id"], 1 + i % SAMPLES) for i, row in enumerate(rows)]
    ends, pad = end_tokens(policy, tokenizer), tokenizer.pad_token_id

    def look(step: int) -> dict[str, float]:
        how = Sampling(params.max_new_tokens, ends)
        with torch_seed(params.seed, "held_out_curve", step):  # a new dense copy draws its first weights
            model = sampler(params, policy)
        try:
            answers = rollout(model, prompts, keys, how, pad, params.rollout_batch, params.rollout_compile)
        except NoToken as error:
            raise NoToken(f"held-out answers after step {step}: {error}") from None
        return shares(answer_texts(tokenizer, prompts, answers, ends), rows)

    return look


def looked_at(splits: Splits) -> list[dict]:
    """The first scenarios, which lie in random order, of the primary kind of split that there is."""
    split = next((name for name in SPLITS if splits.get(name)), None)
    return splits[split][:SCENARIOS] if split else []


def shares(responses: list[str], rows: list[dict]) -> dict[str, float]:
    """Share of right answers and, where a world's truth tells, of those whose reasons hold."""
    pairs = list(zip(responses, rows, strict=True))
    found = {"held_out/accuracy": sum(correct(*pair) for pair in pairs) / len(pairs)}
    if SOURCES.of(rows[0]["source"]).world:
        found["held_out/faithful"] = sum(faithful(*pair) for pair in pairs) / len(pairs)
    return found
