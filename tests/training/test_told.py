"""What comes after the policy's own reasons: right answers that are told (sft), or all that is paid (grpo_answer)."""

import json
from itertools import cycle, islice
from types import SimpleNamespace

import pytest
import torch
from training_runs import adapter, pay, start

from studylib.params import RunParams
from studylib.scenarios.selection import select
from studylib.text.answers import parse, read_answer
from studylib.training import sampling
from studylib.training.told import after_reasons, reasons_of, right_answers, told, with_answer
from studylib.training.train import train

OWN = "<think>She promised it.</think><answer>{}</answer>"


@pytest.mark.parametrize(
    "text, opened, reasons",
    [
        (OWN.format("wrong"), "", "She promised it."),
        ("  <think>\nIt hurts.\n</think>\n\n<answer>maybe</answer> I think.", "", "It hurts."),
        (OWN.format("wrong"), "<think>", "She promised it."),
        ("<think>\n\n</think>\n\nwrong it is", "<think>\n\n</think>\n\n", ""),
        ("<think></think><answer>wrong</answer>", "<think></think><answer>", ""),
    ],
)
def test_what_is_told_is_well_formed_and_keeps_reasons_that_end(text, opened, reasons):
    whole = opened + with_answer(text, opened, "permissible")[0]
    assert parse(whole) == (reasons, "permissible")


@pytest.mark.parametrize(
    "text, opened",
    [
        ("<think>\nShe promised", "<think>\n"),
        ("<think>She promised, and on it goes", ""),
        ("", ""),
        ("<answer>wrong</answer>", ""),
        ("<think>one<answer>wrong</answer></think><answer>wrong</answer>", ""),
        ("<think>one<think>two</think><answer>wrong</answer>", ""),
    ],
)
def test_an_answer_whose_reasons_do_not_end_cannot_be_told(text, opened):
    """To tell it without reasons would teach that there need not be any."""
    assert with_answer(text, opened, "permissible") is None


def test_a_prompt_that_opens_the_answer_itself_has_its_answer_closed():
    assert with_answer("<answer>wrong</answer>", "<answer>", "permissible") == ("permissible</answer>", 0)


def tell(params, texts):
    """What a started trainer is told for these answers to its first scenarios: the texts, as they are read."""
    trainer = start(params)
    tokenizer = trainer.processing_class
    rows = list(trainer.train_dataset)[: len(texts)]
    answers = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    found = told(trainer, [[] for _ in rows], answers, [row["id"] for row in rows])
    assert all(ids[-1] == tokenizer.eos_token_id for ids in found)
    return [tokenizer.decode(ids[:-1]) for ids in found], rows


def test_every_scenario_is_told_its_own_right_answer(miniature):
    params = miniature(objective="sft", steps=4)
    texts, rows = tell(params, [OWN.format("wrong")] * 6)
    truth = {row["id"]: row["answer"] for row in select(params)["train"]}
    assert [read_answer(text, row["options"]) for text, row in zip(texts, rows, strict=True)] == [
        truth[row["id"]] for row in rows
    ]


def test_the_reasons_are_the_policys_own_and_not_trained_on(miniature):
    params = miniature(objective="sft", steps=2)
    trainer = start(params)
    tokenizer, rows = trainer.processing_class, list(trainer.train_dataset)[:3]
    texts = [OWN.format("wrong"), "<think></think>permissible", "<think>She promised, and"]
    answers = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    found = told(trainer, [[] for _ in rows], answers, [row["id"] for row in rows])
    kept = [tokenizer.decode(ids[:n]) for ids, n in zip(found, trainer.reasons, strict=True)]
    assert kept[0].replace(" ", "") == "<think>Shepromisedit.</think>"
    assert kept[1].replace(" ", "") == "<think></think>"
    assert trainer.reasons[2] == len(found[2]), "what cannot be told is the policy's own as a whole"
    worth = after_reasons(torch.ones(3), torch.tensor(trainer.reasons), max(map(len, found)))
    assert worth.sum(1).tolist() == [max(map(len, found)) - n for n in trainer.reasons]
    assert not worth[0, : trainer.reasons[0]].any() and worth[0, trainer.reasons[0] :].all()


