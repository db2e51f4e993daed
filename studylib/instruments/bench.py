"""What a training step costs, plain TRL against the fast path, and what a study costs.

    python -m studylib bench          random models on one CPU thread: a small Qwen3, and SmolLM2-135M -> figures/bench/
    python -m studylib bench --gpu    random models of real sizes in NF4                     -> figures/bench_gpu/

Every measurement is a process of its own; plain and fast take turns, on the same model, prompts and seeds, and every
answer has exactly C tokens. Speed and memory do not depend on what the weights are.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from studylib.instruments.bench_judge import judge_throughput
from studylib.instruments.bench_step import GPU_MODELS, SMALL, SMOLLM
from studylib.instruments.price import price, study_minutes
from studylib.instruments.random_models import save_random_model
from studylib.paths import FIGURES, RUNS

ENGINES = ("trl", "fast")
SHAPES = ((64, 32, 8), (210, 64, 8), (512, 128, 8), (512, 512, 8))  # prompt tokens P, answer tokens C, answers G
GROWTH = [(210, 64, g) for g in (2, 4, 8, 16, 32)] + [(p, 64, 8) for p in (64, 128, 256, 512, 1024)]


def run_worker(**task) -> dict:
    command = [sys.executable, "-m", "studylib", "bench", "--worker", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring {task} failed: {done.stderr.strip().splitlines()[-1]}")
    return task | json.loads(done.stdout.splitlines()[-1])


def compare(shapes, model: str, repeats: int, steps: int, name: str = "small", engines=ENGINES, **task) -> pd.DataFrame:
    """One row per measured step: model, P, C, G, engine, pair, seconds, the four stages, tokens per second, peak_gb."""
    rows = []
    for p, c, g in shapes:
        for pair in range(repeats):
            for engine in engines:
                answers = task["prompts"] * g
                batch = {"micro_batch": min(answers, task.get("micro_batch", answers))}
                result = run_worker(model=model, engine=engine, p=p, c=c, g=g, steps=steps, **(task | batch))
                for step in result["steps"]:
                    tokens = {"tokens_per_second": answers * c / step["seconds"], "peak_gb": result["peak_gb"]}
                    rows.append(
                        {"model": name, "P": p, "C": c, "G": g, "engine": engine, "pair": pair, **step, **tokens}
                    )
            last = pd.DataFrame(rows[-len(engines) * steps :]).groupby("engine").seconds.median()
            print(f"{name} P {p} C {c} G {g}: {', '.join(f'{way} {s:.2f} s' for way, s in last.items())}", flush=True)
    return pd.DataFrame(rows)


def ratios(steps: pd.DataFrame, plain: str = "trl", of: str = "seconds") -> pd.DataFrame:
    """Plain / fast of the medians over all steps; low and high: the smallest and largest ratio of a pair's medians.

    plain: the engine that the fast path is compared with; of: the column that is compared.
    """
    rows = []
    for key, cell in steps.groupby(["model", "P", "C", "G"], sort=False):
        median = cell.groupby("engine")[of].median()
        pairs = cell.groupby(["pair", "engine"])[of].median().unstack()
        of_pairs = pairs[plain] / pairs.fast
        peak = cell.groupby("engine").peak_gb.max()
        ratio, memory = median[plain] / median.fast, peak[plain] / peak.fast
        rows.append([*key, ratio, of_pairs.min(), of_pairs.max(), memory])
    return pd.DataFrame(rows, columns=["model", "P", "C", "G", "ratio", "ratio_low", "ratio_high", "memory_ratio"])


def plot_growth(steps: pd.DataFrame, out: Path) -> None:
    """Seconds per step against G (P = 210) and against P (G = 8), both engines."""
    import matplotlib.pyplot as plt

    from studylib.claims.plots import save

    cost = steps.groupby(["P", "C", "G", "engine"], as_index=False).seconds.median()
    fig, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for ax, x, fixed in ((axes[0], "G", "P == 210"), (axes[1], "P", "G == 8 and P != 210")):
        for engine, style in (("trl", "o--"), ("fast", "s-")):
            line = cost.query(f"engine == '{engine}' and C == 64 and {fixed}").sort_values(x)
            ax.plot(line[x], line.seconds, style, label={"trl": "plain TRL", "fast": "fast path"}[engine])
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        words = {"G": "answers per prompt G (P = 210, C = 64)", "P": "prompt tokens P (G = 8, C = 64)"}[x]
        ax.set(xlabel=words, ylabel="seconds per step, 4 prompts")
        ax.set_xticks(sorted(line[x]), sorted(line[x]))
        ax.legend(frameon=False)
    save(fig, "growth", out, cost)


def bench_cpu(repeats: int, steps: int) -> None:
    out = FIGURES / "bench"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save_random_model(Path(folder), SMALL)
        task = {"model": folder, "device": "cpu", "prompts": 4, "steps": steps}
        measured = compare(SHAPES, repeats=repeats, **task)
        _write(measured, out)
        plot_growth(compare(GROWTH, repeats=1, **(task | {"steps": 1})), out)
        judged = judge_throughput(folder)
    _real_size(out, repeats, steps)
    judged.to_csv(out / "judge.csv", index=False)
    print(f"\njudge, criteria per second\n{judged.round(2).to_string(index=False)}")
    table = price()
    if len(table):
        table.to_csv(out / "price.csv", index=False)
        study_minutes(table).to_csv(out / "study.csv", index=False)
        print(f"\na run\n{table.round(2).to_string(index=False)}\n")
        print(study_minutes(table).round(1).to_string(index=False))
    else:
        print(f"\nno finished runs below {RUNS}: the price of a study is known after `make study`")


def _real_size(out: Path, repeats: int, steps: int) -> None:
    """The shape of SmolLM2-135M, 8 prompts x 4 answers: NF4 layers with a dense copy against `policy/products.py`.

    What other processes do to a CPU moves `cpu_seconds` less than `seconds`, so both are compared.
    """
    engines, prompts = ("fast_nf4", "fast"), 8
    with tempfile.TemporaryDirectory() as folder:
        save_random_model(Path(folder), SMOLLM)
        measured = compare(
            [(120, 40, 4)], folder, repeats, steps, "SmolLM2-135M", engines, device="cpu", prompts=prompts
        )
    measured.to_csv(out / "real_size_steps.csv", index=False)
    both = {of: ratios(measured, "fast_nf4", of) for of in ("seconds", "cpu_seconds")}
    table = pd.concat(both, names=["of"]).reset_index("of")
    table.to_csv(out / "real_size.csv", index=False)
    print(f"\nNF4 layers / dense products\n{table.round(2).to_string(index=False)}")


def bench_gpu(repeats: int, steps: int) -> None:
    """Plain TRL QLoRA against the fast path at 16 prompts x 8 answers, P 512, C 256.

    TRL with vLLM (16-bit LoRA) is measured too where vLLM is installed; its rows are in steps.csv. Unsloth excludes the
    TRL that this package pins, so the two cannot stand in one environment.
    """
    import torch

    if not torch.cuda.is_available():
        raise ValueError("bench --gpu needs a CUDA GPU, and this machine has none")
    out = FIGURES / "bench_gpu"
    out.mkdir(parents=True, exist_ok=True)
    tables = []
    for name, shape in GPU_MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            save_random_model(Path(folder), shape)
            engines = ENGINES + (("trl_vllm",) if importlib.util.find_spec("vllm") else ())
            task = {
                "engines": engines,
                "model": folder,
                "device": "cuda",
                "prompts": 16,
                "micro_batch": 16,
                "steps": steps,
                "name": name,
            }
            tables.append(compare([(512, 256, 8)], repeats=repeats, **task))
        _write(pd.concat(tables).assign(gpu=torch.cuda.get_device_name()), out)  # what is measured outlives a crash


def _write(measured: pd.DataFrame, out: Path) -> None:
    measured.to_csv(out / "steps.csv", index=False)
    table = ratios(measured)
    if table.model.nunique() == 1:
        table = table.drop(columns="model")
    table.to_csv(out / "ratio.csv", index=False)
    print(f"\nplain TRL / fast path\n{table.round(2).to_string(index=False)}\n\nwritten to {out}")
