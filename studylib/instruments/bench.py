"""What a training step costs, plain TRL against the fast path, and what a study costs.

    python -m studylib.instruments.bench          a small random Qwen3 on one CPU thread -> figures/bench/
    python -m studylib.instruments.bench --gpu    random models of real sizes in NF4     -> figures/bench_gpu/

Every measurement is a process of its own; plain and fast come in turn, on the same model, prompts and seeds, and every
answer has exactly C tokens. Speed and memory do not depend on what the weights are.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import pandas as pd

from studylib.paths import FIGURES, RUNS

ENGINES = ("trl", "fast")
SHAPES = ((64, 32, 8), (210, 64, 8), (512, 128, 8), (512, 512, 8))  # prompt tokens P, answer tokens C, answers G
GROWTH = [(210, 64, g) for g in (2, 4, 8, 16, 32)] + [(p, 64, 8) for p in (64, 128, 256, 512, 1024)]
STAGES = ["generate", "reward", "score", "train"]
SMALL = dict(vocab_size=512, hidden_size=256, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
             head_dim=64, intermediate_size=768, tie_word_embeddings=True)  # fmt: skip
GPU_MODELS = {  # name -> architecture and the shape that its published configuration gives it
    "Qwen2.5-0.5B": ("qwen2", dict(vocab_size=151936, hidden_size=896, num_hidden_layers=24, num_attention_heads=14,
                                   num_key_value_heads=2, intermediate_size=4864, tie_word_embeddings=True)),
    "Qwen3-1.7B": ("qwen3", dict(vocab_size=151936, hidden_size=2048, num_hidden_layers=28, num_attention_heads=16,
                                 num_key_value_heads=8, head_dim=128, intermediate_size=6144,
                                 tie_word_embeddings=True)),
    "Qwen2.5-7B": ("qwen2", dict(vocab_size=152064, hidden_size=3584, num_hidden_layers=28, num_attention_heads=28,
                                 num_key_value_heads=4, intermediate_size=18944, tie_word_embeddings=False)),
}  # fmt: skip


# --- one measurement, in a process of its own ------------------------------------------------------------------------


def save_random_model(folder: Path, kind: str, shape: dict) -> None:
    """An untrained model and a tokenizer of numbered words, whose end token the model cannot produce."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    words = {f"w{i}": i for i in range(min(shape["vocab_size"], 5000) - 1)}
    vocabulary = words | {"<pad>": len(words), "<end>": shape["vocab_size"]}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    tokenizer.save_pretrained(folder)
    config = AutoConfig.for_model(kind, **shape, pad_token_id=tokenizer.pad_token_id)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if device == "cuda" else torch.float32)
    model.save_pretrained(folder)


def noise(completions, **columns) -> list[float]:
    """A reward that differs within every group, so that nothing can be left out."""
    return [zlib.crc32(chat[0]["content"].encode()) % 1000 / 1000 for chat in completions]


def measure(model: str, engine: str, p: int, c: int, g: int, prompts: int, micro_batch: int, steps: int, device: str):
    """{"seconds": of each step, "stages": of each step, "peak_gb"}; one step before them is not counted."""
    import numpy as np
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

    from studylib.params import RunParams
    from studylib.policy.models import load_base, lora, require_device
    from studylib.runs.provenance import peak_memory_gb
    from studylib.training.config import grpo_config
    from studylib.training.trainer import StudyTrainer

    vllm = engine == "trl_vllm"
    params = RunParams(
        model=model, revision="random", device=device, engine="trl" if vllm else engine, rewards="verdict=1",
        generations=g, answers_per_step=prompts * g, micro_batch=micro_batch, rollout_batch=prompts * g,
        max_new_tokens=c, steps=steps + 1, save_every=10**6, run_root=tempfile.mkdtemp(),
    )  # fmt: skip
    require_device(params)
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 500, p)) for _ in range(prompts * (steps + 1))]
    base, _ = load_base(params, quantised=not vllm)  # TRL 1.16 cannot give 4-bit weights to vLLM
    # by name, because AutoTokenizer reads the words of a qwen2 folder with a tokenizer that knows none of them
    tokenizer = PreTrainedTokenizerFast.from_pretrained(model, padding_side="left")
    more = {"use_vllm": True, "vllm_mode": "colocate", "vllm_max_model_length": p + c} if vllm else {}
    trainer = StudyTrainer(
        model=base, processing_class=tokenizer, params=params, scenario_ids={text: text for text in texts},
        args=grpo_config(params, **more), reward_funcs=[noise], peft_config=lora(params),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": text}]} for text in texts]),
    )  # fmt: skip
    log = trainer.time_stages()
    trainer.train()
    peak = peak_memory_gb()
    return {"steps": log[1:], "peak_gb": peak.get("gpu", peak["cpu"])}


