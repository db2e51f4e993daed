"""The judge of the embedded worlds: a tiny model that imitates the checkers, for runs without GPU and network.

It learns from scenarios of the warm start's side that the warm start itself did not use, so that no scenario trains
both the judge and a policy, and from two responses to each: one put together sentence by sentence (`variants.py`) and
one sampled from the warm-started policy. Its labels are those of the checkers. Built once, kept in the cache.

It does not see the scenario, like MoReBench's judge: criteria name what they need, but for `invents_circumstance`, of
which it can only guess. With the scenario in view two layers did worse on every other comparison: the names, readings
and options that a criterion is about stand in the scenario too, and have to be kept apart from those of the response.
"""

from pathlib import Path
from typing import NamedTuple

import torch
import transformers

from studylib.judge import model as trained
from studylib.judge import prompts as asked
from studylib.judge import variants
from studylib.judge.model import Judge, Recipe, new_hub_judge, new_tiny_judge, train_judge
from studylib.judge.prompts import context, graded_rows, question
from studylib.judge.variants import variant
from studylib.names import HELD_OUT_STYLES, SOURCES, TRAIN_STYLES, model_of
from studylib.params import RunParams
from studylib.paths import cached
from studylib.policy import warm_start as start
from studylib.policy.models import load_base
from studylib.policy.rollout import Sampling, rollout
from studylib.randomness import generator
from studylib.rewards import checks
from studylib.runs.contents import contents
from studylib.scenarios import facts, telling, vocabulary, worlds
from studylib.scenarios.prompts import chat
from studylib.scenarios.rows import digest
from studylib.text.tokens import answer_texts, end_tokens, prompt_tokens

SCENARIOS = 3000  # that train the embedded judge
RECIPE = Recipe()
TOKENIZER_TEXTS = 1500  # responses whose words the tokenizer learns
SAMPLED, MADE = "warm start", "variants"  # who wrote a response


class Responses(NamedTuple):
    responses: list[str]
    scenarios: list[dict]  # of each response
    models: list[str]  # who wrote it


def judge_scenarios(params: RunParams, n: int, seed: int = 0) -> list[dict]:
    """About `n` rows of the world `params.source` from the warm start's side, none of which the warm start used."""
    used = {_story(row) for row in start.scenarios(params)}
    return [row for row in _side_rows(params, params.source, n, seed + 1000) if _story(row) not in used]


def _side_rows(params: RunParams, world: str, n: int, seed: int) -> list[dict]:
    source = SOURCES.of(world)
    inputs = {name: getattr(params, name) for name in source.inputs}
    return source.load(
        "warm_start", n, seed, domains=tuple(vocabulary.DOMAINS), styles=TRAIN_STYLES + HELD_OUT_STYLES, **inputs
    )


def _story(row: dict) -> str:
    return worlds.story_key(facts.facts_of(row), row["framework"])


def made(rows: list[dict], seed: int = 0) -> Responses:
    """A variant for each scenario."""
    texts = [variant(row, generator(seed, "judge/variants", i)) for i, row in enumerate(rows)]
    return Responses(texts, rows, [MADE] * len(rows))


def made_and_sampled(params: RunParams, rows: list[dict], seed: int = 0) -> Responses:
    """Two responses to each scenario: a variant and an answer of the warm-started policy at temperature 1."""
    sampled = Responses(warm_start_answers(params, rows, seed), rows, [SAMPLED] * len(rows))
    return Responses(*(a + b for a, b in zip(made(rows, seed), sampled, strict=True)))


def warm_start_answers(params: RunParams, rows: list[dict], seed: int) -> list[str]:
    model, tokenizer = load_base(params, quantised=False)
    chats = [chat(row, instruct=False) for row in rows]
    prompts, ends = prompt_tokens(tokenizer, chats), end_tokens(model, tokenizer)
    keys = [(seed, "judge/sampled", row["id"]) for row in rows]
    how = Sampling(params.max_new_tokens, ends)
    answers = rollout(model, prompts, keys, how, tokenizer.pad_token_id, params.rollout_batch)
    return answer_texts(tokenizer, prompts, answers, ends)


def embedded_judge(params: RunParams, recipe: Recipe = RECIPE, n: int = SCENARIOS, sees_scenario: bool = False) -> Path:
    """Folder of the judge for `params.source`, by recipe; built when it is not in the cache."""
    recipe.check()
    how = (params, recipe, n, sees_scenario)
    return cached("judge", _key(*how), lambda folder: build(*how).save(folder))


def _key(params: RunParams, recipe: Recipe, n: int, sees_scenario: bool) -> str:
    """Hash of everything that the judge depends on: recipe, code, versions, the policy that it has read."""
    modules = (vocabulary, facts, telling, worlds, asked, checks, variants, trained)
    code = [Path(module.__file__).read_text() for module in modules] + [Path(__file__).read_text()]
    how = [
        params.source, params.model, params.revision, params.frameworks, params.facts_told, params.max_new_tokens, n,
        sees_scenario, contents(params).get("model_content"), *recipe,
    ]  # fmt: skip
    return digest(how, code, start.start_key(params), torch.__version__.split("+")[0], transformers.__version__)


def build(params: RunParams, recipe: Recipe, n: int, sees_scenario: bool = False) -> Judge:
    """Three to four minutes on one CPU thread for the tiny judge. A hub model is trained by QLoRA on variants alone."""
    rows = judge_scenarios(params, n, recipe.seed)
    if model_of(params.model).made:
        data = made_and_sampled(params, rows, recipe.seed)
        judge = new_tiny_judge(_texts(data, sees_scenario), recipe.seed, sees_scenario)
    else:
        data, judge = made(rows, recipe.seed), new_hub_judge(params, sees_scenario)
    labels = checks.checks_grader(data.responses, data.scenarios)
    table = graded_rows(*data, labels)
    judge.facts["share_yes"] = table.groupby("criterion").label.mean().round(3).to_dict()
    train_judge(judge, data.responses, data.scenarios, labels, recipe)
    return judge


def _texts(data: Responses, sees_scenario: bool) -> list[str]:
    pairs = list(zip(data.responses, data.scenarios, strict=True))[:TOKENIZER_TEXTS]
    return [context(response, row, sees_scenario) + " ".join(map(question, row["rubric"])) for response, row in pairs]
