"""Diversity as a batched reward: gates, dispersion within a group of answers, and length-matched controls.

Every reward here sees only the reasons of an answer. Answers that do not pass the gate earn 0 and are not compared:
with the gate `form` all well-formed answers pass (as in MultiRole-R1), with `correct` only the right ones, because a
reward for variety pays for variety in wrong answers too. Each is registered with its length-matched control.
"""

import itertools
import zlib
from collections.abc import Callable

import numpy as np

from studylib.names import Option
from studylib.randomness import generator
from studylib.rewards import BatchReward, per_batch
from studylib.rewards.correct import correct, format
from studylib.rewards.surface import STATISTICS, sentences, surfaces
from studylib.text.answers import parse
from studylib.text.embedding import embed_words
from studylib.text.spelling import EDGE

Embed = Callable[[list[str]], np.ndarray]  # texts -> (texts, dimensions)

DRAWS = 4  # random texts per answer in a length-matched control
LENGTH_MATCHED = "length_matched_"  # before the name of a diversity reward: its control, which knows the length alone

GATES = ("correct", "form")
GATE = Option(
    "diversity_gate", "correct", "whose diversity is paid: that of right answers (correct) or well-formed ones (form)",
    lambda value: value in GATES, f"one of {', '.join(GATES)}", former={"verdict": "correct"},
)  # fmt: skip
WINDOW = Option(
    "diversity_window", 16, "words per window of the surface statistics; shorter texts are scaled down",
    lambda value: 2 <= value <= 256, "2..256",
)  # fmt: skip
EMBEDDER = Option(
    "embedder", "words", "dispersion compares word counts, or vectors of a sentence-transformers hub id", path=True,
)  # fmt: skip
EMBEDDER_REVISION = Option(
    "embedder_revision", "", "commit of that model", allowed="a commit that pins the embedder",
    unread_if=("embedder", "words"), needed=lambda params: params.embedder != "words",
)  # fmt: skip


# --- gates -----------------------------------------------------------------------------------------------------------


def reasons_of(response: str, scenario: dict) -> str:
    """The reasons of a response that passed a gate; the whole of it where a scenario asks for no option."""
    return response if scenario["options"] is None else parse(response)[0]


def passes(response: str, scenario: dict, gate: str) -> bool:
    if scenario["options"] is None:
        return True
    if gate == "form":
        return format(response, scenario) == 1.0
    return correct(response, scenario) == 1.0 and reasons_of(response, scenario) != ""


def gated(reward: BatchReward, gate: str) -> BatchReward:
    """`reward` on the responses that pass; 0.0 for all others."""

    def rewards(responses: list[str], scenarios: list[dict]) -> list[float | None]:
        pairs = zip(responses, scenarios, strict=True)
        kept = [i for i, (response, row) in enumerate(pairs) if passes(response, row, gate)]
        values: list[float | None] = [0.0] * len(responses)
        earned = reward([responses[i] for i in kept], [scenarios[i] for i in kept])
        for i, value in zip(kept, earned, strict=True):
            values[i] = value
        return values

    return rewards


def of_reasons(function: Callable[[str, dict], float]) -> BatchReward:
    """A reward of each answer's reasons and scenario by itself."""

    def rewards(responses: list[str], scenarios: list[dict]) -> list[float | None]:
        return [function(reasons_of(r, row), row) for r, row in zip(responses, scenarios, strict=True)]

    return rewards


def of_texts(function: Callable[[list[str]], np.ndarray]) -> BatchReward:
    """A reward of the reasons alone, computed for all answers at once."""

    def rewards(responses: list[str], scenarios: list[dict]) -> list[float | None]:
        return function([reasons_of(r, row) for r, row in zip(responses, scenarios, strict=True)]).tolist()

    return rewards


# --- dispersion within a group ---------------------------------------------------------------------------------------


def dispersion(embed: Embed) -> BatchReward:
    """1 - mean cosine of an answer's reasons with those of the other answers to its scenario; 0 for a lone answer.

    The mean over a group is 1 - mean_{i<j} cos(e_i, e_j). Reasons without content, whose embedding is 0, are compared
    with nothing and earn 0. Where an embedding is not finite, its whole group is None.
    """

    def rewards(responses: list[str], scenarios: list[dict]) -> list[float | None]:
        if not responses:
            return []
        vectors = np.asarray(embed([reasons_of(r, row) for r, row in zip(responses, scenarios, strict=True)]), float)
        norms = np.linalg.norm(vectors, axis=1)
        values: list[float | None] = [0.0] * len(responses)
        for rows in _groups(scenarios):
            spoken = [i for i in rows if norms[i] != 0]
            unit = vectors[spoken] / norms[spoken, None]
            cosine = unit @ unit.T
            for i, total in zip(spoken, cosine.sum(1) - cosine.diagonal(), strict=True):
                if len(spoken) > 1:
                    values[i] = float(1 - total / (len(spoken) - 1)) if np.isfinite(total) else None
        return values

    return rewards


