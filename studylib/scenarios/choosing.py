"""Which of the scenarios at hand a run trains on, at a matched budget: fewer different ones, chosen by their texts.

Whatever is chosen, the number of prompts is that of every other condition, each right answer of each source comes
equally often, and each scenario that is chosen comes about `repeats` times. `chosen_by`:

* `all`: every scenario at hand, in the order they were drawn.
* `random`: a random subset.
* `covering`: a greedy maximum of the facility location f(S) = sum_i max_{j in S} cos(i, j) over all texts at hand, so
  that each of them has one like it in S (Nemhauser, Wolsey & Fisher 1978: at least 1 - 1/e of the best).
* `least_covering`: its opposite: the text that adds least to f is taken next. Where there are odd texts, which are like
  no other, it takes those, and they need not be like each other.
* `farthest`: the text whose nearest chosen one is farthest (Gonzalez 1985). It spreads more than `covering`, which
  prefers texts that many others are like.
* `nearest`: its opposite: the text that is most like a chosen one.

Texts are compared by their words, which weigh more the rarer they are at hand. The answers take turns in one search, so
that those of one answer are not from another corner than those of the other.

`label_noise` makes answers wrong, the same number of each, whatever the texts: a random subset with as much noise tells
what diversity does from what wrong labels do.
"""

import itertools

import numpy as np

from studylib.names import Option
from studylib.randomness import generator
from studylib.text.embedding import embed_words, rarity, unit
from studylib.typed import between

MOST = 8192  # prompts of a run whose texts are compared: half a GiB of cosines, 2 GiB where there are twice as many
AT_HAND = 2048  # scenarios of published sources to choose from, or twice the prompts where these are more
RULES = {  # what the next text is to have most of: (gain in f, nearest cosine to a chosen one) of every text
    "covering": lambda gain, nearest: gain,
    "least_covering": lambda gain, nearest: -gain,
    "farthest": lambda gain, nearest: -nearest,
    "nearest": lambda gain, nearest: nearest,
}
ALL, RANDOM = "all", "random"
WAYS = (ALL, RANDOM, *RULES)
CHOSEN_BY = Option(
    "chosen_by", ALL, f"how training scenarios are chosen from those at hand: {', '.join(WAYS)}",
    lambda value: value in WAYS, f"one of {', '.join(WAYS)}; by texts from at most {MOST} prompts, and with repeats",
    fits=lambda params: params.chosen_by not in RULES or (params.repeats > 1 and params.train_prompts <= MOST),
)  # fmt: skip
REPEATS = Option(
    "repeats", 1, "times that each chosen scenario comes; the number of prompts stays", *between(1, 1000),
    fits=lambda params: params.repeats == 1 or params.chosen_by != ALL,
)  # fmt: skip
LABEL_NOISE = Option(
    "label_noise", 0.0, "share of the chosen scenarios whose right answer is made another option",
    lambda value: 0 <= value <= 0.5, "a share, 0..0.5, and 0 where chosen_by is 'all'",
    fits=lambda params: params.label_noise == 0 or params.chosen_by != ALL,
)  # fmt: skip
CHOICE = (CHOSEN_BY, REPEATS, LABEL_NOISE)


