"""Folders of untrained models, as a reader might name one with -p model: other templates and end tokens."""

import json
from pathlib import Path

import torch

from studylib.policy import tiny
from studylib.scenarios.vocabulary import DOMAINS

SYSTEM_TOO = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}<|assistant|>{{ m['content'] }}<|end|>"
    "{% else %}<|user|>{{ m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def opening(text: str) -> str:
    """A template that begins the answer with `text`."""
    return SYSTEM_TOO.replace("<|assistant|>{% endif %}", f"<|assistant|>{text}{{% endif %}}")


def hub_model(folder: Path, template: str | None = SYSTEM_TOO, special: tuple[str, ...] = (), eos=None) -> str:
    """eos: what config and generation config name as end tokens, beside the tokenizer's own."""
    tokenizer = tiny.tiny_tokenizer([" ".join(DOMAINS)] * 20 + ["It is right, it is wrong."] * 20)
    if special:
        tokenizer.add_special_tokens({"additional_special_tokens": [tiny.USER, tiny.ASSISTANT, *special]})
    tokenizer.chat_template = template
    torch.manual_seed(0)
    tiny.tiny_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json") if eos is not None else ():
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | {"eos_token_id": eos}))
    return str(folder)
