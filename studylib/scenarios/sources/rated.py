"""Published ratings of people, rater by rater: a scenario is an item with all its ratings, its options the scale.

| source              | rated                                            | scale | groups of raters    | licence       |
| ------------------- | ------------------------------------------------ | ----- | ------------------- | ------------- |
| offtherails         | is what was done morally permissible?            | 1..5  | none are published  | MIT           |
| offtherails_events  | how good or bad is what happens?                 | 1..7  | none are published  | MIT           |
| social_chem         | how right or wrong is an action?                 | -2..2 | none are published  | CC BY-SA 4.0  |
| moralchoice_rules   | does an action break a rule?                     | 1..3  | none: see below     | MIT           |
| dices               | is an answer in a conversation unsafe?           | 1..3  | gender, race, age   | CC BY 4.0     |
| overtonbench        | is your view represented in an answer?           | 1..5  | clusters of views   | CC BY 4.0     |
| prism               | how good is an answer to your own prompt?        | 1..5  | none in this file   | CC            |
| scruples            | which of two actions is less ethical?            | 1..2  | none are published  | research only |

OffTheRails: arXiv 2404.10975. Social-Chem-101: arXiv 2011.00620. MoralChoice (arXiv 2307.14324) publishes whether its
three annotators agreed, and not who said what: Yes and No count as one rating, "No Agreement" as one of the middle.
DICES: arXiv 2306.11247. OvertonBench: arXiv 2512.01351. PRISM: arXiv 2404.16019; its scores of 1..100 are put into
fifths, and an answer has one rater. Scruples (arXiv 2008.09094), its dilemmas: counts of annotators. Of DICES,
OvertonBench and Scruples no commit is pinned here: download them and give their folder.

A quarter of the items is held out; those that share a story, a prompt or a conversation are on one side.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from studylib.scenarios.ratings import with_ratings
from studylib.scenarios.rows import digest
from studylib.scenarios.sources.records import Origin, Record, local_records, published, records

QUARTER = 4  # one part in so many is held out
OFTEN = "The first option is the lowest level, the last one the highest."


class Rating(NamedTuple):
    """One person's rating of one item."""

    story: str  # what keeps an item on one side
    prompt: str
    rater: str
    value: float
    groups: tuple[str, ...] = ()


def rated(name: str, origin: Origin, scale: Iterable[int], *, read: Callable | None = None) -> Callable:
    """Register a function of one record -> its ratings as the source `name`.

    scale: the levels, whole numbers that rise. read: (name, split, data_dir) -> records, where it takes more than one
    file. Raises ValueError, when it is loaded, for a rating that is not on the scale. Of a person who rates an item
    twice the first rating counts.
    """
    options = [str(level) for level in scale]

    def register(ratings: Callable[[Record], Iterable[Rating]]):
        def items(name: str, split: str, data_dir: str) -> list[Record]:
            return _items(name, split, (read or records)(name, "held_out", data_dir), ratings)

        @published(name, origin, read=items, rated=True)
        def ask(record: Record) -> dict:
            given = [{"rater": r.rater, "value": r.value, "groups": list(r.groups)} for r in record.fields["ratings"]]
            if off := [r["value"] for r in given if f"{r['value']:g}" not in options]:
                raise ValueError(f"a rating of {off[0]:g} is not on the scale {', '.join(options)} in {record.place}")
            row = {"id": "", "prompt": f"{record.fields['prompt']} {OFTEN}", "options": options}
            row = with_ratings(row, given)
            return {name: row[name] for name in ("prompt", "options", "ratings", "answer")}

        return ratings

    return register


def _items(name: str, split: str, found: Iterable[Record], ratings: Callable) -> list[Record]:
    """A record per item, with all its ratings, of one side."""
    by_prompt: dict[str, Record] = {}
    for record in found:
        for rating in ratings(record):
            held_out = int(digest(name, rating.story), 16) % QUARTER == 0
            if held_out == (split == "held_out"):
                item = by_prompt.setdefault(
                    rating.prompt, Record(record.path, record.line, {"prompt": rating.prompt, "ratings": []})
                )
                if rating.rater not in [other.rater for other in item.fields["ratings"]]:
                    item.fields["ratings"].append(rating)
    return list(by_prompt.values())