def test_where_several_answers_are_right_each_is_told_in_its_turn(miniature):
    params = miniature(objective="sft", source="plural_norms", accepted_stances=3, steps=2)
    rows = select(params)["train"][:1]
    accepted = right_answers(params, rows)[0]
    assert len(accepted) == 3
    trainer = SimpleNamespace(
        processing_class=start(params).processing_class, params=params, eos_token_ids=[],
        state=SimpleNamespace(global_step=0), train_dataset={"id": [rows[0]["id"]], "right": [accepted]},
    )  # fmt: skip
    answer = trainer.processing_class(OWN.format("wait"), add_special_tokens=False)["input_ids"]
    found = told(trainer, [[]] * 60, [answer] * 60, [rows[0]["id"]] * 60)
    assert len({tuple(ids) for ids in found}) == 3


def log_likelihood(trainer, params) -> float:
    """Of the right answers to the training scenarios, nats per token."""
    tokenizer, total = trainer.processing_class, []
    for row in select(params)["train"][:8]:
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": row["prompt"]}], add_generation_prompt=True)
        prompt = prompt["input_ids"] if not isinstance(prompt, list) else prompt
        answer = tokenizer(OWN.format(row["answer"]), add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            logps = trainer.model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        total.append(logps.gather(1, torch.tensor(answer)[:, None]).mean())
    return float(torch.stack(total).mean())


def say(monkeypatch, trainer, text: str) -> None:
    """The policy answers so, whatever it is asked."""
    ids = trainer.processing_class(text, add_special_tokens=False)["input_ids"] + [
        trainer.processing_class.eos_token_id
    ]
    monkeypatch.setattr(sampling, "rollout", lambda model, prompts, *_, **__: [ids] * len(prompts))


def test_a_policy_becomes_likelier_to_give_the_right_answers_that_it_is_told(miniature, monkeypatch):
    params = miniature(objective="sft", steps=6, learning_rate=0.01)
    trainer = start(params)
    say(monkeypatch, trainer, OWN.format("maybe"))
    before = log_likelihood(trainer, params)
    train(trainer, params)
    assert log_likelihood(trainer, params) > before + 0.1
    lines = [json.loads(line) for line in (params.run_dir / "metrics.jsonl").read_text().splitlines()]
    assert all(line["reward"] == 1.0 and line["grad_norm"] > 0 for line in lines), "of what was told"
    assert "sampler_mismatch" not in lines[0], "what is told was not drawn"


def test_an_answer_that_cannot_be_told_earns_and_teaches_nothing(miniature, monkeypatch):
    params = miniature(objective="sft", steps=2)
    trainer = start(params)
    say(monkeypatch, trainer, "<think>She promised, and")
    before = adapter(trainer)
    train(trainer, params)
    assert all(torch.equal(value, before[name]) for name, value in adapter(trainer).items())


def test_groups_without_differences_are_no_news_where_answers_are_told(miniature, monkeypatch, capsys):
    params = miniature(objective="sft", steps=6)
    trainer = start(params)
    say(monkeypatch, trainer, OWN.format("maybe"))
    train(trainer, params)
    assert "nothing to learn from" not in capsys.readouterr().out


def test_other_objectives_are_told_nothing(miniature, monkeypatch):
    monkeypatch.setattr(sampling, "told", lambda *_: pytest.fail("told"))
    params = miniature(objective="rft", steps=2)
    assert right_answers(params, select(params)["train"])[0] == []
    train(start(params), params)


def test_a_scenario_without_a_right_answer_is_refused_before_a_model_is_loaded():
    params = RunParams(objective="sft")
    open_row = {"id": "m1", "answer": None, "accepted": None}
    with pytest.raises(ValueError, match="objective 'sft' needs right answers, and scenario m1 has none"):
        right_answers(params, [{"id": "a", "answer": "wrong", "accepted": None}, open_row])


@pytest.mark.parametrize("given", [{"dynamic_sampling": 2}, {"overlong_cache": 0.2}])
def test_what_acts_on_rewards_of_groups_is_refused(given):
    with pytest.raises(ValueError, match="because objective 'sft' does not read it"):
        RunParams(objective="sft", **given)


# --- rewards that count for the answer alone --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, reasons",
    [
        (OWN.format("wrong"), "<think>Shepromisedit.</think>"),
        ("<think></think>wrong", "<think></think>"),
        ("<think>She promised, and", ""),
        ("<think>one<answer>wrong</answer></think><answer>wrong</answer>", ""),
        ("<answer>wrong</answer>", ""),
        ("", ""),
    ],
)
def test_the_reasons_of_an_answer_end_with_their_tag_and_without_it_there_are_none(miniature, text, reasons):
    trainer = start(miniature(objective="grpo_answer", steps=2))
    tokenizer = trainer.processing_class
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    (n,) = reasons_of(trainer, [[]], [ids])
    assert tokenizer.decode(ids[:n]).replace(" ", "") == reasons


