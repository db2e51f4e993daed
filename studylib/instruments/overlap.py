"""What published data bring along that a score should be held against.

No row is in both splits (`sources.load_source` sees to it), but pieces of rows are: experiences that ETHICS
utilitarianism ranks in training as well, scenes of virtue that come back with other traits. And where two texts
compete, their length may give away which is right.
"""

import math
from collections.abc import Sequence

import pandas as pd

from studylib.scenarios.sources import load_source


def both_texts(row: dict) -> tuple[str, str]:
    """The texts that a row lets compete as A and B; its whole prompt and an empty one where none do."""
    if row["options"] != ["A", "B"]:
        return row["prompt"], ""
    first, _, second = row["prompt"].partition(" (A) ")[2].partition(" (B) ")
    return first, second.partition(" Which of the two is")[0]


def competing(row: dict) -> tuple[str, str]:
    """(the right text, the wrong one) of a row that asks A or B."""
    first, second = both_texts(row)
    return (first, second) if row["answer"] == "A" else (second, first)


def scene(row: dict) -> str:
    """The text of a virtue row, without the trait that is asked for."""
    return row["prompt"].rpartition(' Does the trait "')[0]


def ranked_before(train: Sequence[dict], held_out: Sequence[dict]) -> dict[str, int]:
    """Held-out pairs, those with a text that training ranks too, and what its ranks there say of the answer.

    A text counts as better when it is only ever the right one in training, as worse when it is only ever the wrong one;
    `inverted` are the pairs of which that says the opposite of the answer, `right` those of which it says the answer.
    """
    better, worse = (set(texts) for texts in zip(*map(competing, train), strict=True))
    pairs = [pair for pair in map(competing, held_out) if better.union(worse).intersection(pair)]
    ranks = [[(text in better) - (text in worse) for text in pair] for pair in pairs]
    return {
        "pairs": len(held_out), "shared": len(pairs), "inverted": sum(right < wrong for right, wrong in ranks),
        "right": sum(right > wrong for right, wrong in ranks),
    }  # fmt: skip


def seen_scenes(train: Sequence[dict], held_out: Sequence[dict]) -> dict[str, int]:
    """Held-out rows and scenes of virtue, how many of both training has with other traits (`seen`), and in how many of
    those scenes some trait of training fits."""
    known, fits = set(map(scene, train)), {scene(row) for row in train if row["answer"] == "yes"}
    scenes = list(map(scene, held_out))
    return {
        "rows": len(scenes), "rows_seen": sum(text in known for text in scenes),
        "scenes": len(set(scenes)), "scenes_seen": len(known.intersection(scenes)),
        "scenes_fitting": len(fits.intersection(scenes)),
    }  # fmt: skip


def longer_is_right(rows: Sequence[dict]) -> float:
    """Share of the rows with texts of different lengths (characters) in which the longer one is right; NaN of none."""
    lengths = [tuple(map(len, competing(row))) for row in rows]
    differ = [right > wrong for right, wrong in lengths if right != wrong]
    return sum(differ) / len(differ) if differ else math.nan


def overlap(data_dir: str) -> pd.DataFrame:
    """What the published data in `data_dir` bring along: columns source, measure, value (a count or a share)."""
    rows = []
    for name, count in (("ethics_utilitarianism", ranked_before), ("ethics_virtue", seen_scenes)):
        counts = count(*(load_source(name, split, data_dir) for split in ("train", "held_out")))
        rows += [(name, measure, value) for measure, value in counts.items()]
    for name in ("ethics_utilitarianism", "moralchoice"):
        rows.append((name, "longer_is_right", longer_is_right(load_source(name, "held_out", data_dir))))
    return pd.DataFrame(rows, columns=["source", "measure", "value"])
