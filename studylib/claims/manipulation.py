"""The manipulation check of the objectives: did the policy of each condition keep what its objective's name promises?

The number is the stances kept: exp(entropy) of the sampled answers inside the accepted options of a scenario, mean over
scenarios. The optimum that the record promises (`training/objectives.py`) is known in closed form from what the run's
reward pays for each option and from the policy before training. That policy's preference for an option is the share of
its accepted answers that gave it, over all scenarios that accept it, with one answer added to every option.

Few answers to a scenario show fewer stances than the policy has, so the optimum is compared as those answers would show
it: the mean over draws of as many answers as the trained policy gave inside the accepted options.
"""

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pandas as pd

from studylib.claims.messages import write_messages
from studylib.claims.statistics import t_interval
from studylib.evaluation.diversity import GREEDY
from studylib.evaluation.summary import joined
from studylib.evaluation.table import keeps_tables, read_responses, read_scenarios
from studylib.names import OBJECTIVES
from studylib.params import RunParams
from studylib.randomness import generator
from studylib.rewards.paid import paid, why_unknown
from studylib.runs.folder import CONFIG, RESPONSES
from studylib.runs.read import KEYS, complete_runs, read_json
from studylib.scenarios.rows import accepted
from studylib.text.answers import read_answer
from studylib.training.objectives import beta_per_answer

SMOOTHING = 1  # answers added to every option of the policy before training
DRAWS = 400  # of as many answers as were given to a scenario
TOLERANCE = 0.05  # stances: less is no difference
OF_RUN = ["before", "kept", "optimum", "optimum_low", "optimum_high", "every_low", "every_high"]
COLUMNS = [
    "world", "condition", "objective", "promise", "beta_per_answer", "seeds", "before", "kept", "kept_low", "kept_high",
    "optimum", "optimum_low", "optimum_high", "outcome",
]  # fmt: skip
SAME = "cannot tell here: all optima keep the same number"
ANY = "cannot tell here: every number is an optimum"
WIDE = "cannot tell: the interval holds what it does not promise as well"


# --- one policy ------------------------------------------------------------------------------------------------------


def kept_of(counts) -> float:
    """exp(entropy) of answers by stance: 1 where all are one stance, m where m are equally frequent."""
    shares = np.asarray(counts, float)
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@lru_cache(maxsize=100_000)
def seen(shares: tuple[float, ...], n: int) -> float:
    """Mean of `kept_of` over draws of n answers from a policy that gives the stances these shares."""
    if max(shares) == 1 or n == 1:
        return 1.0
    draws = generator(0, "manipulation", n).multinomial(n, np.array(shares) / sum(shares), size=DRAWS)
    return float(np.mean([kept_of(counts) for counts in draws]))


def optimum(promise: str, before: np.ndarray, pay: np.ndarray, beta: float) -> list[np.ndarray]:
    """Shares of the accepted options at the optimum: one set, or of `best` the one that keeps least and the most.

    before: (m,) the untrained policy's shares; pay: (m,) rewards; beta: per answer. All 0 where a filtered optimum is
    paid nothing.
    """
    if promise == "best":
        top = (pay == pay.max()).astype(float)
        return [np.eye(len(pay))[pay.argmax()], top / top.sum()]
    weight = before * (pay.clip(min=0) if promise == "filtered" else np.exp(beta * (pay - pay.max())))
    return [weight / weight.sum() if weight.any() else weight]


def promise_of(params: RunParams) -> str:
    """What the objective promises under these parameters; a KL term in TRL's loss has an optimum of its own."""
    record = OBJECTIVES.of(params.objective)
    return "none" if not params.steps or (record.promise == "best" and params.beta) else record.promise


# --- one run ---------------------------------------------------------------------------------------------------------


def stances(answers: pd.DataFrame) -> dict[str, Counter]:
    """Scenario -> accepted option -> how many of its sampled answers gave it. answers: joined with their scenarios."""
    found: dict[str, Counter] = {}
    for row in answers[answers["k"] != GREEDY].to_dict("records"):
        right = accepted(row)
        counts = found.setdefault(row["id"], Counter(dict.fromkeys(right, 0)))
        option = read_answer(row["response"], row["options"])
        counts.update([option] if option in right else [])
    return found


def preferences(before: dict[str, Counter]) -> dict[str, float]:
    """Option -> its share of the accepted answers in the scenarios that accept it, all counts larger by `SMOOTHING`."""
    given, of = Counter(), Counter()
    for counts in before.values():
        given.update(counts)
        of.update(dict.fromkeys(counts, counts.total()))
    return {option: (given[option] + SMOOTHING) / (of[option] + SMOOTHING * 2) for option in of}


def of_run(before: pd.DataFrame, after: pd.DataFrame, params: RunParams) -> dict[str, float]:
    """`OF_RUN` of one run's answers before and after training, joined with their scenarios.

    optimum: stances kept at it, of `best` at most; the others are as the answers that were given would show it:
    optimum_low and optimum_high at the optimum, every_low and every_high at one stance and at all alike.
    """
    was, now = stances(before), stances(after)
    rows = {row["id"]: row for row in after.drop_duplicates("id").to_dict("records")}
    likes, promise = preferences(was), "none" if why_unknown(params) else promise_of(params)
    beta = beta_per_answer(params) if promise == "tempered" else np.nan
    cells = [
        _of_scenario(counts, rows[name], params, promise, beta, likes) for name, counts in now.items() if counts.total()
    ]
    mean = pd.DataFrame(cells, columns=OF_RUN[1:]).mean()
    untrained = [kept_of(list(counts.values())) for counts in was.values() if counts.total()]
    return {"before": float(np.mean(untrained)) if untrained else np.nan} | mean.to_dict()


