"""Is the policy right every time? An endpoint that nobody knew when the runs were made."""

from studylib.names import ENDPOINTS, Endpoint


def always_right(answers):
    """Share of scenarios to which every sampled answer is right; answers: a row per answer of one policy."""
    samples = answers[answers["k"] > 0]
    return samples.groupby("id")["correct"].min().mean()


ENDPOINTS.add(Endpoint("always_right", always_right, unit="share of scenarios", needs=("answer",)))
