"""Models of raters: PAL and pooled Bradley-Terry, learnt from which of two items a rater rates higher.

PAL (Chen et al., arXiv 2406.08469) gives rater u the point a_u = P w_u, a mixture of K prototypes with w_u on the
simplex, and has the rater prefer the item whose mapped embedding is nearer to it:

    P(i above j | u) = sigmoid(|A x_j - a_u|^2 - |A x_i - a_u|^2)

x are frozen embeddings, A a linear map. With K = 1 all raters share one point: pooled Bradley-Terry, which has nothing
to tell them apart by. `choose` takes the smallest K whose log loss on held-out items is within one standard error of
the best one. A fitted model predicts the ratings of items that nobody rated, on levels as frequent as those it saw.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from studylib.randomness import generator, torch_seed

KINDS = {"pooled": 1, "pal": 0}  # name -> number of prototypes; 0: chosen
MOST = 5  # prototypes that are tried
PAIRS = 6_000  # most that are learnt from
SIZE = 32  # dimensions that embeddings are reduced to
STEPS, RATE, DECAY = 250, 0.05, 1e-3
STARTS = 3  # of each fit, of which the one of lowest loss is kept
HELD_OUT = 5  # one item in so many


@dataclass(frozen=True)
class RaterModel:
    """Raters by name, their weights (raters, K), prototypes (K, m), map (d, m), and the levels of the ratings seen."""

    raters: tuple[str, ...]
    weights: np.ndarray
    prototypes: np.ndarray
    map: np.ndarray
    levels: np.ndarray  # of all ratings seen, sorted

    @property
    def groups(self) -> np.ndarray:
        """(raters,) the prototype that each rater is nearest to."""
        return self.weights.argmax(1)

    def utility(self, features: np.ndarray) -> np.ndarray:
        """(raters, items) -|A x - a_u|^2."""
        points = self.weights @ self.prototypes
        mapped = features @ self.map
        return -((points[:, None, :] - mapped[None]) ** 2).sum(2)

    def ratings(self, features: np.ndarray) -> np.ndarray:
        """(raters, items) predicted levels: a rater's utilities in the order of the levels that were seen of all."""
        utility = self.utility(features)
        rank = (utility.argsort(1).argsort(1) + 0.5) / utility.shape[1]
        return self.levels[(rank * len(self.levels)).astype(int)]


def reduced(vectors: np.ndarray, size: int = SIZE) -> np.ndarray:
    """(items, <= size) the vectors on their main axes, centred, at unit mean square length."""
    centred = vectors - vectors.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    kept = (u * s)[:, : min(size, int((s > 1e-9 * s[0]).sum()) if s[0] else 1)]
    return kept / max(np.sqrt((kept**2).sum(1).mean()), 1e-12)


