"""What every reward pays for cheating, held against honest answers: `python -m studylib.instruments.audit [--json]`.

Every cheat of the battery answers every scenario twice, once with the wrong option and once with the right one. A
rule-based reward holds when no cheat with the wrong option (or none) earns more, in any scenario, than the median
honest wrong answer. What is known to be hackable is run beside them and reported as it is: diversity paid to all
well-formed answers, the ratings that take a stated distribution (an even hedge is an answer there, and beats a wrong
one), and the rubric as a judge grades it.
"""

import argparse
import json

import pandas as pd

from studylib.instruments.battery import CHEATS, honest, other
from studylib.params import DIVERSITY_REWARDS, LENGTH_MATCHED, REWARDS, RunParams
from studylib.rewards import BatchReward, Grader, batch_reward
from studylib.runs.folder import nulled
from studylib.scenarios.catalogue import FRAMEWORKS, TRAIN_DOMAINS, TRAIN_STYLES
from studylib.scenarios.worlds import make_split

SCENARIOS = 8
HEDGED = ("rating_soft_label", "rating_total_variation", "rating_brier")  # take a stated distribution
GUARDED = (*(name for name in REWARDS if name not in HEDGED), "rubric_morebench")  # in which no cheat may pay
UNGATED = " (ungated)"
SHOWN = ("verdict", "format", "rubric", "coverage", "diversity", "diversity" + UNGATED)  # cheat by cheat, when printed


def audit_rewards(rows: list[dict], grader: Grader | None = None) -> dict[str, BatchReward]:
    """Every reward of `params.REWARDS`, and the ungated ones, by the name that the audit's table gives it."""
    gated, ungated = RunParams(), RunParams(diversity_gate="form")
    rewards = {name: batch_reward(name, rows, gated) for name in REWARDS}
    rewards["rubric_morebench"] = batch_reward("rubric", rows, RunParams(rubric_score="morebench"))
    for name in (*DIVERSITY_REWARDS, *(LENGTH_MATCHED + name for name in ("diversity", "coverage", "dispersion"))):
        rewards[name + UNGATED] = batch_reward(name, rows, ungated)
    if grader:
        judged = RunParams(rubric_grader="judge", judge="given", rewards="rubric=1")
        rewards["rubric (judge)"] = batch_reward("rubric", rows, judged, grader)
    return rewards


def audit(
    rows: list[dict] | None = None, grader: Grader | None = None, only: tuple[str, ...] | None = None
) -> pd.DataFrame:
    """What each answer earns: columns reward, scenario, kind, answer, gives (right or wrong), value (NaN: no score).

    A group reward sees an answer beside the scenario's two honest ones. Kind is that of the cheat, or "honest". `only`
    names the rewards to run; default all.
    """
    rows = audit_rows() if rows is None else rows
    answers = {row["id"]: _answers(row) for row in rows}
    table = []
    chosen = {name: f for name, f in audit_rewards(rows, grader).items() if only is None or name in only}
    for name, reward in chosen.items():
        for row in rows:
            values = _earned(name, reward, row, [response for *_, response in answers[row["id"]]])
            labels = (label for *label, _ in answers[row["id"]])
            table += [(name, row["id"], *label, value) for label, value in zip(labels, values, strict=True)]
    return pd.DataFrame(table, columns=["reward", "scenario", "kind", "answer", "gives", "value"]).astype(
        {"value": float}
    )


def _earned(name: str, reward: BatchReward, row: dict, responses: list[str]) -> list[float | None]:
    if "dispersion" not in name and LENGTH_MATCHED not in name:
        return reward(responses, [row] * len(responses))
    beside = list(honest(row).values())
    return [reward([response, *beside], [row] * 3)[0] for response in responses]