def _of_scenario(counts: Counter, row: dict, params: RunParams, promise: str, beta: float, likes: dict) -> tuple:
    options, n = sorted(counts), counts.total()
    even = tuple([1 / len(options)] * len(options))
    kept, every = kept_of([counts[option] for option in options]), (1.0, seen(even, n))
    if promise == "none":
        return kept, np.nan, np.nan, np.nan, *every
    pay, untrained = paid(row, params), np.array([likes.get(option, 1.0) for option in options])
    shares = optimum(promise, untrained / untrained.sum(), np.array([pay[option] for option in options]), beta)
    if not shares[0].any():
        return kept, np.nan, np.nan, np.nan, *every
    shown = [seen(tuple(each.round(4).tolist()), n) for each in (shares[0], shares[-1])]
    return kept, kept_of(shares[-1]), *shown, *every


# --- one study -------------------------------------------------------------------------------------------------------


def manipulation_table(runs: pd.DataFrame) -> pd.DataFrame:
    """`COLUMNS`, one row per world and condition. runs: a row per run, as `run_rows` gives it."""
    rows = []
    for _, part in runs.groupby(["world", "condition"], sort=False):
        known = part["kept"].dropna()  # a policy that lost every accepted answer keeps nothing to count
        mean, low, high = t_interval(known) if len(known) else (np.nan,) * 3
        row = part.iloc[0].to_dict() | part[OF_RUN].mean().to_dict() | {"seeds": len(known)}
        if len(known) > 1 and np.isnan(low):  # all seeds alike
            low = high = mean
        row |= {"kept_low": low, "kept_high": high}
        rows.append(row | {"outcome": outcome(row)})
    return pd.DataFrame(rows, columns=COLUMNS)


def outcome(row: dict) -> str:
    """Whether the stances kept are those of the promised optimum, in words.

    A promise of one number does not count as kept where the interval over seeds is so wide that it holds the number of
    the opposite as well: of collapse, where several are promised, and of the untrained policy, where collapse is.
    """
    if row["promise"] == "none":
        return "nothing is promised"
    if row["every_high"] - row["every_low"] <= TOLERANCE:
        return SAME
    if np.isnan(row["kept"]):
        return "cannot tell: no accepted answer is left"
    if row["unknown_pay"]:
        return f"cannot tell: {row['unknown_pay']}"
    low, high = row["optimum_low"], row["optimum_high"]
    if row["promise"] == "best" and high >= row["every_high"] - TOLERANCE:
        return ANY
    if not np.isfinite([row["kept_low"], low]).all():
        return "cannot tell: one seed" if row["seeds"] == 1 else "cannot tell: nothing accepted is paid"
    opposite = row["before"] if row["promise"] == "best" else row["every_low"]

    def holds(number: float) -> bool:
        return row["kept_low"] - TOLERANCE <= number <= row["kept_high"] + TOLERANCE

    kept = row["kept_low"] - TOLERANCE <= high and low <= row["kept_high"] + TOLERANCE
    if kept and holds(opposite) and not low - TOLERANCE <= opposite <= high + TOLERANCE:
        return WIDE
    return "matches" if kept else "does not match"


def facts(params: RunParams) -> dict:
    """What a run's objective promises: objective, promise, beta_per_answer, and why its pay is unknown, if it is."""
    promise = promise_of(params)
    beta = beta_per_answer(params) if promise == "tempered" else np.nan
    unknown = why_unknown(params)
    return {"objective": params.objective, "promise": promise, "beta_per_answer": beta, "unknown_pay": unknown}


def run_rows(root, axis: str, profile: str, split: str) -> Iterator[dict]:
    """What `manipulation_table` takes, of every complete run that kept its answers to scenarios with right options."""
    for folder, key in complete_runs(root, axis, profile):
        if not keeps_tables(folder):
            continue
        scenarios = read_scenarios(folder)
        scenarios = scenarios[(scenarios["split"] == split) & scenarios["answer"].notna()]
        if scenarios.empty:
            continue
        params = RunParams.of_config(read_json(folder / CONFIG))
        answers = [read_responses(folder / name) for name in RESPONSES.values()]
        asked = [part[(part["split"] == split) & part["id"].isin(scenarios["id"])] for part in answers]
        before, after = (joined(part, scenarios) for part in asked)
        yield {name: key[name] for name in KEYS} | facts(params) | of_run(before, after, params)


def write_manipulation(study) -> pd.DataFrame:
    """manipulation.csv: whether every condition's objective did in this study what its name says; messages.csv, of
    studies with system messages, whether its messages did."""
    runs = pd.DataFrame(run_rows(study.root, study.axis, study.profile, study.split))
    table = manipulation_table(runs) if len(runs) else pd.DataFrame(columns=COLUMNS)
    table.to_csv(study.out / "manipulation.csv", index=False)
    write_messages(study)
    return table
