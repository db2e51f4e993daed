"""Warm start of the tiny model: supervised training on demonstrations that know the facts and are unsure of the norms.

Demonstrations teach the form of a response, the deciding fact, and that a circumstance matters where it is decisive.
Whether it counts is drawn at random, with a slight leaning (`BELIEF`) that is the same in every kind of community. So
the model starts undecided between the norms of the two kinds, and its greedy answers are wrong about as often in
`universal_norms` as in `local_norms`. One warm start serves both worlds, all conditions and seeds of an axis; it is
built once and cached by a hash of its content. A world of other answers (`plural_norms`) has its own demonstrations.
"""

from pathlib import Path

import numpy as np
import torch
import transformers

from studylib.names import HELD_OUT_STYLES, SOURCES, TRAIN_STYLES
from studylib.params import RunParams
from studylib.paths import cached
from studylib.policy import tiny
from studylib.randomness import generator, torch_seed
from studylib.scenarios import facts, plural, telling, vocabulary, worlds
from studylib.scenarios.prompts import chat
from studylib.scenarios.rows import digest

BATCH = 64
WORLD = "universal_norms"  # whose texts are those of every world
LEARNING_RATE = 3e-3
SEED = 0
BELIEF = {"need": 0.6, "promise": 0.4, "consent": 0.4, "office": 0.6}  # chance that a demonstration lets it count


def warm_start_key(params: RunParams) -> str:
    """Hash of everything that the warm start depends on: recipe, code, versions."""
    modules = (vocabulary, facts, telling, worlds, *([plural] if _own(params) else []), tiny)
    code = [Path(module.__file__).read_text() for module in modules] + [Path(__file__).read_text()]
    inputs = [params.source] if _own(params) else [params.frameworks, params.facts_told]
    recipe = [*inputs, params.warm_start_steps]
    return digest(recipe, code, torch.__version__.split("+")[0], transformers.__version__)


def warm_start(params: RunParams) -> Path:
    """Folder of the warm-started model and tokenizer; built when it is not in the cache."""
    return cached("warm_start", warm_start_key(params), lambda folder: build(params, folder))


def demonstrations(params: RunParams, n: int) -> list[tuple[str, str]]:
    """`n` (prompt, response) pairs over all domains and styles, from facts of the warm start's own side."""
    inputs = {"domains": tuple(vocabulary.DOMAINS), "styles": TRAIN_STYLES + HELD_OUT_STYLES}
    if own := _own(params):
        return own(n, SEED, **inputs)
    rows = worlds.make_split(
        WORLD, "warm_start", n, SEED, **inputs,
        frameworks=tuple(params.frameworks.split()), facts_told=params.facts_told,
    )  # fmt: skip
    draws = generator(SEED, "warm_start/belief").random(n).tolist()
    return [(row["prompt"], _demonstration(row, draw)) for row, draw in zip(rows, draws, strict=True)]


def _own(params: RunParams):
    """The demonstrations of a world whose answers are not those of the others; None where it has none."""
    return SOURCES.of(params.source).demonstrations


def _demonstration(row: dict, draw: float) -> str:
    of_row = facts.facts_of(row)
    return telling.reasoned_response(of_row, row["framework"], draw < BELIEF.get(of_row.circumstance, 0.0))


def build(params: RunParams, folder: Path) -> None:
    """Train tokenizer and model and save them in `folder`. About a minute on one CPU thread.

    A plain loop, because it scores the responses only and so takes half the time of TRL's SFTTrainer at this size.
    """
    torch.set_num_threads(1)  # how a sum is rounded depends on the number of threads, and with it what runs start from
    pairs = demonstrations(params, params.warm_start_steps * BATCH)
    tokenizer = tiny.tiny_tokenizer(f"{prompt} {response}" for prompt, response in pairs[:4000])
    prompts = tokenizer.apply_chat_template(
        [chat({"prompt": prompt}, instruct=False) for prompt, _ in pairs], add_generation_prompt=True, tokenize=False
    )
    responses = [response + tokenizer.eos_token for _, response in pairs]
    with torch_seed(SEED, "warm_start/model"):
        model = tiny.tiny_model(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, params.warm_start_steps))
    for start in range(0, len(pairs), BATCH):
        loss = response_loss(model, tokenizer, prompts[start : start + BATCH], responses[start : start + BATCH])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def response_loss(model, tokenizer, prompts: list[str], responses: list[str]) -> torch.Tensor:
    """Mean negative log-likelihood of the response tokens, nats per token. Prompts are padded left, responses right."""
    prompt = tokenizer(prompts, return_tensors="pt", padding=True)
    response = tokenizer(responses, return_tensors="pt", padding=True, padding_side="right")
    mask = torch.cat([prompt["attention_mask"], response["attention_mask"]], dim=1)
    length = response["input_ids"].shape[1]
    logits = model(
        input_ids=torch.cat([prompt["input_ids"], response["input_ids"]], dim=1),
        attention_mask=mask,
        position_ids=(mask.cumsum(1) - 1).clamp(min=0),
        logits_to_keep=length + 1,  # the last prompt position predicts the first response token
    ).logits[:, :-1]
    labels = response["input_ids"].masked_fill(response["attention_mask"] == 0, -100)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())


def _rate(step: int, steps: int, warmup: int = 20) -> float:
    """Linear warm-up, then cosine to 0."""
    return min(1.0, (step + 1) / warmup) * 0.5 * (1 + np.cos(np.pi * step / steps))
