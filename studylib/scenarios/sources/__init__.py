"""Where scenarios come from: a file for each family, and in it a function for each source.

| source                      | question                                   | train               | held_out           |
| --------------------------- | ------------------------------------------ | ------------------- | ------------------ |
| universal_norms, local_norms| permissible or wrong? (embedded worlds)    | made                | made               |
| ethics_justice, _deontology | reasonable or unreasonable?                | authors' train file | authors' test file |
| ethics_virtue               | does the trait fit?                        | authors' train file | authors' test file |
| ethics_utilitarianism       | which of two experiences is more pleasant? | authors' train file | authors' test file |
| moralchoice                 | which of two actions does morality favour? | none                | low ambiguity only |
| contrastive_moral_stories   | does the action agree with the norm?       | train files, or 3/4 | dev files, or 1/4  |
| `rated.py`: eight sources  | how do people rate it?                     | three quarters      | a quarter          |
| morebench_public, _theory   | what should be done? (rubric, no answer)   | half of the file    | a quarter of it    |

A source is a function that yields the fields of scenario rows (`rows.FEATURES`), registered by `source`; a published
one is read from files by `records.published`. What `load_source` does with the rows of any of them:
1. Repeated prompts are dropped: the first one stays if all agree on the answer or the rubric, none if they contradict
   each other.
2. Train prompts that also occur in held_out are dropped: the authors' own ETHICS files overlap.
"""

import json
from collections.abc import Callable, Iterable

from studylib.names import SOURCES, Option, Source, import_all
from studylib.scenarios.rows import scenario_row

SPLITS = ("train", "held_out")
JUDGE = "judge"  # a third split, set aside for training a judge; MoReBench only


def source(
    name: str, *, options: bool = True, rated: bool = False, splits: tuple[str, ...] = SPLITS,
    parameters: tuple[Option, ...] = (),
) -> Callable:  # fmt: skip
    """Register a function (split, data_dir) -> fields of scenario rows as the source `name`.

    It yields mappings with `prompt` and any other of `rows.FEATURES` but id, source and split; `facts` may be a dict.
    options: whether a scenario is answered with one of its options, or openly, to be scored by its rubric. rated:
    whether it carries people's ratings, and its options are the levels of their scale.
    parameters: of a run, that sources such as this one read.
    """

    def register(load: Callable[[str, str], Iterable[dict]]):
        SOURCES.add(Source(name, load, options=options, rated=rated, splits=splits, parameters=parameters))
        return load

    return register


def load_source(name: str, split: str, data_dir: str = "") -> list[dict]:
    """Scenario rows of one split of a source, from data_dir or, if that is empty, from the hub.

    data_dir is the folder of the source's files or the parent of that folder. No prompt comes twice, and none of
    "train" or "judge" is held out too. Raises ValueError that names the unknown source or split, the missing folder,
    file or column, the wrong label, or the split without rows.
    """
    load = _checked(name, split).load
    held_out = list(load("held_out", data_dir))
    if split == "held_out":
        rows = held_out
    else:
        seen = {row["prompt"] for row in held_out}
        rows = [row for row in load(split, data_dir) if row["prompt"] not in seen]
    rows = _without_repeats(rows)
    if not rows:
        raise ValueError(f"{name} has no rows in split {split!r} of {data_dir or 'the hub'}")
    return [scenario_row(source=name, split=split, **row | {"facts": _facts(row.get("facts"))}) for row in rows]


def _checked(name: str, split: str) -> Source:
    record = SOURCES.of(name)
    if record.world:
        raise ValueError(f"{name} is an embedded world: its scenarios are made (`selection.select`), not loaded")
    if split not in (*SPLITS, JUDGE):
        raise ValueError(f"unknown split {split!r}; known: {(*SPLITS, JUDGE)}")
    if split == JUDGE and split not in record.splits:
        raise ValueError(f"{name} sets no part aside for a judge; MoReBench does")
    if split not in record.splits:
        raise ValueError(f"{name} has no {split!r} split: its authors publish it for evaluation only")
    return record


def _without_repeats(rows: list[dict]) -> list[dict]:
    """The first row of each prompt, in order, without the prompts that have two answers or two rubrics."""
    answers: dict[tuple, set] = {}
    for row in rows:
        answers.setdefault(_whole(row), set()).add((row.get("answer"), _asked(row.get("rubric"))))
    first = {_whole(row): row for row in reversed(rows)}
    return [first[prompt] for prompt, given in answers.items() if len(given) == 1]


def _whole(row: dict) -> tuple:
    """What is asked, with the system message before it: the same prompt under two messages is no repeat."""
    return row.get("system"), row["prompt"]


def _asked(rubric: list[dict] | None) -> tuple:
    """What a rubric asks, whatever the ids and the order of its criteria."""
    return tuple(sorted((criterion["text"], criterion["weight"], criterion["dimension"]) for criterion in rubric or []))


def _facts(facts: dict | str | None) -> str | None:
    return json.dumps(facts, sort_keys=True, ensure_ascii=False) if isinstance(facts, dict) else facts


import_all(__name__, __path__)
