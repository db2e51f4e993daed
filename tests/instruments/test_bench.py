"""The benchmark's arithmetic, on figures made up for the purpose, and one real measurement at a size of seconds."""

import json
from pathlib import Path

import pandas as pd
import pytest

from studylib.instruments import bench, bench_step
from studylib.instruments.bench_judge import judge_throughput
from studylib.instruments.price import price, study_minutes
from studylib.instruments.random_models import save_random_model


def steps(engine, pair, seconds, peak):
    shape = {"model": "small", "P": 64, "C": 32, "G": 8}
    return [{**shape, "engine": engine, "pair": pair, "seconds": s, "peak_gb": peak} for s in seconds]


def test_ratios_are_plain_over_fast():
    rows = steps("trl", 0, [4.0, 6.0], 3.0) + steps("fast", 0, [2.0, 2.0], 1.0)
    rows += steps("trl", 1, [9.0, 9.0], 2.0) + steps("fast", 1, [3.0, 2.0], 1.5)
    (row,) = bench.ratios(pd.DataFrame(rows)).to_dict("records")
    assert row["ratio"] == pytest.approx(7.5 / 2.0)
    assert (row["ratio_low"], row["ratio_high"]) == pytest.approx((5 / 2, 9 / 2.5))
    assert row["memory_ratio"] == pytest.approx(3.0 / 1.5)


def test_other_ways_and_other_columns_are_compared_alike():
    rows = steps("fast_nf4", 0, [8.0], 4.0) + steps("fast", 0, [2.0], 1.0) + steps("trl", 0, [1.0], 1.0)
    table = pd.DataFrame(rows).assign(cpu_seconds=lambda t: t.seconds**2)
    (row,) = bench.ratios(table, "fast_nf4", "cpu_seconds").to_dict("records")
    assert (row["ratio"], row["ratio_low"], row["ratio_high"], row["memory_ratio"]) == (16, 16, 16, 4)


def test_a_real_size_on_a_cpu_is_compared_by_the_clock_and_by_the_work_of_the_cpu(tmp_path, monkeypatch):
    asked = []

    def worker(**task):
        asked.append(task)
        seconds = {"fast_nf4": 6.0, "fast": 3.0}[task["engine"]]
        return {"steps": [{"seconds": seconds, "cpu_seconds": seconds**2}] * task["steps"], "peak_gb": seconds}

    monkeypatch.setattr(bench, "run_worker", worker)
    monkeypatch.setattr(bench, "save_random_model", lambda *args: None)
    bench._real_size(tmp_path, repeats=2, steps=1)
    assert [task["engine"] for task in asked] == ["fast_nf4", "fast"] * 2, "they take turns"
    assert {(task["prompts"], task["p"], task["c"], task["g"], task["micro_batch"]) for task in asked} == {
        (8, 120, 40, 4, 32)
    }
    table = pd.read_csv(tmp_path / "real_size.csv").set_index("of")
    assert table.ratio.to_dict() == {"seconds": 2, "cpu_seconds": 4} and set(table.memory_ratio) == {2}
    assert len(pd.read_csv(tmp_path / "real_size_steps.csv")) == 4


def test_the_price_of_a_run_is_read_from_its_notebook(tmp_path):
    folder = tmp_path / "seed0"
    folder.mkdir()
    cells = [("resumed_from = train(trainer, params)", 30.0), ("evaluate_after(params, trainer, splits, grader)", 5.0),
             ("trainer = make_policy(params, splits, grader)", 7.0), ("print()", 1.0)]  # fmt: skip
    notebook = {
        "cells": [{"source": s, "metadata": {"papermill": {"duration": d}}} for s, d in cells],
        "metadata": {"papermill": {"duration": 50.0}},
    }
    (folder / "notebook.ipynb").write_text(json.dumps(notebook))
    assert price(tmp_path).empty, "an unfinished run has no price"
    (folder / "manifest.json").write_text("{}")
    table = price(tmp_path).set_index("part")
    assert table.seconds.to_dict() == {
        "train": 30, "evaluate": 5, "imports and policy": 7, "other cells": 1, "kernel": 7, "whole run": 50,
    }  # fmt: skip
    assert table.share["kernel"] == pytest.approx(0.14)
    (tmp_path / "warm_start.tsv").write_text("s\th:m:s\n80.0\t0:01:20\n")
    minutes = study_minutes(price(tmp_path)).set_index("runs").minutes
    assert minutes[3] == pytest.approx((80 + 2 * 50) / 60) and minutes[48] == pytest.approx((80 + 24 * 50) / 60)


@pytest.mark.parametrize("engine", [*bench.ENGINES, "fast_nf4"])
def test_a_measurement_has_exactly_the_shape_asked_for(tmp_path, engine, monkeypatch):
    words = []

    def spy(completions, **columns):
        words.extend(len(chat[0]["content"].split()) for chat in completions)
        return [float(i) for i in range(len(completions))]

    monkeypatch.setattr(bench_step, "noise", spy)
    save_random_model(Path(tmp_path), bench_step.SMALL._replace(layers=1))
    result = bench_step.measure(str(tmp_path), engine, p=12, c=5, g=2, prompts=2, micro_batch=4, steps=1, device="cpu")
    (step,) = result["steps"]
    assert result["peak_gb"] > 0 and step["cpu_seconds"] > 0
    assert step["seconds"] == pytest.approx(sum(step[stage] for stage in ("generate", "reward", "score", "train")))
    assert all(step[stage] > 0 for stage in ("generate", "reward", "score", "train"))
    assert len(words) == 8 and set(words) <= {4, 5}, "five tokens each; a padding token would not show as a word"


@pytest.mark.parametrize("crash_at", [1, 2])
def test_the_tables_of_the_models_before_a_crash_are_kept(tmp_path, monkeypatch, crash_at):
    names = list(bench.GPU_MODELS)
    monkeypatch.setattr(bench, "FIGURES", tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "a GPU")
    monkeypatch.setattr(bench, "save_random_model", lambda *args: None)

    def compare(shapes, name, **task):
        if name == names[crash_at]:
            raise RuntimeError("out of memory")
        rows = steps("trl", 0, [4.0], 3.0) + steps("fast", 0, [2.0], 1.0)
        return pd.DataFrame(rows).assign(model=name)

    monkeypatch.setattr(bench, "compare", compare)
    with pytest.raises(RuntimeError, match="out of memory"):
        bench.bench_gpu(repeats=1, steps=1)
    kept = pd.read_csv(tmp_path / "bench_gpu" / "steps.csv")
    assert list(kept.model.unique()) == names[:crash_at] and set(kept.gpu) == {"a GPU"}
    assert len(pd.read_csv(tmp_path / "bench_gpu" / "ratio.csv")) == crash_at


def test_the_throughput_of_the_judge_is_measured_both_ways(tmp_path):
    save_random_model(tmp_path, bench_step.SMALL._replace(layers=1))
    (row,) = judge_throughput(str(tmp_path), [(96, 4, 12)], responses=2, repeats=3).to_dict("records")
    assert (row["context"], row["question"], row["criteria"]) == (96, 4, 12)
    assert row["ratio"] == pytest.approx(row["shared"] / row["again"])
    assert row["ratio"] > 1.5, "a hundred tokens read once instead of twelve times"