def run_worker(**task) -> dict:
    command = [sys.executable, "-m", "studylib.instruments.bench", "--worker", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring {task} failed: {done.stderr.strip().splitlines()[-1]}")
    return task | json.loads(done.stdout.splitlines()[-1])


# --- comparisons -----------------------------------------------------------------------------------------------------


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
            print(f"{name} P {p} C {c} G {g}: trl {last.trl:.2f} s, fast {last.fast:.2f} s", flush=True)
    return pd.DataFrame(rows)


def ratios(steps: pd.DataFrame) -> pd.DataFrame:
    """Plain / fast of the medians over all steps; low and high: the smallest and largest ratio of a pair's medians."""
    rows = []
    for key, cell in steps.groupby(["model", "P", "C", "G"], sort=False):
        median = cell.groupby("engine").seconds.median()
        pairs = cell.groupby(["pair", "engine"]).seconds.median().unstack()
        of_pairs = pairs.trl / pairs.fast
        peak = cell.groupby("engine").peak_gb.max()
        rows.append([*key, median.trl / median.fast, of_pairs.min(), of_pairs.max(), peak.trl / peak.fast])
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


# --- the judge -------------------------------------------------------------------------------------------------------

JUDGED = ((128, 16, 8), (512, 24, 23))  # context tokens, question tokens, criteria: as embedded; as in MoReBench


def judge_throughput(model: str, shapes=JUDGED, responses: int = 4, repeats: int = 3) -> pd.DataFrame:
    """Criteria per second with each response encoded once for all its criteria, and encoded again for each.

    One row per shape: context, question, criteria, shared, again (medians of `repeats`), ratio.
    """
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    from studylib.judge.model import verdict_logits

    torch.set_num_threads(1)
    judge, rng, rows = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32), np.random.default_rng(0), []
    for p, q, n in shapes:
        contexts = rng.integers(0, 500, (responses, p)).tolist()
        questions = rng.integers(0, 500, (responses, n, q)).tolist()
        whole = torch.tensor([c + ask for c, asked in zip(contexts, questions, strict=True) for ask in asked])
        ways = {
            "shared": lambda c=contexts, qs=questions: verdict_logits(judge, c, qs, pad=0),
            "again": lambda ids=whole: judge(input_ids=ids, logits_to_keep=1),
        }
        with torch.no_grad():
            speed = {name: responses * n / _median_seconds(run, repeats) for name, run in ways.items()}
        rows.append((p, q, n, speed["shared"], speed["again"], speed["shared"] / speed["again"]))
    return pd.DataFrame(rows, columns=["context", "question", "criteria", "shared", "again", "ratio"])


