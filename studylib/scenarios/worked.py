"""Worked examples: scenarios of the training side with a right answer and reasons for it, to show to a model."""

from studylib.scenarios import council, plural, told_values
from studylib.scenarios.facts import NORMS, OPTIONS, breach, counts, facts_of
from studylib.scenarios.rows import accepted
from studylib.scenarios.telling import reasoned_response

NEUTRAL = "I weigh what each of the options would mean for everyone concerned."


def worked(row: dict) -> str:
    """A well-formed response with a right answer; its reasons are those of the world, else they only name the form."""
    if row["source"] in NORMS:
        facts = facts_of(row)
        return reasoned_response(facts, row["framework"], counts(facts, row["source"]))
    if row["source"] == plural.WORLD:
        others = [option for option in accepted(row) if option != row["answer"]]
        return plural.response(facts_of(row), row["answer"], others)
    if row["source"] == council.WORLD:
        return council.response(facts_of(row), council.told(facts_of(row), row["prompt"]))
    if row["source"] == told_values.WORLD:
        facts = facts_of(row)
        overturned = row["answer"] != OPTIONS[breach(facts, row["framework"])]
        return told_values.response(facts, row["framework"], overturned)
    return f"<think>{NEUTRAL}</think><answer>{row['answer']}</answer>"
