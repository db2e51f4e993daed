"""Untrained models of published sizes, for what does not depend on what the weights are: speed, memory, kernels.

No file of a model is needed: its shape stands in `policy/memory.py`, and its tokenizer is made here.
"""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from studylib.policy.memory import GIB, Shape
from studylib.policy.tiny import ASSISTANT, END, PAD, USER, VISIBLE_TAGS, tiny_tokenizer

POSITIONS = 8192
ENDS = 16  # one in so many tokens ends an answer of a model that speaks


def config_of(shape: Shape, **more):
    """transformers' configuration of such a model."""
    return AutoConfig.for_model(
        shape.kind, vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, head_dim=shape.head_dim,
        intermediate_size=shape.intermediate, tie_word_embeddings=shape.tied, max_position_embeddings=POSITIONS, **more,
    )  # fmt: skip


def cut(shape: Shape, gib: float) -> Shape:
    """The shape with as many of its layers, at least one, as keep its 16-bit weights within `gib` GiB."""
    of_a_layer = 2 * shape.linear_weights / shape.layers
    layers = int((gib * GIB - 2 * shape.embedding_weights) // of_a_layer)
    return shape._replace(layers=min(shape.layers, max(1, layers)))


def save_random_model(folder: Path, shape: Shape) -> None:
    """An untrained model and a tokenizer of numbered words, whose end token the model cannot produce."""
    words = {f"w{i}": i for i in range(min(shape.vocabulary, 5000) - 1)}
    vocabulary = words | {"<pad>": len(words), "<end>": shape.vocabulary}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    _save(folder, shape, tokenizer)


def save_speaking_model(folder: Path, shape: Shape, texts: list[str]) -> None:
    """An untrained model whose tokenizer has a chat template and knows words of `texts` and our tags.

    Every token can be read, and one in `ENDS` ends an answer, so that answers are of many lengths.
    """
    spoken = tiny_tokenizer(texts, min(1536, shape.vocabulary // 2))
    whole = json.loads(spoken.backend_tokenizer.to_str())
    first, tags = len(whole["model"]["vocab"]), len(VISIBLE_TAGS)
    others = range(first, shape.vocabulary - tags)  # the tags come last
    whole["model"]["vocab"] |= {f"w{i}": i for i in others}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(whole)), pad_token=PAD, eos_token=END,
        additional_special_tokens=[USER, ASSISTANT], chat_template=spoken.chat_template,
    )  # fmt: skip
    _save(folder, shape, tokenizer, [tokenizer.eos_token_id, *others[::ENDS]])


def _save(folder: Path, shape: Shape, tokenizer, ends: list[int] | None = None) -> None:
    tokenizer.save_pretrained(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    with torch.device(device):
        config = config_of(shape, pad_token_id=tokenizer.pad_token_id)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
    if ends:
        model.generation_config.eos_token_id = ends
    model.save_pretrained(folder)
