"""Which shapings cannot change what is learned, and which conditions cannot differ.

A group-normalised advantage is the same for r and for a r + b with a > 0, whatever a and b are in each group. So PAR,
LSC or tanh do nothing to a single reward with two values in a group, and min-max or mean-std over a step do nothing at
all. Such an experiment would end in a null result that nobody can explain. Whether a shaping is idle is tried out: the
advantages with and without it, on random groups of rewards. The epsilon that trainers add to standard deviations must
not count as an effect of the shaping, so the rewards are scaled up until it is negligible.
"""

import itertools

import numpy as np

from studylib.names import OBJECTIVES, REWARDS
from studylib.params import RunParams, parameters
from studylib.randomness import generator
from studylib.rewards.shaping import total
from studylib.training.objectives import group_advantages

TOLERANCE = 1e-4  # of the largest advantage
SCALE = 1e6  # of rewards, beside which the epsilon of a normalisation is nothing
GROUPS = 200  # random groups that are tried
NAMES_OF_A_RUN = {"condition", "seed", "run_root", "profile", "world"}  # parameters that say what a run is called
REWARD_PARAMETERS = {"rewards", "shaping", "combination"}


def advantages(r: np.ndarray, params: RunParams) -> np.ndarray:
    """(B,) what the answers are worth to the objective, from (B, R) rewards; columns as in `params.reward_weights`.

    Up to a factor that is the same for all rewards: the objective's own function is asked, at `SCALE`.
    """
    g, weights = params.generations, np.array(list(params.reward_weights.values()))
    whole = total(r, weights, g, params.shaping, params.combination)
    if params.combination == "normalise_then_sum":
        return whole / max(float(np.nanstd(whole)), 1e-9)  # TRL divides by the spread of the whole step
    import torch

    scaled = torch.from_numpy(whole.round(12) * SCALE)  # rounded, so that answers of like worth stay alike
    return group_advantages(OBJECTIVES.of(params.objective))(scaled, g).numpy()


def shaping_is_idle(params: RunParams, two_valued: frozenset[str] | None = None) -> bool:
    """Whether the advantages are the same with and without the shaping and the combination, for all rewards tried."""
    names = list(params.reward_weights)
    plain = dict(vars(params)) | {"shaping": "none", "combination": "sum"}
    r = random_rewards(names, params.generations, two_valued)
    return _same(advantages(r, params), advantages(r, RunParams(**plain)))


def idle_message(params: RunParams, two_valued: frozenset[str] | None = None) -> str | None:
    """One sentence for the start of a run when its shaping or combination cannot change the gradient, else None."""
    if params.combination == "more" and sum(weight != 0 for weight in params.reward_weights.values()) == 2:
        return (
            "combination 'more' of two rewards gives both the weight 0.5 wherever both have a gradient: the shortest "
            "mean of two gradients of length 1 is their middle; it takes three rewards to find weights"
        )
    chosen = [f"{name} '{value}'" for name, value in (("shaping", params.shaping), ("combination", params.combination))
              if value not in ("none", "sum")]  # fmt: skip
    if not chosen or _finds_weights(params) or not shaping_is_idle(params, two_valued):
        return None
    return (
        f"{chosen[0]} cannot change the gradient here: with rewards = {params.rewards!r} and objective "
        f"{params.objective!r} the advantages are those of the plain sum"
    )


def identical_conditions(configs: dict[str, dict], two_valued: frozenset[str] | None = None) -> list[tuple[str, str]]:
    """Pairs of conditions that cannot differ. configs: condition -> the parameters of a run (its config.json).

    Two conditions are compared when they differ in rewards, shaping, combination or what rewards are computed with, and
    in nothing else but names; they are identical when their advantages are, on random groups of rewards.
    """
    runs = {name: RunParams.of_config(config) for name, config in configs.items()}
    return [pair for pair in itertools.combinations(runs, 2) if _identical(*(runs[c] for c in pair), two_valued)]


def _identical(one: RunParams, other: RunParams, two_valued: frozenset[str] | None) -> bool:
    trained = [{name for name, weight in p.reward_weights.items() if weight} for p in (one, other)]
    differ = {name for name in vars(one) if getattr(one, name) != getattr(other, name)} - NAMES_OF_A_RUN
    matter = {name for name in differ - REWARD_PARAMETERS if _matters(name, trained[0] | trained[1], one, other)}
    if matter or not differ or _finds_weights(one) != _finds_weights(other):
        return False
    names = sorted(set(one.reward_weights) | set(other.reward_weights))
    r = random_rewards(names, one.generations, two_valued)
    worth = [advantages(r[:, [names.index(name) for name in p.reward_weights]], p) for p in (one, other)]
    return (not _finds_weights(one) or trained[0] == trained[1]) and _same(*worth)


def _finds_weights(params: RunParams) -> bool:
    """Whether MORE has weights to find: of one reward there is nothing to mix."""
    return params.combination == "more" and sum(weight != 0 for weight in params.reward_weights.values()) > 1


def _matters(parameter: str, trained: set[str], *runs: RunParams) -> bool:
    """Whether a parameter can change runs that train on these rewards."""
    if all(parameter in run.unread() for run in runs):
        return False
    if parameter == "beta" and all(OBJECTIVES.of(run.objective).kind in ("flow", "dpg") for run in runs):
        return False  # there it only switches the reference on
    readers = {reward.name for reward in REWARDS.values() if parameter in (option.name for option in reward.options)}
    if not readers:
        return True
    other, unread = parameters()[parameter].unread_if
    return bool(readers & trained) and not (other and all(getattr(run, other) == unread for run in runs))


def random_rewards(names: list[str], g: int, two_valued: frozenset[str] | None = None) -> np.ndarray:
    """(GROUPS * g, R) independent rewards: a fair coin where a reward has two values, 1 where it is constant, else
    uniform in [-1, 1].

    two_valued: the rewards that have two values here (default: what their records say). Ratings among them, as on a
    scale of two levels, share one coin: they rank answers alike.
    """
    if two_valued is None:
        two_valued = {reward.name for reward in REWARDS.values() if reward.two_valued}
    columns = []
    for name in names:
        coin = name in two_valued
        rng = generator(0, f"idle/{'ratings' if coin and REWARDS.of(name).agreement else name}")
        drawn = rng.integers(2, size=GROUPS * g) if coin else rng.uniform(-1, 1, size=GROUPS * g)
        columns.append(np.ones(GROUPS * g) if REWARDS.of(name).constant else drawn)
    return np.stack(columns, 1).astype(float)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() <= TOLERANCE * np.abs([a, b]).max())