def _groups(scenarios: list[dict]) -> list[list[int]]:
    """Indices of the responses to each scenario."""
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(scenarios):
        groups.setdefault(row["id"], []).append(i)
    return list(groups.values())


def embedder(name: str, revision: str = "") -> Embed:
    """`words`: hashed word counts, no model; any other name: a sentence-transformers model at a commit."""
    if name == "words":
        return embed_words
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ValueError(f"embedder {name!r} needs the package sentence-transformers, which is not installed") from None
    model = SentenceTransformer(name, revision=revision or None)
    return lambda texts: model.encode(texts, convert_to_numpy=True, show_progress_bar=False)


# --- length-matched controls -----------------------------------------------------------------------------------------


def length_matched(reward: BatchReward, unit: str, apart: bool = False) -> BatchReward:
    """What random texts of the same length earn: pays an answer for its length alone, as `reward` would.

    The text of n words is drawn with replacement from the words (`unit` "words") or sentences ("sentences") of all the
    group's answers and cut to n words; four draws are averaged. Answers of the same length stand for the same texts;
    with `apart` each has texts of its own, because a reward that compares answers needs different ones.
    """

    def rewards(responses: list[str], scenarios: list[dict]) -> list[float | None]:
        drawn = [list(responses) for _ in range(DRAWS)]
        for rows in _groups(scenarios):
            reasons = [reasons_of(responses[i], scenarios[i]) for i in rows]
            spoken = [_spoken(text) for text in reasons]
            if unit == "words":
                pool = [[word] for word in sorted(itertools.chain(*spoken))]
            else:
                pool = [words for words in map(_spoken, sorted(itertools.chain(*map(sentences, reasons)))) if words]
            longest = max(map(len, pool), default=1)
            for k, (i, own) in enumerate(zip(rows, spoken, strict=True)):
                n = len(own)
                seed = zlib.crc32(f"{scenarios[i]['id']} {n}".encode())
                rng = generator(seed, "length_matched", k if apart else 0)
                for texts in drawn:
                    texts[i] = _in_place_of(responses[i], scenarios[i], _draw(pool, longest, n, rng))
        earned = [reward(texts, scenarios) for texts in drawn]
        return [None if None in values else sum(values) / DRAWS for values in zip(*earned, strict=True)]

    return rewards


def _in_place_of(response: str, scenario: dict, reasons: str) -> str:
    """The response with other reasons."""
    if scenario["options"] is None:
        return reasons
    return f"<think>{reasons}</think><answer>{parse(response)[1]}</answer>"


def _spoken(text: str) -> list[str]:
    """The words of a text with the marks at their ends."""
    return [part for part in text.split() if part.strip(EDGE)]


def _draw(pool: list[list[str]], longest: int, n: int, rng: np.random.Generator) -> str:
    """`n` words of random pieces, lists of at most `longest` words, the last one cut and closed by a full stop."""
    taken: list[str] = []
    while len(taken) < n:
        for k in rng.integers(len(pool), size=-(-(n - len(taken)) // longest)).tolist():
            taken += pool[k]
    return " ".join(taken[:n]).rstrip(EDGE) + "." * (n > 0)


# --- registering -----------------------------------------------------------------------------------------------------


def diversity_reward(
    name: str, make: Callable[..., BatchReward], unit: str, *, needs: tuple[str, ...] = (),
    options: tuple[Option, ...] = (), apart: bool = False,
) -> None:  # fmt: skip
    """Register a reward of reasons, gated, and its control: `length_matched` of it, under the name with that prefix.

    make: parameters -> reward of responses that passed the gate; unit, apart: of the control. With `apart` the reward
    compares the answers to one scenario.
    """

    def control(params) -> BatchReward:
        return length_matched(make(params), unit, apart)

    for label, of, compares in ((name, make, apart), (LENGTH_MATCHED + name, control, True)):
        per_batch(
            label,
            needs=lambda params: (*needs, "options", "answer") if params.diversity_gate == "correct" else needs,
            options=(GATE, *options),
            compares=compares,
        )(lambda params, grader, of=of: gated(of(params), params.diversity_gate))


def _of_statistic(statistic: str):
    return lambda params: of_texts(lambda reasons: surfaces(reasons, params.diversity_window)[statistic])


diversity_reward("diversity", _of_statistic("mean"), "words", options=(WINDOW,))
for _statistic in STATISTICS:
    diversity_reward(f"diversity_{_statistic}", _of_statistic(_statistic), "words", options=(WINDOW,))
diversity_reward(
    "dispersion", lambda params: dispersion(embedder(params.embedder, params.embedder_revision)), "sentences",
    options=(EMBEDDER, EMBEDDER_REVISION), apart=True,
)  # fmt: skip
