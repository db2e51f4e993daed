"""Warm start of a model that follows instructions: it learns the form of an answer, and stays undecided.

The demonstrations (`scenarios/demonstrations.py`) are asked for as a run asks, through the model's own chat template.
What is trained is a LoRA adapter on the weights as they are published, which is then merged into them. So the run finds
one model, quantises it and puts its own adapter on it, as it does with any other, and its reference is the warm start;
an adapter that went on being trained would have the reference, the dense copy and the checkpoints start from a model
without the form. Merging before quantising takes the memory of the weights in 16 bits on a GPU, in 32 on a CPU.

Rounding to 4 bits moves a model: SmolLM2, undecided before it, gave "wrong" a probability of 0.74 after it. So norms
and biases, which stay as they are when a run quantises, are trained last, on the last demonstrations, with the rest
quantised.
"""

from pathlib import Path

import bitsandbytes as bnb
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from studylib.names import model_of
from studylib.params import RunParams
from studylib.policy.precision import nf4, precision
from studylib.policy.supervised import Pair, Recipe, supervised
from studylib.randomness import torch_seed
from studylib.runs.contents import contents
from studylib.scenarios import demonstrations, facts, prompts, telling, vocabulary, worlds
from studylib.text import tokens

RECIPE = Recipe(batch=8, rows_per_pass=4, learning_rate=4e-3, warmup=2)
SETTLING = Recipe(batch=8, rows_per_pass=8, learning_rate=3e-3, warmup=2)  # of norms and biases
SETTLING_STEPS = 20  # at most
RANK = 16  # of the adapter that is merged, whatever the run's own has
SEED = 0


def published(params: RunParams) -> tuple[str, str | None]:
    """Folder or hub id of the model as it is published, and its commit."""
    fetch = model_of(params.model).fetch
    return (str(fetch()), None) if fetch else (params.model, params.revision)


def code(params: RunParams) -> tuple:
    """Modules that the demonstrations are made by, and put to the model."""
    return (vocabulary, facts, telling, worlds, demonstrations, prompts, tokens)


def inputs(params: RunParams) -> list:
    """What of the parameters the warm start depends on: the model. Neither source nor anything of a condition."""
    content = contents(params).get("model_content")
    return [params.model, params.revision, content, str(precision(params.device).dtype), bnb.__version__]


def scenarios(params: RunParams) -> list[dict]:
    return [row for row, _ in _demonstrations(params)]


def build(params: RunParams, folder: Path) -> None:
    """Train and save model and tokenizer in `folder`; a model that cannot be asked or read is refused before."""
    disable_progress_bar()
    name, revision = published(params)
    tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, padding_side="left")
    tokens.require_chat(tokenizer, params.model)
    tokens.require_tags(tokenizer, params.model)
    config = AutoConfig.from_pretrained(name, revision=revision)
    config.attention_dropout = 0.0
    model = AutoModelForCausalLM.from_pretrained(
        name, revision=revision, config=config, dtype=precision(params.device).dtype, device_map={"": params.device}
    )
    adapter = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch_seed(SEED, "warm_start/adapter"):
        model = get_peft_model(model, adapter).train()
    pairs, pad = encoded(tokenizer, _demonstrations(params)), tokenizer.pad_token_id or 0
    supervised(model, pairs, pad, RECIPE)
    model = model.merge_and_unload().cpu()  # a GPU need not hold it beside its quantised twin
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model.load_state_dict(_settled(params, folder, pairs[-SETTLING_STEPS * SETTLING.batch :], pad), strict=False)
    model.save_pretrained(folder)


def _settled(params: RunParams, folder: Path, pairs: list[Pair], pad: int) -> dict[str, torch.Tensor]:
    """Norms and biases, by name, trained on `pairs` as part of the model in `folder` as a run quantises it."""
    dtype = precision(params.device).dtype
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=nf4(dtype), dtype=dtype, device_map={"": params.device}
    ).train()
    for weight in model.parameters():
        weight.requires_grad_(weight.dim() == 1)
        if weight.requires_grad:
            weight.data = weight.data.float()  # in 16 bits small updates are lost, and cannot be unscaled
    settling = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if settling:  # a few models have neither
        supervised(model, pairs, pad, SETTLING)
    return {name: weight.detach().to(dtype) for name, weight in settling.items()}


def _demonstrations(params: RunParams) -> list[tuple[dict, str]]:
    return demonstrations.demonstrations(params.warm_start_steps * RECIPE.batch, SEED)


def encoded(tokenizer, pairs: list[tuple[dict, str]]) -> list[Pair]:
    """Scenarios and responses as token ids: the prompt as a run sends it, and what is left to write after it."""
    asked = tokens.prompt_tokens(tokenizer, [prompts.chat(row, instruct=True) for row, _ in pairs])
    left = [
        tokens.left_to_write(said, tokens.opened(tokenizer, ids)) for ids, (_, said) in zip(asked, pairs, strict=True)
    ]
    responses = tokenizer(left, add_special_tokens=False)["input_ids"]
    return [Pair(ids, [*response, tokenizer.eos_token_id]) for ids, response in zip(asked, responses, strict=True)]
