"""What published data yield to a reader who cannot reason: the floor that a trained model's accuracy is held against.

- `base_rate`: the most frequent answer of the training rows.
- `bag_of_words`: logistic regression on the words and pairs of words of the text. Where two texts compete, their words
  count against each other.
- `linear_probe`: logistic regression on the policy's hidden state at the last token of the prompt, in the layer that
  does best in cross-validation (Alain & Bengio, arXiv 1610.01644): what the model knows before it is trained.

Where the authors publish no training rows, each held-out row is read by a fit to the other folds.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from studylib.evaluation.rates import wilson
from studylib.instruments.overlap import both_texts
from studylib.names import SOURCES
from studylib.params import RunParams
from studylib.paths import FIGURES
from studylib.policy.models import load_policy, sampling_mode
from studylib.scenarios.prompts import chat
from studylib.scenarios.selection import select, training_side
from studylib.text.tokens import prompt_tokens

TABLE = FIGURES / "real" / "baselines.csv"
FOLDS = 5
STRENGTHS = {"logisticregression__C": [0.001, 0.01, 0.1, 1.0, 10.0]}  # inverse regularisation, by cross-validation
COLUMNS = ["source", "baseline", "fitted_on", "train", "test", "accuracy", "low", "high"]
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # (features, labels, features of the test) -> labels


def baselines(params: RunParams, sources: Sequence[str], train: int, test: int) -> pd.DataFrame:
    """Accuracy of every baseline on `test` held-out rows of each source, with Wilson's 95 % interval.

    params: whose model is probed, and where the data lie. train, test: at most so many rows; the test rows begin with
    those that a run of these parameters is evaluated on.
    """
    model, tokenizer = load_policy(params)
    instruct, rows = params.instructed, []

    def probed(some: list[dict]) -> np.ndarray:
        return states(model, tokenizer, [chat(row, instruct) for row in some])

    for name in sources:
        trained, held_out = rows_of(params, name, train, test)
        for baseline, correct in compared(trained, held_out, probed).items():
            low, high = wilson(correct.sum(), len(correct))
            fitted_on = "train" if trained else "other folds"
            rows.append((name, baseline, fitted_on, len(trained), len(correct), correct.mean(), low, high))
    return pd.DataFrame(rows, columns=COLUMNS)


def write_baselines(params: RunParams, train: int, test: int, path: Path = TABLE) -> pd.DataFrame:
    """`baselines` of every published source with right answers, as a csv."""
    names = [name for name, source in SOURCES.items() if source.options and not source.world]
    table = baselines(params, names, train, test)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)
    return table


def rows_of(params: RunParams, source: str, train: int, test: int) -> tuple[list[dict], list[dict]]:
    """(training rows, held-out rows) of a source; no training rows where it is published for evaluation only."""
    asked = replace(params, source=source, steps=0, objective="base", eval_scenarios=test)
    held_out = select(asked)["held_out"]
    return training_side(asked, train) if "train" in SOURCES.of(source).splits else [], held_out


def compared(train: list[dict], test: list[dict], states: Callable[[list[dict]], np.ndarray]) -> dict[str, np.ndarray]:
    """baseline -> whether it gets each test row right. states: rows -> (rows, layers, hidden)."""
    fitted, asked = train or test, test
    labels, truth = (np.array([row["options"].index(row["answer"]) for row in some]) for some in (fitted, asked))

    def right(fit: Fit, features: Callable[[list[dict]], np.ndarray]) -> np.ndarray:
        if train:
            return fit(features(fitted), labels, features(asked)) == truth
        return _cross_fitted(fit, features(asked), truth) == truth

    return {
        "base_rate": right(base_rate, lambda rows: np.zeros((len(rows), 1))),
        "bag_of_words": right(bag_of_words, lambda rows: np.array([both_texts(row) for row in rows], dtype=object)),
        "linear_probe": right(linear_probe, states),
    }


def _cross_fitted(fit: Fit, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    found = np.empty_like(labels)
    for kept, left_out in _folds().split(labels, labels):
        found[left_out] = fit(features[kept], labels[kept], features[left_out])
    return found


def _folds() -> StratifiedKFold:
    return StratifiedKFold(FOLDS, shuffle=True, random_state=0)


def _chosen(*steps) -> GridSearchCV:
    """Logistic regression after `steps`, its strength chosen by cross-validation."""
    return GridSearchCV(make_pipeline(*steps, LogisticRegression(max_iter=2000)), STRENGTHS, cv=_folds())


def base_rate(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    return np.full(len(test), np.bincount(labels).argmax())


def bag_of_words(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Features: (rows, 2) texts, the second empty where none competes with the first."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit(train.ravel())

    def counted(pairs: np.ndarray) -> csr_matrix:
        return words.transform(pairs[:, 0]) - words.transform(pairs[:, 1])

    return _chosen().fit(counted(train), labels).predict(counted(test))


def linear_probe(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Features: (rows, layers, hidden)."""
    searches = [_chosen(StandardScaler()).fit(train[:, layer], labels) for layer in range(train.shape[1])]
    layer = int(np.argmax([search.best_score_ for search in searches]))
    return searches[layer].predict(test[:, layer])


def states(model, tokenizer, chats: list[list[dict]]) -> np.ndarray:
    """(rows, layers, hidden) hidden states at the last token of each prompt, embeddings first."""
    found = []
    with sampling_mode(model):
        for prompt in prompt_tokens(tokenizer, chats):
            ids = torch.tensor([prompt], device=model.device)
            layers = model(input_ids=ids, output_hidden_states=True, logits_to_keep=1).hidden_states
            found.append(torch.stack([layer[0, -1] for layer in layers]).float().cpu().numpy())
    return np.stack(found)
