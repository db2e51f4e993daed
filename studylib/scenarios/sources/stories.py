"""Contrastive moral stories (nkiehne/contrastive_moral_stories): the same action under a norm and its contrary."""

from studylib.scenarios.rows import digest
from studylib.scenarios.sources.records import Origin, Record, candidates, local_records, published

STORIES = "contrastive_moral_stories"
HELD_OUT_SHARE = 4  # one story in four, where the authors' train files are not at hand
WHERE = (
    f"{STORIES} is not on the hub: take the data from the GitHub repository nkiehne/contrastive_moral_stories at "
    "commit 2c782d48fd98d10909f463c764908e43fc1def08, save each action+norm/norm_distance/dev.jsonl as "
    "original_ms_dev.jsonl, optional_ms_dev.jsonl and anti_ms_llama_dev.jsonl, and give their folder as data_dir"
)


def _names(part: str) -> tuple[str, ...]:
    # Not contra_ms: it holds the original and optional norms once more.
    return tuple(f"{norms}_{part}" for norms in ("original_ms", "optional_ms", "anti_ms_llama"))


# The hub has Moral Stories (demelin/moral_stories), not the contrastive norms.
FILES = Origin(
    folder=STORIES,
    files={"train": _names("train"), "held_out": _names("dev")},
    columns=("ID", "norm", "label"),
    licence="MIT",
    suffix=".jsonl",
)


def _records(name: str, split: str, data_dir: str) -> list[Record]:
    """The authors' train and dev stories, or, without train files, the dev stories parted by a hash of the story."""
    if not data_dir:
        raise ValueError(WHERE)
    dev = local_records(FILES, "held_out", data_dir)
    if not any(path.exists() for path in candidates(FILES, FILES.files["train"][0], data_dir)):
        return [record for record in dev if _is_held_out(record) == (split == "held_out")]
    if split == "held_out":
        return dev
    dev_stories = {_story(record) for record in dev}
    return [record for record in local_records(FILES, "train", data_dir) if _story(record) not in dev_stories]


@published(STORIES, FILES, read=_records)
def _contrastive_story(record: Record) -> dict:
    actions = [name for name in ("moral_action", "immoral_action") if record.fields.get(name) not in (None, "")]
    if len(actions) != 1:
        raise ValueError(f"{actions} instead of one moral_action or immoral_action in {record.place}")
    question = "Which word describes how the action stands to the norm, agrees or violates?"
    return {
        "prompt": f"Norm: {record.text('norm')} Action: {record.text(actions[0])} {question}",
        "options": ["agrees", "violates"], "answer": ("violates", "agrees")[record.label()],
        # Neither ID nor line number: both give the label away. `norms` says no more than the norm's own wording.
        "facts": {"story": _story(record), "norms": _norms(record)},
    }  # fmt: skip


def _story(record: Record) -> str:
    # The last character of the ID numbers the action, and with it gives the label away.
    story = record.text("ID")[:-1]
    if not story:
        raise ValueError(f"ID {record.text('ID')!r} should be a story and the number of an action in {record.place}")
    return story


def _is_held_out(record: Record) -> bool:
    return int(digest(STORIES, _story(record)), 16) % HELD_OUT_SHARE == 0


def _norms(record: Record) -> str:
    """Where the norm comes from, by the name of its file: original_ms, optional_ms or anti_ms_llama."""
    return record.path.name.split(".")[0].rpartition("_")[0]
