"""What a run pays for each option of a scenario, where its rewards look at the option alone once the form is right."""

from studylib.rewards import stances
from studylib.scenarios.rows import accepted


def paid(row: dict, params) -> dict[str, float]:
    """option -> reward of a well-formed response that gives it, with reasons that support it.

    Raises ValueError for rewards and shapings whose pay for an option is not known.
    """
    if why_unknown(params):
        raise ValueError(why_unknown(params))
    pays = [(weight, PAID[name](row, params)) for name, weight in params.reward_weights.items() if weight]
    return {option: sum(weight * pay.get(option, 0.0) for weight, pay in pays) for option in row["options"]}


def why_unknown(params) -> str:
    """Why it is not known what an option is paid; empty where it is."""
    for name in (name for name, weight in params.reward_weights.items() if weight and name not in PAID):
        return f"what reward {name!r} pays for an option is not known, only of {', '.join(PAID)}"
    if params.shaping != "none" or params.combination != "sum":
        return f"what shaping {params.shaping!r} of combination {params.combination!r} pays for an option is not known"
    return ""


PAID = {
    "correct": lambda row, params: dict.fromkeys(accepted(row), 1.0),
    "format": lambda row, params: dict.fromkeys(row["options"], 1.0),
    "stance": stances.paid,  # noise that is alike for all accepted stances moves no optimum among them
}
