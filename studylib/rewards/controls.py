"""Controls: what training does to a policy that is paid for something else than the right answer.

A reward without any use taught Qwen2.5-Math-7B 21.4 points on MATH-500 and other models nothing (Shao et al. 2025,
arXiv 2506.10947): updates alone change a policy, and a clip that favours what it does already does too. So a gain
counts as one of its reward where it is above that of these. `format` (rewards/correct.py) is one more. All of them pay
wrong answers by design, which the audit knows from their records (`control`).
"""

from collections import Counter, defaultdict

from studylib.rewards import BatchReward, per_batch, per_response, streams
from studylib.rewards.correct import correct
from studylib.text.answers import read_answer


@per_batch("random", two_valued=True, control=True)
def random(params, grader) -> BatchReward:
    """A fair coin per answer, whatever it says, as in arXiv 2506.10947.

    A hash of the text would pay some wordings always and others never, and a policy can learn that. So the coin belongs
    to the place of the answer among those to its scenario (`streams`).
    """
    return lambda responses, scenarios: [
        float(rng.integers(2)) for rng in streams(params.seed, "rewards/random", scenarios)
    ]


@per_response("inverted", needs=("options", "answer"), two_valued=True, control=True)
def inverted(response: str, scenario: dict) -> float:
    """1.0 when exactly one option is given and it is not right, else 0.0: a malformed response earns nothing."""
    return float(read_answer(response, scenario["options"]) is not None and not correct(response, scenario))


@per_response("constant", constant=True, control=True)
def constant(response: str, scenario: dict) -> float:
    """1.0 for everything: every advantage is 0, so that the policy stays what it was."""
    return 1.0


@per_batch("majority", needs=("options",), two_valued=True, compares=True, control=True)
def majority(params, grader) -> BatchReward:
    """1.0 for the option that most readable answers to the scenario give, as in TTRL (arXiv 2504.16084): no label.

    Tied options are all paid: to choose one of them would take a label, or pay for a place among the options. An answer
    that cannot be read has no vote and earns 0.0.
    """

    def rewards(responses: list[str], scenarios: list[dict]) -> list[float]:
        given = [read_answer(text, row["options"]) for text, row in zip(responses, scenarios, strict=True)]
        votes = defaultdict(Counter)
        for option, row in zip(given, scenarios, strict=True):
            if option is not None:
                votes[row["id"]][option] += 1
        pairs = zip(given, scenarios, strict=True)
        return [float(o is not None and votes[s["id"]][o] == max(votes[s["id"]].values())) for o, s in pairs]

    return rewards