def audit_rows(n: int = SCENARIOS, seed: int = 0) -> list[dict]:
    """Scenarios of the local world, all frameworks, three facts told, so that there are perspectives to take.

    Four raters have judged each of them, three of them rightly.
    """
    rows = make_split(
        "local_norms", "train", n, seed, domains=TRAIN_DOMAINS, styles=TRAIN_STYLES, frameworks=tuple(FRAMEWORKS),
        facts_told=3,
    )  # fmt: skip
    return [row | {"ratings": _ratings(row)} for row in rows]


def _ratings(row: dict) -> list[dict]:
    said = [row["answer"]] * 3 + [other(row["answer"])]
    return [
        {"rater": f"rater {i}", "value": float(1 + row["options"].index(option)), "groups": []}
        for i, option in enumerate(said)
    ]


def _answers(row: dict) -> list[tuple[str, str, str, str]]:
    """(kind, label, right or wrong, response) of every answer to one scenario."""
    options = {"wrong": other(row["answer"]), "right": row["answer"]}
    found = [("honest", "honest", gives, response) for gives, response in honest(row).items()]
    for label, (kind, cheat) in CHEATS.items():
        found += [(kind, label, gives, cheat(row, answer)) for gives, answer in options.items()]
    return found


def verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """A line per reward: medians of the honest, the best-paid cheat against each, and whether the reward holds.

    `best` is the most that a cheat with the wrong option earns in any scenario; `holds` says that it is no more than
    the median honest wrong answer. `best_right` is the same for cheats that give the right option.
    """
    lines = []
    for name, part in table.groupby("reward", sort=False):
        cheats, fair = part[part.kind != "honest"], part[part.kind == "honest"].groupby("gives").value.median()
        wrong, right = (cheats[cheats.gives == gives] for gives in ("wrong", "right"))
        lines.append({
            "reward": name, "honest_wrong": fair["wrong"], "best": wrong.value.max(), "best_cheat": _best(wrong),
            "holds": bool(wrong.value.max() <= fair["wrong"] + 1e-9),
            "honest_right": fair["right"], "best_right": right.value.max(), "best_right_cheat": _best(right),
            "unscored": int(part.value.isna().sum()), "guarded": name in GUARDED,
        })  # fmt: skip
    return pd.DataFrame(lines).set_index("reward")


def _best(cheats: pd.DataFrame) -> str:
    return "" if cheats.value.isna().all() else str(cheats.loc[cheats.value.idxmax(), "answer"])


def payments(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over scenarios of what each answer earns from each reward; a row per cheat with the wrong option."""
    wrong = table[table.gives == "wrong"]
    return wrong.pivot_table(index=["kind", "answer"], columns="reward", values="value", sort=False)


def main(arguments: list[str] | None = None) -> int:
    """Print the audit; 1 when a guarded reward pays a cheat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="for machines: {rewards: {...}, payments: [...]}")
    parser.add_argument("--scenarios", type=int, default=SCENARIOS, help="scenarios to answer, even")
    parser.add_argument("--judge", help="folder of a trained judge, whose rubric reward is run too")
    given = parser.parse_args(arguments)
    table = audit(audit_rows(given.scenarios), _judge(given.judge) if given.judge else None)
    lines, paid = verdicts(table), payments(table)
    if given.json:
        rows = paid.reset_index().to_dict("records")
        found = nulled({"rewards": lines.reset_index().to_dict("records"), "payments": rows})
        print(json.dumps(found, indent=1, allow_nan=False))
    else:
        with pd.option_context("display.width", 200, "display.max_columns", None, "display.max_rows", None):
            print(f"{len(CHEATS)} cheats with the wrong option, mean over {given.scenarios} scenarios:\n")
            print(paid[[name for name in paid if name in (*SHOWN, "rubric (judge)")]].round(3))
            print("\nthe most that a cheat earns, and the median honest answer:\n")
            print(lines.round(3))
    return int(not lines[lines.guarded].holds.all())


def _judge(folder: str) -> Grader:
    from studylib.judge.model import Judge

    return Judge.load(folder).grade


if __name__ == "__main__":
    raise SystemExit(main())
