"""Between text and tokens: what a model is sent, where its answer ends, and what is read of the answer.

Training, evaluation and DPO send and read through these functions alone, so that they cannot read one answer in two
ways. What a policy wrote is read whole: only the end token and padding are cut off, special tokens stay visible, and a
tag that the chat template opened in the prompt (`<think>` in R1-style templates) is put back in front.
"""

import re
from collections.abc import Collection, Sequence

from studylib.text.options import TAGS

OPENED = re.compile(r"(?:<think>\s*(?:</think>\s*(?:<answer>\s*)?)?|<answer>\s*)\Z")  # at the end of a prompt
TAIL = 32  # tokens at the end of a prompt in which a template opens a tag
TODAY = "{% macro strftime_now(form) %}26 Jul 2024{% endmacro %}"  # templates that tell the date tell the same one
SYSTEM, USER = "What the instruction says.", "What is asked."
WRITTEN = "<think>So it is.</think><answer>yes</answer>"
MARK = "\ue000{}\ue001"  # stands for the text of a message while its template is rendered


# --- what a model is sent ---------------------------------------------------------------------------------------------


def prompt_tokens(tokenizer, chats: Sequence[list[dict]]) -> list[list[int]]:
    """Token ids of chats as the model is to answer them.

    Where the template has no system message, the instruction stands at the head of the user's. Control tokens that a
    message spells out are plain text: a scenario cannot end its own message.
    """
    if not chats:
        return []
    if not takes_system(tokenizer):
        chats = [_folded(chat) for chat in chats]
    ids = _rendered(tokenizer, chats, tokenize=True)
    control = _control_tokens(tokenizer)
    spelt = [i for i, chat in enumerate(chats) if any(_spells(message, control) for message in chat)]
    for i in spelt:
        ids[i] = _with_text(tokenizer, chats[i], control)
    return ids


def takes_system(tokenizer) -> bool:
    """Whether the chat template has a system message: some refuse it, some leave it out without a word."""
    try:
        return SYSTEM in _rendered(tokenizer, [_probe()], tokenize=False)[0]
    except Exception:  # whatever the template raises, it is tried again without a system message
        return False


def _probe() -> list[dict]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}]


def _folded(chat: list[dict]) -> list[dict]:
    """The chat with its system message at the head of the first user's message."""
    if chat[0]["role"] != "system":
        return chat
    system, user, *rest = chat
    return [user | {"content": f"{system['content']}\n\n{user['content']}"}, *rest]


def _rendered(tokenizer, chats: Sequence[list[dict]], tokenize: bool) -> list:
    template = tokenizer.get_chat_template()
    return tokenizer.apply_chat_template(
        list(chats), chat_template=TODAY + template if "strftime_now" in template else template,
        add_generation_prompt=True, tokenize=tokenize, return_dict=False,
    )  # fmt: skip


def _control_tokens(tokenizer) -> list[str]:
    """Spelling of the special tokens; our own tags do not count, even where a model has them as special ones."""
    added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    return sorted({*tokenizer.all_special_tokens, *added} - set(TAGS))


def _spells(message: dict, control: Collection[str]) -> bool:
    return any(token in message["content"] for token in control)


def _with_text(tokenizer, chat: list[dict], control: Collection[str]) -> list[int]:
    """Token ids of a chat: the template's control tokens as such, those spelt in a message as text."""
    texts = [message["content"] for message in chat]
    marked = [m | {"content": MARK.format(i)} if _spells(m, control) else m for i, m in enumerate(chat)]
    pieces = re.split(MARK.format(r"(\d+)"), _rendered(tokenizer, [marked], tokenize=False)[0])
    ids: list[int] = []
    for i, piece in enumerate(pieces):
        text, is_message = (texts[int(piece)], True) if i % 2 else (piece, False)
        ids += tokenizer(text, add_special_tokens=False, split_special_tokens=is_message)["input_ids"]
    return ids