def _median_seconds(run, repeats: int) -> float:
    """Median time of `repeats` calls, after one that is not counted."""
    seconds = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return sorted(seconds[1:])[repeats // 2]


# --- the price of a study --------------------------------------------------------------------------------------------


PARTS = {"train(trainer, params)": "train", "evaluate(policy": "evaluate", "prepare(params": "imports and policy"}


def price(root: Path = RUNS) -> pd.DataFrame:
    """Median seconds of the parts of a finished run, from the times that papermill left in its notebook.

    The warm start comes once in a study; Snakemake measured it.
    """
    runs = []
    for path in sorted(root.rglob("seed*/notebook.ipynb")):
        if not (path.parent / "manifest.json").is_file():
            continue
        notebook = json.loads(path.read_text())
        spent = dict.fromkeys([*PARTS.values(), "other cells"], 0.0)
        for cell in notebook["cells"]:
            part = next((name for code, name in PARTS.items() if code in "".join(cell["source"])), "other cells")
            spent[part] += cell["metadata"].get("papermill", {}).get("duration") or 0
        total = notebook["metadata"]["papermill"]["duration"]
        runs.append(spent | {"kernel": total - sum(spent.values()), "whole run": total})
    if not runs:
        return pd.DataFrame(columns=["part", "seconds", "share"])
    median = pd.DataFrame(runs).median()
    table = median.rename_axis("part").reset_index(name="seconds")
    table["share"] = table.seconds / median["whole run"]
    once = [pd.read_csv(path, sep="\t").s.iloc[0] for path in sorted(root.rglob("warm_start.tsv"))][:1]
    warm_start = pd.DataFrame({"part": "warm start, once a study", "seconds": once})
    return pd.concat([table, warm_start], ignore_index=True) if once else table


def study_minutes(table: pd.DataFrame) -> pd.DataFrame:
    """Minutes of a study of n runs, two at a time, with its warm start where that was measured."""
    seconds = table.set_index("part").seconds
    run, once = float(seconds["whole run"]), float(seconds.get("warm start, once a study", 0.0))
    rows = [(n, (once + -(-n // 2) * run) / 60) for n in (3, 6, 12, 24, 30, 48)]
    return pd.DataFrame(rows, columns=["runs", "minutes"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="models of real sizes on CUDA")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of plain and fast per shape (3)")
    parser.add_argument("--steps", type=int, default=2, help="measured steps per process (2)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(measure(**json.loads(args.worker))))
    elif args.gpu:
        bench_gpu(args.repeats, args.steps)
    else:
        bench_cpu(args.repeats, args.steps)


def bench_cpu(repeats: int, steps: int) -> None:
    out = FIGURES / "bench"
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save_random_model(Path(folder), "qwen3", SMALL)
        task = {"model": folder, "device": "cpu", "prompts": 4, "steps": steps}
        measured = compare(SHAPES, repeats=repeats, **task)
        _write(measured, out)
        plot_growth(compare(GROWTH, repeats=1, **(task | {"steps": 1})), out)
        judged = judge_throughput(folder)
    judged.to_csv(out / "judge.csv", index=False)
    print(f"\njudge, criteria per second\n{judged.round(2).to_string(index=False)}")
    table = price()
    if len(table):
        table.to_csv(out / "price.csv", index=False)
        study_minutes(table).to_csv(out / "study.csv", index=False)
        print(f"\na run\n{table.round(2).to_string(index=False)}\n")
        print(study_minutes(table).round(1).to_string(index=False))
    else:
        print(f"\nno finished runs below {RUNS}: the price of a study is told after `make study`")


def bench_gpu(repeats: int, steps: int) -> None:
    """Plain TRL QLoRA against the fast path at 16 prompts x 8 answers, P 512, C 256.

    TRL with vLLM (16-bit LoRA) is measured too where vLLM is installed; its rows are in steps.csv. Unsloth excludes the
    TRL that this package pins, so the two cannot stand in one environment.
    """
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("make bench-gpu needs a CUDA GPU and this machine has none")
    out = FIGURES / "bench_gpu"
    out.mkdir(parents=True, exist_ok=True)
    tables = []
    for name, (kind, shape) in GPU_MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            save_random_model(Path(folder), kind, shape)
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


if __name__ == "__main__":
    main()