def by_turns(monkeypatch, trainer, texts: list[str]) -> None:
    """The policy gives these answers in turn, whatever it is asked."""
    tokenizer = trainer.processing_class
    turns = cycle([tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for text in texts])
    monkeypatch.setattr(sampling, "rollout", lambda model, prompts, *_, **__: list(islice(turns, len(prompts))))


ANSWERS = [
    f"<think>{reasons}</think><answer>{answer}</answer>"
    for reasons, answer in [("It hurts her.", "wrong"), ("He had promised it.", "maybe"), ("It is the rule.", "maybe")]
]


def test_only_what_follows_the_reasons_has_a_gradient(miniature, monkeypatch):
    params = miniature(objective="grpo_answer", generations=4, answers_per_step=8, micro_batch=8, steps=2)
    pay(monkeypatch, correct=lambda response, scenario: float("wrong" in response))
    trainer = start(params)
    by_turns(monkeypatch, trainer, ANSWERS)
    batch = next(iter(trainer.get_train_dataloader()))
    inputs = trainer._generate_and_score_completions(batch)
    trained = inputs["advantages"] != 0
    assert (trained.long().argmax(1) == inputs["reasons"]).all() and (inputs["reasons"] > 3).all()
    assert (inputs["advantages"].sum(1).sign() == (2 * inputs["rewards"] - 1).sign()).all()


def test_reasons_stay_with_their_answers_where_groups_are_drawn_anew(miniature, monkeypatch):
    """Dynamic sampling asks twice: how long the reasons of the first answers were must not be lost."""
    params = miniature(
        objective="grpo_answer", generations=4, answers_per_step=8, micro_batch=8, steps=2, dynamic_sampling=2
    )
    pay(monkeypatch, correct=lambda response, scenario: float("wrong" in response))
    trainer = start(params)
    by_turns(monkeypatch, trainer, [*["<think>So it is.</think><answer>wrong</answer>"] * 4, *ANSWERS])
    inputs = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    tokenizer = trainer.processing_class
    assert len(set(inputs["rewards"][:4].tolist())) == 2, "the first group was drawn anew"
    for ids, n in zip(inputs["completion_ids"], inputs["reasons"].tolist(), strict=True):
        assert tokenizer.decode(ids[:n]).replace(" ", "").endswith("</think>")


def test_a_reward_for_the_answer_alone_still_punishes_reasons_that_do_not_end(miniature, monkeypatch):
    params = miniature(objective="grpo_answer", generations=4, answers_per_step=8, micro_batch=8, steps=2)
    pay(monkeypatch, correct=lambda response, scenario: float("wrong" in response))
    trainer = start(params)
    by_turns(monkeypatch, trainer, [OWN.format("wrong"), "<think>She promised, and"])
    inputs = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
    assert (inputs["advantages"][1::2] < 0).all(), "every token of an answer without an end"