def pairs(table: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """(n, 3) rater, item rated higher, item rated lower, as codes; at most `PAIRS`, chosen by chance.

    table: columns rater, item (codes from 0) and value. Raises ValueError where no rater rates two items differently.
    """
    found = []
    for rater, part in table.groupby("rater"):
        value, item = part["value"].to_numpy(), part["item"].to_numpy()
        above, below = np.nonzero(value[:, None] > value[None])
        found.append(np.column_stack([np.full(len(above), rater), item[above], item[below]]))
    every = np.concatenate(found) if found else np.zeros((0, 3), int)
    if not len(every):
        raise ValueError("a model of raters takes a rater who rates two items differently, and there is none")
    return every[generator(seed, "rater_models/pairs").permutation(len(every))[:PAIRS]]


def fit(table: pd.DataFrame, features: np.ndarray, k: int, seed: int = 0) -> RaterModel:
    """PAL with `k` prototypes. table: columns rater (names), item (row of `features`) and value."""
    import torch

    names, codes = np.unique(table["rater"], return_inverse=True)
    order, x = torch.from_numpy(pairs(table.assign(rater=codes), seed)).T, torch.from_numpy(features).float()

    def from_start(start: int) -> tuple:
        with torch_seed(seed, "rater_models/fit", start):
            size = min(x.shape[1], max(k, 2) + 2)
            logits = torch.randn(len(names), k).requires_grad_()
            prototypes = torch.randn(k, size).requires_grad_()
            mapping = (torch.randn(x.shape[1], size) / x.shape[1] ** 0.5).requires_grad_()
        optimiser = torch.optim.AdamW([logits, prototypes, mapping], lr=RATE, weight_decay=DECAY)
        loss = _learn(optimiser, order, lambda: (logits.softmax(1) @ prototypes, x @ mapping))
        return loss, logits.softmax(1), prototypes, mapping

    _, *best = min(map(from_start, range(STARTS)), key=lambda found: found[0])
    levels = np.sort(table["value"].to_numpy())
    return RaterModel(tuple(names), *(part.detach().double().numpy() for part in best), levels)


def _learn(optimiser, order, place: Callable) -> float:
    """`STEPS` steps down the log loss of the pairs; the last one's.

    order: rater, item above and item below of each pair; place: () -> points (raters, m) and mapped items (items, m).
    """
    import torch

    rater, above, below = order
    for _ in range(STEPS):
        points, mapped = place()
        apart = ((mapped[below] - points[rater]) ** 2).sum(1) - ((mapped[above] - points[rater]) ** 2).sum(1)
        loss = torch.nn.functional.softplus(-apart).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item()


def scores(model: RaterModel, table: pd.DataFrame, features: np.ndarray) -> pd.DataFrame:
    """rater, right (whether each pair of a rater's ratings is ordered rightly) and log loss, of raters of the model."""
    codes = pd.Index(model.raters).get_indexer(table["rater"])
    rater, above, below = pairs(table.assign(rater=codes)).T
    utility = model.utility(features)
    apart = utility[rater, above] - utility[rater, below]
    return pd.DataFrame({"rater": rater, "item": above, "right": apart > 0, "loss": np.logaddexp(0, -apart)})


def calibration_error(scored: pd.DataFrame, bins: int = 10) -> float:
    """Expected calibration error: mean over bins of confidence, weighed by size, of |share right - confidence|."""
    chance = np.exp(-scored["loss"])  # of the order that was found
    confidence = np.maximum(chance, 1 - chance)
    cut = np.minimum((confidence * bins).astype(int), bins - 1)
    by_bin = pd.DataFrame({"right": scored["right"], "confidence": confidence}).groupby(cut)
    return float((by_bin.size() * (by_bin["right"].mean() - by_bin["confidence"].mean()).abs()).sum() / len(scored))


def on_new_raters(model: RaterModel, table: pd.DataFrame, features: np.ndarray) -> RaterModel:
    """The model of raters that it has not seen: their weights alone are learnt, from `table`."""
    import torch

    names, codes = np.unique(table["rater"], return_inverse=True)
    order = torch.from_numpy(pairs(table.assign(rater=codes))).T
    prototypes, mapped = torch.from_numpy(model.prototypes), torch.from_numpy(features @ model.map)
    logits = torch.zeros(len(names), len(prototypes), dtype=torch.double, requires_grad=True)
    _learn(torch.optim.Adam([logits], lr=RATE), order, lambda: (logits.softmax(1) @ prototypes, mapped))
    return replace(model, raters=tuple(names), weights=logits.softmax(1).detach().numpy())


def choose(table: pd.DataFrame, features: np.ndarray, most: int = MOST, seed: int = 0) -> tuple[int, pd.DataFrame]:
    """(number of prototypes, table of k, log loss on held-out items, its standard error over raters)."""
    order = generator(seed, "rater_models/items").permutation(len(features))
    held_out = table["item"].isin(order[: max(2, len(order) // HELD_OUT)])
    rows = []
    for k in range(1, most + 1):
        model = fit(table[~held_out], features, k, seed)
        by_rater = scores(model, table[held_out & table["rater"].isin(model.raters)], features).groupby("rater")
        loss = by_rater["loss"].mean()
        rows.append((k, loss.mean(), loss.std(ddof=1) / len(loss) ** 0.5, by_rater["right"].mean().mean()))
    found = pd.DataFrame(rows, columns=["k", "loss", "se", "accuracy"])
    best = found.loc[found["loss"].idxmin()]
    return int(found.loc[found["loss"] <= best["loss"] + best["se"], "k"].min()), found
