"""Which instruction a model is asked with, and after which examples: chosen on the training side, never in evaluation.

The choice looks at scenarios that the evaluation does not have, the same for every seed, so that the best of several
instructions is no best of several evaluations.
"""

from collections.abc import Callable

from studylib.params import RunParams
from studylib.runs.folder import is_complete, write_json
from studylib.scenarios.prompts import BEST, INSTRUCTIONS, Asking
from studylib.scenarios.rows import digest
from studylib.scenarios.selection import chosen_on
from studylib.scenarios.worked import worked
from studylib.text.files import read_object

CHOICE = "instruction.json"  # in the folder of a run that chose
Accuracy = Callable[[Asking, list[dict]], float]  # of the untrained policy that is asked so about these scenarios


def asking_of(params: RunParams, accuracy: Accuracy) -> Asking:
    """How a run asks. Where it asks with the best instruction, that is the first with the highest `accuracy`; the run
    keeps the choice with all accuracies, says it, and does not choose again."""
    examples, rows = chosen_on(params)
    shown = tuple((row, worked(row)) for row in examples)
    if params.instruction != BEST:
        return Asking(params.instruction, shown)
    kept = choice(params)
    if kept is None:
        kept = _choose(accuracy, shown, rows) | {"of": _key(params)}
        if not is_complete(params.run_dir):
            write_json(params.run_dir / CHOICE, kept)
        told = ", ".join(f"{i}: {value:.3f}" for i, value in enumerate(kept["accuracies"]))
        print(f"asked with instruction {kept['instruction']}; accuracies on {len(rows)} training scenarios: {told}")
    return Asking(kept["instruction"], shown)


def choice(params: RunParams) -> dict | None:
    """The instruction that a run chose and what each reached, for the manifest; None where it has not chosen."""
    path = params.run_dir / CHOICE
    kept = read_object(path) if params.instruction == BEST and path.is_file() else {}
    return kept if kept.get("of") == _key(params) else None


def _choose(accuracy: Accuracy, shown: tuple, rows: list[dict]) -> dict:
    reached = [float(accuracy(Asking(i, shown), rows)) for i in range(len(INSTRUCTIONS))]
    return {"instruction": reached.index(max(reached)), "accuracies": reached, "scenarios": len(rows)}


def _key(params: RunParams) -> str:
    """A folder whose run was begun anew with other parameters holds another choice."""
    return digest({name: value for name, value in params.as_dict().items() if name != "run_root"})
