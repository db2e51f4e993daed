"""The comparison as a function and as a notebook: the same stages, the same files. Run: pytest tests/test_compare.py"""

import ast
import dataclasses
import inspect
import json
import shutil
from pathlib import Path

import pandas as pd
import papermill
import pytest
from run_tables import keep_tables
from test_claims import PLAN, STUDY, write_run

from studylib import compare
from studylib.claims import items, plots
from studylib.names import ENDPOINTS
from studylib.paths import FIGURES
from studylib.runs.read import read_held_out

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks/4_compare_conditions.ipynb"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A study of two worlds, three conditions and five seeds, as the plan of axis inputs fixes them."""
    root = tmp_path_factory.mktemp("study") / "runs"
    for world in PLAN.worlds.split():
        for condition, mean in (("narrow", 0.6), ("medium", 0.7), ("broad", 0.8)):
            for seed in range(5):
                write_run(root, world, condition, seed, mean + 0.01 * (seed * len(condition) % 5))
    return root


def stages(code: str) -> list[str]:
    """Names of the stages of `compare` that code calls, from its first line to its last."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    names = [(call.lineno, getattr(call.func, "attr", getattr(call.func, "id", ""))) for call in calls]
    return [name for _, name in sorted(names) if name.startswith(("open_study", "write_", "draw_"))]


def test_the_notebook_calls_the_stages_of_the_function_in_its_order():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    called = [name for source in code if "!git" not in source for name in stages(source)]
    assert called == stages(inspect.getsource(compare.compare)) and len(called) == 23
    assert set(called) == {name for name in vars(compare) if name.startswith(("open_study", "write_", "draw_"))}


def test_the_notebook_and_the_function_write_the_same_files(runs, tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND")  # of the tests; a reader's kernel shows figures
    by_function = compare.compare(**STUDY, run_root=str(runs), out_root=str(tmp_path / "function"))
    roots = {"run_root": str(runs), "out_root": str(tmp_path / "notebook")}
    papermill.execute_notebook(NOTEBOOK, tmp_path / "4.ipynb", roots, kernel_name="python3", progress_bar=False)
    by_notebook = tmp_path / "notebook/inputs"
    assert contents(by_function) == contents(by_notebook)
    figures = {path.stem for path in by_function.glob("*.png")}
    assert figures == {"accuracy", "contrasts", "curves", "detectable", "seeds", "pareto"}
    for name in figures:
        assert (by_notebook / f"{name}.png").read_bytes() == (by_function / f"{name}.png").read_bytes()
    outputs = [
        out for cell in json.loads((tmp_path / "4.ipynb").read_text())["cells"] for out in cell.get("outputs", [])
    ]
    assert sum("image/png" in out.get("data", {}) for out in outputs) == len(figures), "a reader sees every figure"


def contents(folder: Path) -> dict[str, bytes]:
    """File -> bytes; what a first comparison remembers has its own time in it."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith("first_plan")}


def test_a_summary_is_text_for_a_reader_and_a_record_for_a_program(runs, tmp_path):
    summary = compare.summarise(**STUDY, run_root=str(runs), out_root=str(tmp_path))
    assert "made from" in summary.in_words() and "accuracy.png" in summary.in_words()
    record = json.loads(json.dumps(summary.as_record(), allow_nan=False))
    assert record["plan"]["digest"] == PLAN.digest and record["endpoint"] == PLAN.primary_endpoint
    claims = pd.read_csv(tmp_path / "inputs/claims.csv").set_index(["world", "split", "endpoint", "contrast"])
    for claim in record["claims"]:
        key = tuple(claim[name] for name in ("world", "split", "endpoint", "contrast"))
        assert claim["difference"] == claims.loc[key, "difference"] and claim["decision"] in claim["sentence"]
    start = next(row for row in record["means"] if row["condition"] == "warm_start")
    assert start["low"] is None, "not estimable"


@pytest.mark.parametrize("asked", [{"endpoint": "accuracy_greedy"}, {"split": "held_out"}])
def test_the_summary_of_another_endpoint_or_split_has_its_claims_and_figures_or_is_refused(runs, tmp_path, asked):
    roots = {"run_root": str(runs), "out_root": str(tmp_path)}
    compare.compare(**STUDY, **roots)
    nowhere = roots | {"run_root": str(tmp_path / "nowhere")}
    with pytest.raises(
        ValueError, match="have figures of accuracy_sampled on held_out_domains, .* cannot be made again"
    ):
        compare.summarise(**STUDY, **nowhere, **asked)
    summary = compare.summarise(**STUDY, **roots, **asked)
    endpoint, split = asked.get("endpoint", PLAN.primary_endpoint), asked.get("split", PLAN.primary_split)
    assert f"not of {endpoint} on {split}: they are made again" in summary.origin
    assert f"Claims about {endpoint} on {split}" in summary.in_words()
    for table in (summary.claims, summary.means, pd.read_csv(tmp_path / "inputs/seeds.csv")):
        assert set(table["endpoint"]) == {endpoint} and set(table["split"]) == {split}
    assert "as they were written" in compare.summarise(**STUDY, **nowhere, **asked).origin


