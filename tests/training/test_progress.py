"""Progress of a run: one bar in a terminal and in a notebook, notes as lines that stay."""

import re

import nbformat
import pytest
from nbclient import NotebookClient
from training_runs import pay, start, tags_reward

from studylib.training import progress
from studylib.training.train import train

CELL = """
import time
from studylib.training.progress import progress_bar
bar = progress_bar(5, done=2)
for step in (3, 4):
    time.sleep(0.6)
    bar.update(step, f"reward {step / 10:.3f}, entropy 1.200")
bar.note("note: this line stays")
bar.update(5, "reward 0.500, entropy 1.100")
bar.close()
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Outputs of the executed cell, as papermill and Jupyter keep them."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
    return notebook.cells[0].outputs


def test_an_executed_notebook_keeps_one_bar_in_its_last_state(outputs):
    (bar,) = [output.data for output in outputs if output.output_type == "display_data"]
    assert re.search(r'<progress value="5" max="5"', bar["text/html"])
    assert re.fullmatch(r"step 5 of 5 · 0:0\d · reward 0.500, entropy 1.100", bar["text/plain"])


def test_the_bar_takes_its_colours_from_the_theme(outputs):
    html = next(output.data["text/html"] for output in outputs if output.output_type == "display_data")
    assert not re.search(r"colou?r|background|#[0-9a-f]{3}|rgb", html)


def test_notes_in_a_notebook_are_printed_lines(outputs):
    assert [output.text for output in outputs if output.output_type == "stream"] == ["note: this line stays\n"]


def test_the_time_left_is_that_of_the_steps_made_since_the_start(monkeypatch):
    """Resumed at step 2 of 5, ten seconds for one step: two more take twenty."""
    now = iter([0.0, 10.0, 10.0, 10.0, 10.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    drawn = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **how: drawn.append(bundle) or Handle(drawn))
    bar = progress.NotebookBar(5, 2)
    bar.update(3, "reward 0.100, entropy 1.000")
    assert drawn[-1]["text/plain"] == "step 3 of 5 · 0:10 so far, 0:20 left · reward 0.100, entropy 1.000"


class Handle:
    def __init__(self, drawn):
        self.drawn = drawn

    def update(self, bundle, **how):
        self.drawn.append(bundle)


def test_a_run_in_a_terminal_moves_a_bar_on_stderr_and_prints_no_steps(miniature, monkeypatch, capsys):
    pay(monkeypatch, correct=tags_reward)
    params = miniature(updates_per_batch=2)
    train(start(params), params)
    out, err = capsys.readouterr()
    last = err.strip().splitlines()[-1].split("\r")[-1]
    words = r"step 4 of 4 · 0:\d\d · reward \d\.\d{3}, entropy \d\.\d{3}"
    assert re.search(words, last), "the words of the notebook's bar"
    assert "step" not in out
