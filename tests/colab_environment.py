"""Every notebook in an environment with Colab's versions and a stand-in of google.colab: `make test-colab`.

The environment is made of the package index in a folder (.cache/colab) and kept; the first cell of each notebook then
takes an archive of the repository that lies in `/content`, installs what is missing, and all cells run at a size that
takes seconds. What this does not show: Colab's own image, its GPU, and Drive.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOADED = ("torch==2.13.0", "numpy==2.1.3", "pandas==2.2.3", "ipykernel")  # before the first cell runs
TAKEN = ("studylib", "params", "notebooks", "workflow", "pyproject.toml", "constraints.txt")
GOOGLE = """
import pathlib, types
drive = types.SimpleNamespace(mount=lambda folder: pathlib.Path(folder, "MyDrive").mkdir(parents=True, exist_ok=True))
userdata = types.SimpleNamespace(get=lambda name: "")
"""
SMALL = {
    "steps": 2, "answers_per_step": 8, "warm_start_steps": 2, "eval_scenarios": 4, "eval_samples": 1, "save_every": 2,
    "eval_every": 0,
}  # fmt: skip
NOTEBOOKS = {  # name -> the parameters of each time that it is run
    "1_scenarios": [{}],
    "2_train_judge": [{**SMALL, "judge_scenarios": 8, "judge_steps": 2, "audit_scenarios": 2}],
    "2b_judge_real_dilemmas": [{}],
    "3_run_condition": [SMALL | {"condition": condition, "seed": seed}
                        for condition in ("narrow", "broad") for seed in (0, 1)],
    "4_compare_conditions": [{}],
}  # fmt: skip


def environment(folder: Path) -> Path:
    """A Python with what Colab has loaded, a kernel `colab` and the stand-in."""
    python = folder / "bin/python"
    if not (folder / "ready").exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *LOADED], check=True)
        subprocess.run([python, "-m", "ipykernel", "install", "--prefix", folder, "--name", "colab"], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "google/colab").mkdir(parents=True)
        (site / "google/colab/__init__.py").write_text(GOOGLE)
        (folder / "ready").touch()
    return python


def upload(content: Path) -> None:
    """An archive of the repository in `/content`, as a browser would put it there."""
    shutil.rmtree(content, ignore_errors=True)
    packed = content / "packed/studylib-main"
    packed.mkdir(parents=True)
    for name in TAKEN:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, packed / name)
    shutil.make_archive(str(content / "studylib-main"), "zip", content / "packed")
    shutil.rmtree(content / "packed")


def on_colab(name: str, content: Path) -> Path:
    """The notebook with a folder in the place of `/content`, and a last cell that imports what Colab would."""
    notebook = json.loads((ROOT / f"notebooks/{name}.ipynb").read_text())
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    first["source"] = ["import google.colab\n", *(line.replace("/content", str(content)) for line in first["source"])]
    path = content / f"{name}.ipynb"
    path.write_text(json.dumps(notebook))
    return path


def main(folder: Path) -> int:
    python = environment(folder / "env")
    content = folder / "content"
    upload(content)
    own = os.environ | {"JUPYTER_PATH": str(folder / "env/share/jupyter"), "STUDYLIB_CACHE": str(folder / "cache")}
    failed = 0
    for name, passes in NOTEBOOKS.items():
        path = on_colab(name, content)
        for given in passes:
            started, out = time.time(), content / f"{name}.out.ipynb"
            words = [word for key, value in given.items() for word in ("-p", key, str(value))]
            command = [sys.executable, "-m", "papermill", "--no-progress-bar", "-k", "colab", path, out, *words]
            done = subprocess.run(command, cwd=content, env=own, capture_output=True, text=True)
            failed += done.returncode != 0
            said = next((cell["outputs"] for cell in json.loads(out.read_text())["cells"] if cell.get("outputs")), [])
            text = "".join(part for one in said for part in one.get("text", ""))
            last = "" if done.returncode == 0 else f"; FAILED: {done.stderr.strip().splitlines()[-1]}"
            print(f"{name}: {time.time() - started:.0f} s; {' '.join(text.split())[:300]}{last}", flush=True)
    kept = subprocess.run([python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True).stdout
    changed = [pin for pin in LOADED if "==" in pin and pin not in kept.replace("+cpu", "")]
    print(f"loaded before and changed: {', '.join(changed) or 'nothing'}")
    return failed + len(changed)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / ".cache/colab").resolve()))