def test_tables_of_other_runs_than_those_of_a_named_folder_are_made_again(runs, tmp_path):
    compare.compare(**STUDY, run_root=str(runs), out_root=str(tmp_path / "out"))
    shutil.copytree(runs, tmp_path / "runs")
    path = next((tmp_path / "runs").rglob("manifest.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"wall_seconds": 1234.5}))
    roots = {"run_root": str(tmp_path / "runs"), "out_root": str(tmp_path / "out")}
    assert "other runs than" in compare.summarise(**STUDY, **roots).origin
    assert "as they were written" in compare.summarise(**STUDY, **roots).origin


def test_a_split_that_no_run_has_is_refused_with_the_nearest_and_nothing_is_written(runs, tmp_path):
    message = "no split 'held_ot' in .*; did you mean held_out.* known: .*held_out_domains"
    with pytest.raises(ValueError, match=message):
        compare.compare(**STUDY, split="held_ot", run_root=str(runs), out_root=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=message):
        compare.summarise(**STUDY, split="held_ot", run_root=str(tmp_path), out_root=str(FIGURES))


def test_a_baseline_is_a_condition_of_the_axis_or_of_the_runs_of_an_axis_without_file(runs, tmp_path):
    with pytest.raises(ValueError, match=r"no condition 'narow' in .*inputs\.yaml; did you mean narrow\?"):
        compare.open_study(**STUDY, baseline="narow", run_root=str(tmp_path / "nowhere"))
    for condition in ("narrow", "broad"):
        for seed in range(2):
            write_run(tmp_path, condition=condition, seed=seed, after=0.5 + seed / 50, axis="mine")
    study = compare.open_study("mine", baseline="narow", run_root=str(tmp_path), out_root=str(tmp_path / "out"))
    with pytest.raises(ValueError, match=r"no condition 'narow' in the runs; did you mean narrow\?"):
        compare.write_tables(study)
    assert not (tmp_path / "out").exists()


def test_finished_runs_are_compared_by_an_endpoint_that_no_summary_has(tmp_path):
    for condition, mean in (("narrow", 0.5), ("broad", 0.9)):
        for seed in range(3):
            keep_tables(write_run(tmp_path / "runs", condition=condition, seed=seed, after=mean + seed / 50))
    roots = {"run_root": str(tmp_path / "runs"), "out_root": str(tmp_path / "out")}
    compare.compare(**STUDY, **roots)
    before = pd.read_csv(tmp_path / "out/inputs/claims.csv")
    assert set(before["endpoint"]) == {"accuracy_sampled", "accuracy_greedy"}
    summary = compare.summarise(**STUDY, endpoint="decision_entropy", **roots)
    assert "have no decision_entropy: they are made again" in summary.origin
    (claim,) = summary.claims.to_dict("records")
    assert claim["difference"] < 0 and claim["status"] == "exploratory", "broad decides alike more often"
    after = pd.read_csv(tmp_path / "out/inputs/claims.csv")
    pd.testing.assert_frame_equal(after[after["endpoint"].isin(before["endpoint"])].reset_index(drop=True), before)


def test_an_endpoint_has_its_own_unit_chance_level_and_single_answers_or_none(runs):
    entropy, accuracy = (ENDPOINTS[name] for name in ("decision_entropy", "accuracy_sampled"))
    study = compare.open_study(**STUDY, run_root=str(runs))
    cell = study.runs.query("world == 'local_norms' and endpoint == 'accuracy_sampled'")
    with plots.closing():
        ax = plots.plot_means(cell.assign(endpoint=entropy.name), endpoint=entropy.name)
        lines = [text.get_text() for text in ax.get_legend().get_texts()]
        assert "decision entropy (bits)" in ax.get_ylabel() and not any("chance" in line for line in lines)
        ax = plots.plot_means(cell, endpoint=accuracy.name)
        assert "(share right)" in ax.get_ylabel() and "chance (0.5)" in ax.get_legend().get_texts()[1].get_text()
    of_entropy = dataclasses.replace(PLAN, primary_endpoint=entropy.name)
    assert items.item_table(study.answers, of_entropy).empty, "never the difference in accuracy"
    assert items.no_items(entropy.name).startswith("decision_entropy belongs to a whole policy")
    assert len(items.item_table(study.answers, PLAN)) == 4 and items.no_items(accuracy.name) == ""


def test_an_endpoint_that_nobody_knows_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="no endpoint 'acuracy_greedy'; known: .*; did you mean accuracy_greedy"):
        compare.compare("inputs", endpoint="acuracy_greedy", out_root=str(tmp_path))


def test_what_cannot_be_compared_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="no folder of runs at .*: python -m studylib study --axis inputs"):
        compare.compare("inputs", run_root=str(tmp_path / "nowhere"), out_root=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


# --- the held-out curve ---


def look_at(folder: Path, *seen: float, every: int = 2) -> Path:
    """Give a made run looks from step 0 on; those after it stand in the lines of their steps."""
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    looks = {every * i: {"held_out/accuracy": value, "held_out/faithful": 1.0} for i, value in enumerate(seen)}
    lines = [{"step": 0} | looks[0], *(line | looks.get(line["step"], {}) for line in lines)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def looked_at(tmp_path):
    """Two conditions of three seeds; and one that trains nothing, with its look before training alone."""
    for seed in range(3):
        for condition, jump in (("narrow", 3), ("broad", 1)):
            rise = [0.5] * jump + [0.9] * (6 - jump)
            look_at(write_run(tmp_path / "runs", condition=condition, seed=seed, after=0.7 + seed / 50), *rise)
        folder = write_run(tmp_path / "runs", condition="base", seed=seed, after=0.55, steps=0)
        (folder / "metrics.jsonl").write_text('{"step": 0, "held_out/accuracy": 0.5, "held_out/faithful": 1.0}\n')
    return tmp_path


def test_runs_that_were_looked_at_have_a_held_out_curve_and_steps_to_saturation(looked_at):
    roots = {"run_root": str(looked_at / "runs"), "out_root": str(looked_at / "out")}
    out = compare.compare(**STUDY, **roots)
    curve = pd.read_csv(out / "held_out.csv")
    assert list(curve) == ["world", "condition", "seed", "step", "accuracy", "faithful"]
    run = curve.query("condition == 'broad' and seed == 1")
    assert run["step"].tolist() == [0, 2, 4, 6, 8, 10] and run["accuracy"].tolist() == [0.5, *[0.9] * 5]
    assert (out / "held_out.png").is_file() and (out / "held_out.pdf").is_file()
    table = pd.read_csv(out / "saturation.csv").query("seen == 'accuracy'").set_index("condition")
    steps = table["steps_to_saturation"]
    assert set(steps["broad"]) == {2} and set(steps["narrow"]) == {6}
    assert steps["base"].isna().all(), "nothing is trained there"
    rewards = pd.read_csv(out / "curves.csv")
    assert rewards["step"].min() == 1 and "base" not in set(rewards["condition"]), "a look is no training step"


def test_the_figure_of_the_held_out_curve_has_the_mean_and_every_seed_of_each_condition(looked_at):
    study = compare.open_study(**STUDY, run_root=str(looked_at / "runs"), out_root=str(looked_at / "out"))
    with plots.closing():
        figure = compare.draw_held_out(study)
        above, below = figure.axes
        assert "right answers" in above.get_ylabel() and "reasons hold" in below.get_ylabel()
        assert [text.get_text() for text in below.get_legend().get_texts()] == ["narrow", "broad", "base"]
        assert above.get_legend() is None and len(above.lines) == 3 * (3 + 1)
        means = {line.get_label(): line.get_ydata().tolist() for line in above.lines}
    assert means["narrow"] == pytest.approx([0.5] * 3 + [0.9] * 3) and means["base"] == [0.5]


def test_a_study_of_runs_that_were_not_looked_at_has_no_held_out_curve_and_no_error(runs, tmp_path):
    out = compare.compare(**STUDY, run_root=str(runs), out_root=str(tmp_path / "out"))
    assert not list(out.glob("held_out*")) and not (out / "saturation.csv").exists()


def test_looks_leave_the_tables_of_a_study_as_they_are(looked_at):
    roots = {"run_root": str(looked_at / "runs")}
    seen = contents(compare.compare(**STUDY, **roots, out_root=str(looked_at / "seen")))
    for path in (looked_at / "runs").rglob("metrics.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [{k: v for k, v in line.items() if "held_out" not in k} for line in lines if line["step"]]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    plain = contents(compare.compare(**STUDY, **roots, out_root=str(looked_at / "plain")))
    added = {"held_out.csv", "held_out.png", "held_out.pdf", "saturation.csv"}
    assert seen.keys() - plain.keys() == added
    assert all(seen[name] == plain[name] for name in plain)


def test_a_run_that_went_on_counts_the_last_look_at_a_step_and_a_text_is_refused(looked_at):
    (folder,) = (looked_at / "runs").rglob("broad/seed0")
    path = folder / "metrics.jsonl"
    line = json.loads(path.read_text().splitlines()[2])
    path.write_text(path.read_text() + json.dumps(line | {"held_out/accuracy": 0.25}) + "\n")
    found = read_held_out(looked_at / "runs", axis="inputs", profile="tiny_cpu")
    run = found.query("condition == 'broad' and seed == 0").set_index("step")["accuracy"]
    assert run[2] == 0.25 and run.index.is_unique and run.index.is_monotonic_increasing
    path.write_text(path.read_text() + json.dumps(line | {"held_out/accuracy": "high"}) + "\n")
    with pytest.raises(ValueError, match="broad/seed0/metrics.jsonl: held_out/accuracy = 'high' is no number"):
        read_held_out(looked_at / "runs", axis="inputs", profile="tiny_cpu")
