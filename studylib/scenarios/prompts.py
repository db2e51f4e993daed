"""Scenario -> chat messages. The only place that says what form an answer is to have."""

INSTRUCTION = (
    "You judge moral situations. First give your reasons between <think> and </think>, in a few sentences. "
    "Then give exactly one of the options between <answer> and </answer>, and write nothing after it."
)
OPEN_INSTRUCTION = (
    "You think about moral situations. Weigh what is at stake for everyone concerned, step by step, and then say what "
    "should be done and why."
)


def chat(row: dict, instruct: bool) -> list[dict]:
    """Messages for one scenario. The tiny model knows the form from its warm start; a hub model is instructed.

    A scenario without options asks for an open response, which a rubric scores.
    """
    if not instruct:
        return [{"role": "user", "content": row["prompt"]}]
    if not row["options"]:
        return [{"role": "system", "content": OPEN_INSTRUCTION}, {"role": "user", "content": row["prompt"]}]
    options = " or ".join(row["options"])
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": f"{row['prompt']}\nOptions: {options}."},
    ]
