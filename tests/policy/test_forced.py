"""Forced choice: the same numbers as encoding every option anew, after the reasons alone, whatever the template."""

import math

import pytest
import torch
from hub_models import SYSTEM_TOO, hub_model, opening
from transformers import AutoModelForCausalLM, AutoTokenizer

from studylib.policy.forced import continuation_logps, option_shares
from studylib.text.tokens import prompt_tokens

OPTIONS = ["right", "wrong", "it is right"]
WRITTEN = "<think>It is right in law.</think><answer>wrong</answer>"


def loaded(folder, template=SYSTEM_TOO):
    name = hub_model(folder, template)
    tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    return AutoModelForCausalLM.from_pretrained(name).train(), tokenizer


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    return loaded(tmp_path_factory.mktemp("hub"))


def asked(tokenizer, *questions):
    return prompt_tokens(tokenizer, [[{"role": "user", "content": question}] for question in questions])


def encoded_anew(model, before, after) -> float:
    """Log-probability of a continuation by one plain pass over everything, without cache or padding."""
    with torch.no_grad():
        logps = model(torch.tensor([[*before, *after]])).logits[0].log_softmax(-1)
    return sum(logps[len(before) + i - 1, token].item() for i, token in enumerate(after))


def test_scores_are_those_of_encoding_each_continuation_anew(policy):
    model, tokenizer = policy
    prompts = asked(tokenizer, "Is it?", "Is it right to sell a piano?", "Is it?")
    after = [[[5, 6, 7], [9]], [[8, 8], [300], [5, 6, 7, 11]], [[12, 13]]]
    for batch in (1, 4, 256):
        found = continuation_logps(model, prompts, after, tokenizer.pad_token_id, batch)
        for prompt, endings, logps in zip(prompts, after, found, strict=True):
            assert logps == pytest.approx([encoded_anew(model, prompt, ending) for ending in endings], abs=1e-4)


def test_options_are_scored_after_the_reasons_and_not_after_the_answer(policy):
    model, tokenizer = policy
    (prompt,) = asked(tokenizer, "Is it right to sell a piano?")
    before = [*prompt, *tokenizer("<think>It is right in law.", add_special_tokens=False)["input_ids"]]
    endings = [tokenizer(f"</think><answer>{o}</answer>", add_special_tokens=False)["input_ids"] for o in OPTIONS]
    by_hand = torch.tensor([encoded_anew(model, before, ending) for ending in endings]).softmax(0).tolist()
    said = [WRITTEN, "<think>It is right in law.", "<think>It is right in law.</think>wrong"]
    for shares in option_shares(model, tokenizer, [prompt] * 3, said, [OPTIONS] * 3, max_new_tokens=60):
        assert shares == pytest.approx(by_hand, abs=1e-4) and math.fsum(shares) == pytest.approx(1)


@pytest.mark.parametrize(
    "begun, reasons, ending",
    [
        ("<think>\n", "It is right in law.", "</think><answer>right</answer>"),
        ("<think>\n\n</think>\n\n", "", "<answer>right</answer>"),
        ("<think></think><answer>", "", "right</answer>"),
    ],
)
def test_tags_that_the_prompt_opens_are_not_opened_again(tmp_path, begun, reasons, ending):
    model, tokenizer = loaded(tmp_path, opening(begun))
    (prompt,) = asked(tokenizer, "Is it right to sell a piano?")
    response = f"{begun}{reasons}" if reasons else f"{begun}wrong"
    (shares,) = option_shares(model, tokenizer, [prompt], [response], [["right", "wrong"]], max_new_tokens=60)
    before = [*prompt, *tokenizer(reasons, add_special_tokens=False)["input_ids"]]
    endings = [ending, ending.replace("right", "wrong")]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in endings]
    by_hand = torch.tensor([encoded_anew(model, before, one) for one in ids]).softmax(0).tolist()
    assert shares == pytest.approx(by_hand, abs=1e-4)


def test_long_reasons_are_cut_so_that_every_option_has_room(policy):
    model, tokenizer = policy
    (prompt,) = asked(tokenizer, "Is it?")
    positions = model.config.max_position_embeddings
    room = positions - len(prompt)
    long = "<think>" + "It is right. " * positions
    (shares,) = option_shares(model, tokenizer, [prompt], [long], [OPTIONS], max_new_tokens=room)
    assert math.fsum(shares) == pytest.approx(1)


def test_nothing_is_asked_where_there_is_no_prompt(policy):
    model, tokenizer = policy
    assert option_shares(model, tokenizer, [], [], [], max_new_tokens=8) == []