def at_hand(rows: list[dict], n: int, seed: int) -> list[dict]:
    """Of published rows, which are more than can be compared, those to choose `n` prompts from: drawn at random, as
    many of each right answer of each source, where it has as many."""
    kinds = _by_kind(rows)
    each = -(-max(AT_HAND, 2 * n) // len(kinds))
    orders = [
        generator(seed, "choosing/at_hand", i).permutation(len(part))[:each] for i, part in enumerate(kinds.values())
    ]
    return [part[k] for part, order in zip(kinds.values(), orders, strict=True) for k in order]


def _by_kind(rows: list[dict]) -> dict[tuple, list[dict]]:
    """(source, right answer) -> its rows, in order of the kinds' names."""
    kinds: dict[tuple, list[dict]] = {}
    for row in rows:
        kinds.setdefault((row["source"], row["answer"]), []).append(row)
    return dict(sorted(kinds.items()))


def choose(rows: list[dict], n: int, params) -> list[dict]:
    """`n` rows to train on, in turns of the right answers; `rows` as they are where all are to be trained on.

    Raises ValueError where there are too few scenarios of one right answer.
    """
    if params.chosen_by == ALL:
        return rows
    rows = list({row["id"]: row for row in rows}.values())
    kinds = [(row["source"], row["answer"]) for row in rows]
    names = sorted(set(kinds))
    prompts = {kind: n // len(names) + (i < n % len(names)) for i, kind in enumerate(names)}
    wanted = {kind: -(-count // params.repeats) for kind, count in prompts.items()}
    _refuse_too_few(kinds, wanted)
    chosen = _chosen(rows, kinds, wanted, params)
    told = {kind: _mislabelled(part, params, index) for index, (kind, part) in enumerate(chosen.items())}
    in_turn = [
        sample(part, prompts[kind], params.seed, f"choosing/order/{i}") for i, (kind, part) in enumerate(told.items())
    ]
    return [row for turn in itertools.zip_longest(*in_turn) for row in turn if row]


def _refuse_too_few(kinds: list[tuple], wanted: dict[tuple, int]) -> None:
    for (source, answer), count in wanted.items():
        found = kinds.count((source, answer))
        if found < count:
            raise ValueError(
                f"{found} scenarios of {source} with the answer {answer!r} are at hand, and {count} different ones are "
                "to be trained on; raise repeats"
            )


def _chosen(rows: list[dict], kinds: list[tuple], wanted: dict[tuple, int], params) -> dict[tuple, list[dict]]:
    """kind -> its chosen rows."""
    if params.chosen_by == RANDOM:
        order = generator(params.seed, "choosing/random").permutation(len(rows)).tolist()
    else:
        counts = embed_words([row["prompt"] for row in rows])
        vectors = unit(counts * rarity(counts))
        order = search(vectors @ vectors.T, kinds, wanted, params.chosen_by)
    return {kind: [rows[i] for i in order if kinds[i] == kind][:count] for kind, count in wanted.items()}


def search(similarity: np.ndarray, kinds: list, wanted: dict, rule: str) -> list[int]:
    """Indices of the texts that a rule of `RULES` takes, `wanted` of each kind, the kinds in turn.

    similarity: (n, n) cosines; one below 0 counts as 0, so that more texts never cover less.
    """
    similarity = similarity.clip(min=0)
    gain, nearest, taken = similarity.sum(0), np.zeros(len(similarity)), []
    free = {kind: np.array([of == kind for of in kinds]) for kind in wanted}
    for kind in _turns(wanted):
        worth = RULES[rule](gain, nearest).round(9)  # alike up to rounding is alike on every machine
        best = int(np.where(free[kind], worth, -np.inf).argmax())
        taken.append(best)
        free[kind][best] = False
        nearer = np.flatnonzero(similarity[:, best] > nearest)
        was, now = nearest[nearer, None], similarity[nearer, best, None]
        gain -= (np.clip(similarity[nearer], was, now) - was).sum(0)  # what the text covers, no other can gain
        nearest[nearer] = now[:, 0]
    return taken


def _turns(wanted: dict) -> list:
    """Each kind as often as it is wanted, in turn."""
    in_turn = itertools.zip_longest(*([kind] * count for kind, count in wanted.items()))
    return [kind for turn in in_turn for kind in turn if kind is not None]


def _mislabelled(rows: list[dict], params, index: int) -> list[dict]:
    """The rows, a share of them with another option for the right answer, and then without a rubric."""
    count = round(params.label_noise * len(rows))
    if params.label_noise and not count:
        raise ValueError(f"label_noise = {params.label_noise:g} of {len(rows)} scenarios is less than one")
    rng = generator(params.seed, "choosing/label_noise", index)
    wrong = set(rng.permutation(len(rows))[:count].tolist())
    return [_wrong(row, rng) if i in wrong else row for i, row in enumerate(rows)]


def _wrong(row: dict, rng) -> dict:
    others = [option for option in row["options"] if option != row["answer"]]
    return row | {"answer": others[int(rng.integers(len(others)))], "rubric": None}


def sample(rows: list[dict], n: int, seed: int, purpose: str) -> list[dict]:
    """`n` rows in random order; all of them before any comes again."""
    order: list[int] = []
    while rows and len(order) < n:
        order.extend(generator(seed, purpose, len(order)).permutation(len(rows)))
    return [rows[i] for i in order[:n]]
