"""Published data in tests: files as their authors write them, and the real ones where they are at hand."""

from functools import cache
from pathlib import Path

from studylib.scenarios.sources import load_source


@cache
def real_rows(source: str, split: str, data_dir: str) -> list[dict]:
    return load_source(source, split, data_dir)


def write(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return str(folder)


def morebench(judgements: list[str], dilemma: str = "Chess?", theory: str = "neutral") -> dict:
    """A published comparison of MoReBench's site: one model, whose two texts have these judgements."""
    rubrics = [
        {"criterion_id": f"c{i}", "criterion": f"Mentions chess at length {i} ", "weight": 1,
         "dimension": "identifying", "judgement": judgement} for i, judgement in enumerate(judgements)
    ]  # fmt: skip
    text = {"response": "On chess, 1.", "score": 50.0, "rubrics": rubrics}
    return {"metadata": {"dilemma": dilemma, "theory": theory},
            "models": [{"model_name": "m", "thinking_trace": text, "model_resp": text}]}  # fmt: skip