def _number(record: Record, column: str) -> float:
    try:
        return float(record.text(column))
    except ValueError:
        raise ValueError(f"column {column!r} is {record.fields[column]!r:.80}, no number, in {record.place}") from None


def _both(*files: str) -> dict[str, tuple[str, ...]]:
    return {"train": files, "held_out": files}


# --- OffTheRails -----------------------------------------------------------------------------------------------------

RAILS = "MIT, cicl-stanford/moral-evals"
SENTENCES = ("context", "opportunity", "structure_sentence", "evitability_sentence", "action_sentence")


def _with_stimuli(ratings: Origin, stimuli: Origin, key: Callable[[Record], str]) -> Callable:
    """Reading that puts its stimulus beside every rating; `key` names the stimulus of a record of either file."""

    def read(name: str, split: str, data_dir: str) -> Iterator[Record]:
        texts = {key(record): record.fields for record in local_records(stimuli, "held_out", _folder(data_dir, name))}
        for record in local_records(ratings, "held_out", data_dir):
            if key(record) not in texts:
                raise ValueError(f"no stimulus {key(record)!r} for the rating in {record.place}")
            yield record._replace(fields=texts[key(record)] | record.fields)

    return read


def _folder(data_dir: str, name: str) -> str:
    if not data_dir:
        raise ValueError(f"no hub id is known for {name}; give data_dir")
    return data_dir


def _condition(record: Record) -> str:
    """The stimulus of experiment 2: a rating has three flags, a text the name that they make."""
    if "condition" in record.fields:
        return f"{record.fields['scenario_id']} {record.fields['condition']}"
    cause, evitable, action = (int(_number(record, name)) for name in ("causal_structure", "evitability", "action"))
    flags = ("coc", "cc")[cause], ("inevitable", "evitable")[evitable], ("prevention_no", "action_yes")[action]
    return f"{record.text('scenario_id')} {'_'.join(flags)}"


def _event(record: Record) -> str:
    """The stimulus of experiment 1; a rating has 1 for cc (harm as a means) and 0 for coc (side effect)."""
    structure = {"1": "cc", "0": "coc"}.get(str(record.fields["structure"]), record.fields["structure"])
    return f"{record.fields['scenario_id']} {structure} {record.fields['type']} {record.fields['strength']}"


EXP2 = Origin("offtherails", _both("exp2_ratings"), ("worker_id", "scenario_id", "permissibility_rating"), RAILS)
TEXTS2 = Origin("offtherails", _both("exp2_stimuli"), ("permissibility_question", *SENTENCES), RAILS, suffix=".jsonl")
EXP1 = Origin("offtherails", _both("exp1_ratings"), ("worker_id", "scenario_id", "rating"), RAILS)
TEXTS1 = Origin("offtherails", _both("exp1_stimuli"), ("background", "target"), RAILS, suffix=".jsonl")


@rated("offtherails", EXP2, range(1, 6), read=_with_stimuli(EXP2, TEXTS2, _condition))
def _permissible(record: Record) -> Iterator[Rating]:
    story = " ".join(record.text(name) for name in SENTENCES)
    asked = f"{story} How far do you agree: {record.text('permissibility_question')}"
    yield Rating(record.text("scenario_id"), asked, record.text("worker_id"), _number(record, "permissibility_rating"))


@rated("offtherails_events", EXP1, range(1, 8), read=_with_stimuli(EXP1, TEXTS1, _event))
def _good_or_bad(record: Record) -> Iterator[Rating]:
    asked = f"{record.text('background')} {record.text('target')} How good is this?"
    yield Rating(record.text("scenario_id"), asked, record.text("worker_id"), _number(record, "rating"))


# --- other published ratings -----------------------------------------------------------------------------------------

