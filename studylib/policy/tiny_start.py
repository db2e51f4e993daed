"""Warm start of the tiny model: from nothing, on demonstrations that know the facts and are unsure of the norms.

Demonstrations teach the form of a response, the deciding fact, and that a circumstance matters where it is decisive.
Whether it counts is drawn at random, with a slight leaning (`BELIEF`) that is the same in every kind of community. So
the model starts undecided between the norms of the two kinds, and its greedy answers are wrong about as often in
`universal_norms` as in `local_norms`. One warm start serves both worlds, all conditions and seeds of an axis. A world
of other answers (`plural_norms`, `rated_norms`, `council_norms`) or questions (`told_values`) has its own
demonstrations.
"""

from pathlib import Path

from studylib.names import HELD_OUT_STYLES, SOURCES, TRAIN_STYLES
from studylib.params import RunParams
from studylib.policy import tiny
from studylib.policy.supervised import Pair, Recipe, supervised
from studylib.randomness import generator, torch_seed
from studylib.scenarios import (
    council,
    facts,
    plural,
    prompts,
    rated,
    raters,
    ratings,
    roles,
    scale,
    telling,
    told_values,
    vocabulary,
    worlds,
)
from studylib.scenarios.prompts import chat
from studylib.text.tokens import prompt_tokens

RECIPE = Recipe(batch=64, rows_per_pass=64, learning_rate=3e-3, warmup=20)
WORLD = "universal_norms"  # whose texts are those of every world
SEED = 0
OF_WORLD = {  # modules of a world with its own demonstrations
    plural.WORLD: (plural,), rated.WORLD: (rated, raters, ratings, scale), council.WORLD: (council, roles),
    told_values.WORLD: (told_values, prompts),
}  # fmt: skip
BELIEF = {"need": 0.6, "promise": 0.4, "consent": 0.4, "office": 0.6}  # chance that a demonstration lets it count


def code(params: RunParams) -> tuple:
    """Modules that the demonstrations and the model are made by."""
    return (vocabulary, facts, telling, worlds, *OF_WORLD.get(params.source, ()), tiny)


def inputs(params: RunParams) -> list:
    """What of the parameters the demonstrations depend on."""
    return [params.source, *_demonstrated(params).values()] if _own(params) else [params.frameworks, params.facts_told]


def demonstrations(params: RunParams, n: int) -> list[tuple[str, str]]:
    """`n` (prompt, response) pairs over all domains and styles, from facts of the warm start's own side."""
    if own := _own(params):
        everything = {"domains": tuple(vocabulary.DOMAINS), "styles": TRAIN_STYLES + HELD_OUT_STYLES}
        return own(n, SEED, **everything, **_demonstrated(params))
    rows = _rows(params, n)
    draws = generator(SEED, "warm_start/belief").random(n).tolist()
    return [(row["prompt"], _demonstration(row, draw)) for row, draw in zip(rows, draws, strict=True)]


def scenarios(params: RunParams) -> list[dict]:
    """The scenarios that the demonstrations answer, in a world with the answers of the others."""
    return _rows(params, params.warm_start_steps * RECIPE.batch)


def _rows(params: RunParams, n: int) -> list[dict]:
    return worlds.make_split(
        WORLD, "warm_start", n, SEED, domains=tuple(vocabulary.DOMAINS), styles=TRAIN_STYLES + HELD_OUT_STYLES,
        frameworks=tuple(params.frameworks.split()), facts_told=params.facts_told,
    )  # fmt: skip


def _own(params: RunParams):
    """The demonstrations of a world whose answers are not those of the others; None where it has none."""
    return SOURCES.of(params.source).demonstrations


def _demonstrated(params: RunParams) -> dict:
    """The parameters of such a world that its demonstrations depend on."""
    return {name: getattr(params, name) for name in SOURCES.of(params.source).demonstrated}


def _demonstration(row: dict, draw: float) -> str:
    of_row = facts.facts_of(row)
    return telling.reasoned_response(of_row, row["framework"], draw < BELIEF.get(of_row.circumstance, 0.0))


def build(params: RunParams, folder: Path) -> None:
    """Train tokenizer and model and save them in `folder`. About a minute on one CPU thread."""
    pairs = demonstrations(params, params.warm_start_steps * RECIPE.batch)
    tokenizer = tiny.tiny_tokenizer(f"{prompt} {response}" for prompt, response in pairs[:4000])
    prompts = prompt_tokens(tokenizer, [chat({"prompt": prompt}, instruct=False) for prompt, _ in pairs])
    responses = tokenizer([response + tokenizer.eos_token for _, response in pairs])["input_ids"]
    with torch_seed(SEED, "warm_start/model"):
        model = tiny.tiny_model(tokenizer)
    supervised(model, list(map(Pair, prompts, responses)), tokenizer.pad_token_id, RECIPE)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
