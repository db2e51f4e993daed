"""Small training runs: policies that are started, rewards that untrained answers differ in, what a run logged."""

import json

from replaced import replace_rewards

from studylib.scenarios.selection import select
from studylib.training import sampling
from studylib.training.told import told
from studylib.training.train import prepare


def start(params):
    return prepare(params, select(params)["train"])


def adapter(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}


def base(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if not p.requires_grad}


def steps_logged(params):
    return [json.loads(line)["step"] for line in (params.run_dir / "metrics.jsonl").read_text().splitlines()]


def tags_reward(response, scenario):
    """Share of spaces: something that untrained answers differ in, so that the adapter moves."""
    return response.count(" ") / max(len(response), 1)


def pay(monkeypatch, **rewards):
    """Rewards of these names pay what these functions of (response, scenario) say."""
    replace_rewards(monkeypatch, {name: (function, ()) for name, function in rewards.items()})


def end_reasons(monkeypatch) -> None:
    """The reasons of every answer that is to be told end: an untrained model's do not, and nothing could be told."""

    def after_reasons(trainer, prompts, answers, ids):
        own = trainer.processing_class("<think>so it is</think>", add_special_tokens=False)["input_ids"]
        return told(trainer, prompts, [own] * len(answers), ids)

    monkeypatch.setattr(sampling, "told", after_reasons)