CHEM = Origin(
    "social_chem_101_subset", _both("obligatory", "optional"), ("action", "action-moral-judgment", "rot-worker-id"),
    "CC BY-SA 4.0",
)  # fmt: skip
RULES = Origin(
    "moralchoice", _both("high_ambiguity", "low_ambiguity"), ("scenario_id", "context", "action1", "a1_deceive"), "MIT"
)
BROKEN = {
    "death": "kill", "pain": "cause pain", "disable": "disable", "freedom": "deprive of freedom",
    "pleasure": "deprive of pleasure", "deceive": "deceive", "cheat": "cheat", "break_promise": "break a promise",
    "break_law": "break the law", "duty": "fail to do a duty",
}  # fmt: skip
DICES = Origin(
    "dices", _both("diverse_safety_adversarial_dialog_350"),
    ("rater_id", "rater_gender", "rater_race", "rater_age", "item_id", "context", "response", "Q_overall"), "CC BY 4.0",
)  # fmt: skip
OVERTON = Origin(
    "overtonbench", _both("overtonbench"),
    ("question_id", "user", "question", "llm_response", "representation_rating", "cluster_kmeans"),
    "CC BY 4.0, hub elinorpd/overtonbench",
)  # fmt: skip
PRISM = Origin(
    "prism", _both("utterances"), ("user_id", "conversation_id", "user_prompt", "model_response", "score"), "CC",
    hub_id="HannahRoseKirk/prism-alignment", revision="18ab5cfb37456f4ec8cbc00212ce54cf7b1239f6",
    hub_files=_both("utterances.jsonl"), suffix=".jsonl",
)  # fmt: skip
SCRUPLES = Origin(
    "scruples", _both("dilemmas"), ("id", "actions", "gold_annotations"), "research only, allenai/scruples",
    suffix=".jsonl",
)  # fmt: skip


@rated("social_chem", CHEM, range(-2, 3))
def _right_or_wrong(record: Record) -> Iterator[Rating]:
    if record.fields["action-moral-judgment"]:
        asked = f"{record.text('action')} How right or wrong is this, from very bad to very good?"
        yield Rating(asked, asked, record.text("rot-worker-id"), _number(record, "action-moral-judgment"))


@rated("moralchoice_rules", RULES, range(1, 4))
def _breaks_rule(record: Record) -> Iterator[Rating]:
    for action in ("1", "2"):
        for rule, words in BROKEN.items():
            said = record.text(f"a{action}_{rule}")
            asked = f"{record.text('context')} {record.text(f'action{action}')} Does this {words}?"
            value = {"No": 1.0, "No Agreement": 2.0, "Yes": 3.0}.get(said)
            if value is None:
                raise ValueError(f"annotation {said!r:.80} is none of No, No Agreement, Yes in {record.place}")
            yield Rating(record.text("scenario_id"), asked, "annotators", value)


@rated("dices", DICES, range(1, 4))
def _unsafe(record: Record) -> Iterator[Rating]:
    said = record.text("Q_overall")
    if said not in ("No", "Unsure", "Yes"):
        raise ValueError(f"rating {said!r:.80} is none of No, Unsure, Yes in {record.place}")
    groups = tuple(f"{kind}: {record.text(f'rater_{kind}')}" for kind in ("gender", "race", "age"))
    asked = f"{record.text('context')} Answer: {record.text('response')} Is the answer unsafe?"
    value = float(("No", "Unsure", "Yes").index(said) + 1)
    yield Rating(record.text("item_id"), asked, record.text("rater_id"), value, groups)


@rated("overtonbench", OVERTON, range(1, 6))
def _represented(record: Record) -> Iterator[Rating]:
    asked = f"{record.text('question')} Answer: {record.text('llm_response')} Does it represent your view?"
    group = (f"cluster {record.text('cluster_kmeans')}",)
    yield Rating(
        record.text("question_id"), asked, record.text("user"), _number(record, "representation_rating"), group
    )


@rated("prism", PRISM, range(1, 6))
def _good_answer(record: Record) -> Iterator[Rating]:
    score = float(record.fields["score"])
    if not 1 <= score <= 100:
        raise ValueError(f"score {score:g} is not in 1..100 in {record.place}")
    asked = f"{record.text('user_prompt')} Answer: {record.text('model_response')} How good is it?"
    yield Rating(record.text("conversation_id"), asked, record.text("user_id"), float(-(-score // 20)))


@rated("scruples", SCRUPLES, range(1, 3))
def _less_ethical(record: Record) -> Iterator[Rating]:
    first, second = (action["description"] for action in record.fields["actions"])
    asked = f"(1) {first} (2) {second} Which of the two is less ethical, 1 or 2?"
    for value, count in enumerate(record.fields["gold_annotations"], start=1):
        for i in range(count):
            yield Rating(record.text("id"), asked, f"annotator {value}.{i}", float(value))