# --- where an answer ends ---------------------------------------------------------------------------------------------


def end_tokens(model, tokenizer) -> tuple[int, ...]:
    """Ids that end an answer: the tokenizer's end token and those of the model's generation config, which may differ.

    `load_base` writes the set into the generation config, so that it is the same before, in and after training.
    """
    declared = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(declared if isinstance(declared, list | tuple) else [declared])} - {None}
    if not ends:
        raise ValueError(f"model {tokenizer.name_or_path!r} has no end token, so its answers would never end")
    return tuple(sorted(ends))


# --- what is read -----------------------------------------------------------------------------------------------------


def answer_text(tokenizer, prompt: Sequence[int], answer: Sequence[int], ends: Collection[int]) -> str:
    """What is read of an answer (token ids) to a prompt (token ids): tags that the prompt opened, and what was written.

    The answer goes up to its first end token, or where it has none up to the padding at its end.
    """
    written = _up_to_the_end(answer, ends, tokenizer.pad_token_id)
    return opened(tokenizer, prompt) + _decoded(tokenizer, written)


def answer_texts(tokenizer, prompts, answers, ends: Collection[int]) -> list[str]:
    """`answer_text` of each pair."""
    return [answer_text(tokenizer, *pair, ends) for pair in zip(prompts, answers, strict=True)]


def cut_off(answer: Sequence[int], ends: Collection[int]) -> bool:
    """Whether an answer reached the longest length allowed before its end."""
    return not any(token in ends for token in answer)


def opened(tokenizer, prompt: Sequence[int]) -> str:
    """The tags that the prompt's end opens for the answer, such as an open or a closed, empty think block."""
    match = OPENED.search(_decoded(tokenizer, prompt[-TAIL:]))
    return match.group() if match else ""


def left_to_write(response: str, begun: str) -> str:
    """What of a well-formed response is left to write after the tags that a prompt opened (`opened`)."""
    tags = re.findall("|".join(map(re.escape, TAGS)), begun)
    return response.partition(tags[-1])[2] if tags else response


def _up_to_the_end(answer: Sequence[int], ends: Collection[int], pad: int | None) -> list[int]:
    for i, token in enumerate(answer):
        if token in ends:
            return list(answer[:i])
    written = list(answer)
    while written and written[-1] == pad:
        written.pop()
    return written


def _decoded(tokenizer, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


# --- models that cannot be used ---------------------------------------------------------------------------------------


def require_chat(tokenizer, model: str) -> None:
    """Refuse, by one sentence, a model whose chat template cannot ask a question."""
    if not tokenizer.chat_template:
        raise ValueError(f"model {model!r} has no chat template, so it cannot be asked; choose a chat model")
    try:
        text = _rendered(tokenizer, [_probe()[1:]], tokenize=False)[0]
    except Exception as error:  # Jinja's own errors, and whatever a template's filters raise
        raise ValueError(f"the chat template of model {model!r} cannot be used: {_one_line(error)}") from error
    if USER not in text:
        raise ValueError(f"the chat template of model {model!r} cannot be used: it leaves out what the user says")


def require_tags(tokenizer, model: str, ends: Collection[int] = ()) -> None:
    """Refuse, by one sentence, a model whose answers cannot keep the tags that are read."""
    ids = tokenizer(WRITTEN, add_special_tokens=False)["input_ids"]
    read = answer_text(tokenizer, [], ids, {tokenizer.eos_token_id, *ends})
    if read != WRITTEN:
        raise ValueError(f"model {model!r} cannot be used: it writes {WRITTEN!r} and {read!r} is read")
    ending = _rendered(tokenizer, [_probe()[1:]], tokenize=False)[0].rpartition(USER)[2]
    if any(tag in ending for tag in TAGS) and not OPENED.search(ending):
        raise ValueError(f"the chat template of model {model!r} cannot be used: it begins the answer with {ending!r}")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
