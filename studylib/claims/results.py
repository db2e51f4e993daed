"""docs/results.md: what the finished studies gave, every number of it read from the tables in figures/.

`make results` writes the page; a test says that the committed one is up to date. It needs no runs. The text is in
`results.md` beside this file.
"""

import dataclasses
from pathlib import Path

import pandas as pd

from studylib.claims.decisions import sentence
from studylib.claims.markdown import claims_of, counted, difference_cell, markdown_table, mean_cell, means_of, rendered
from studylib.claims.plan import read_plan
from studylib.claims.results_axes import filled_pages
from studylib.claims.results_landscape import PAGE as LANDSCAPE
from studylib.claims.results_landscape import landscape_page
from studylib.claims.results_real import PAGE as REAL_MODEL
from studylib.claims.results_real import real_model_page
from studylib.claims.tables import checks, claims, misses, primary, read_table
from studylib.paths import FIGURES, ROOT
from studylib.runs.read import WARM_START, ordered

PAGE = ROOT / "docs" / "results.md"
COUNTS = (3, 5, 10)  # seeds of the simulated studies
VALIDATED = {  # row of the page -> start of the rows of validate.csv, which have the seeds in them
    "false *different*, 1 contrast": "false 'different' in a study: {} seeds, 1 contrast, equal",
    "the same, unequal variances": "false 'different' in a study: {} seeds, 1 contrast, unequal",
    "false *different*, any of 14 contrasts": "false 'different' in a study: {} seeds, 14 contrasts, equal",
    "coverage of the 95 % interval": "coverage of the paired t interval: {} seeds, 1 contrast, equal",
    "false *equivalent* at the margin": "false 'equivalent' at the margin: {} seeds, equal",
    "any false *equivalent*, 12 contrasts at the margin": "any false 'equivalent', 12 contrasts at the margin: {} ",
    "coverage, answers clustered by run and scenario": "coverage of the item-level interval, two-way clustered: {} ",
    "the same, answers taken for independent": "coverage if answers were taken for independent: {} ",
}


def write_results() -> list[Path]:
    """Writes all pages and returns where they are."""
    PAGE.parent.mkdir(exist_ok=True)
    pages = {PAGE: results_page(), LANDSCAPE: landscape_page(), REAL_MODEL: real_model_page(), **filled_pages()}
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return list(pages)


def results_page(figures: Path = FIGURES) -> str:
    """The page as Markdown, of the tables in a folder such as figures/."""
    validation = read_table(figures, "validate")
    return rendered(
        "results.md", inputs=_inputs(figures / "inputs"), fresh=_seed_sets(figures / "inputs"),
        objectives=_objectives(figures / "objective", validation),
        known_target=_known_target(read_table(figures, "known_target")),
        validation=_validation(validation), judge=_judge(figures / "judge"),
    )  # fmt: skip


# --- sections: the names that the text uses --------------------------------------------------------------------------


def _inputs(folder: Path) -> dict:
    plan, planned, rows = read_plan(folder.name), _planned(folder), []
    means = means_of(folder, plan, plan.primary_endpoint)
    conditions = ordered(set(means["condition"]) - {WARM_START})
    contrast = f"{conditions[-1]} - {conditions[0]}"
    for world in sorted(set(means["world"]), reverse=True):  # the negative control first
        reached = means[means["world"] == world].set_index("condition")
        claim = planned[(planned["world"] == world) & (planned["contrast"] == contrast)].iloc[0]
        each = (mean_cell(reached.loc[condition]) for condition in conditions)
        rows.append(
            (f"`{world}`", f"{reached.loc[WARM_START, 'mean']:.3f}", *each, difference_cell(claim), claim["decision"])
        )
    table = markdown_table(("world", "warm start", *conditions, contrast, "decision"), rows)
    sentences = [sentence(row, plan.margin, plan.alpha_per_look) for row in planned.to_dict("records")]
    return {"plan": plan, "table": table, "sentences": sentences}


def _seed_sets(folder: Path) -> dict:
    sets, runs = read_table(folder, "seed_sets"), read_table(folder, "seed_sets_runs")
    seeds = runs["seed"].nunique()
    one_study = dataclasses.replace(read_plan(folder.name), seeds=seeds, max_seeds=seeds)
    claim = primary(claims(runs, one_study, departed=True, decisions_only=True), one_study).iloc[0]
    return {
        "seeds": seeds,
        "sets": len(sets),
        "decisions": counted(sets),
        "claim": claim,
        "difference": difference_cell(claim),
    }


def _objectives(folder: Path, validation: pd.DataFrame) -> dict:
    plan, contrasts = read_plan(folder.name), _planned(folder)
    sampled = means_of(folder, plan, plan.primary_endpoint)
    greedy = means_of(folder, plan, "accuracy_greedy").set_index("condition")["mean"]
    given = read_table(folder, "fairness").set_index("condition")
    rows = []
    for row in sampled[sampled["condition"] != WARM_START].to_dict("records"):
        name = row["condition"]
        compared = _compared(contrasts, f"{name} - {plan.baseline}")
        rows.append((f"`{name}`", mean_cell(row), f"{greedy[name]:.3f}", *compared, *_training(given, name)))
    head = ("objective", "accuracy, sampled", "greedy", f"minus {plan.baseline}", "decision", "tokens per run",
            "entropy", "KL to warm start")  # fmt: skip
    learning = _of_trained(claims_of(folder, plan, plan.primary_endpoint), WARM_START)
    learnt = learning["decision"].isin(("different", "both (trivial)"))
    alike = _of_trained(contrasts[contrasts["status"] == "confirmatory"], plan.baseline)
    seeds = int(sampled["seeds"].iloc[0])
    by_chance = f"any false 'equivalent', {len(alike)} contrasts at the margin: {seeds} "
    return {
        "plan": plan, "seeds": seeds, "table": markdown_table(head, rows), "trained": len(learning),
        "learnt": learning[learnt], "open": learning[~learnt], "decisions": counted(alike),
        "planned": len(alike), "later": len(learning) - len(alike) - 1,
        "false_equivalent": _value(validation, by_chance),
    }  # fmt: skip


def _compared(contrasts: pd.DataFrame, contrast: str) -> tuple[str, str]:
    """Difference and decision, with a mark where the condition came after the plan; of the baseline itself none."""
    for claim in contrasts[contrasts["contrast"] == contrast].to_dict("records"):
        later = " (exploratory)" if claim["status"] != "confirmatory" else ""
        return difference_cell(claim), claim["decision"] + later
    return "", ""


def _training(given: pd.DataFrame, name: str) -> tuple[str, str, str]:
    """Tokens, entropy from start to end, and KL of one condition; of one without training there is nothing."""
    if name not in given.index:
        return "0", "", ""
    row = given.loc[name]
    return f"{row['tokens']:,.0f}", f"{row['entropy_first']:.3f} → {row['entropy_last']:.3f}", f"{row['kl_last']:.2f}"


def _of_trained(claims: pd.DataFrame, other: str) -> pd.DataFrame:
    """Contrasts of the trained conditions with another one."""
    return claims[claims["contrast"].str.endswith(f" - {other}") & ~claims["contrast"].str.startswith("base - ")]


def _known_target(table: pd.DataFrame) -> str:
    """One row per objective; of each landscape the KL from its own target, and the modes kept beside the target's."""
    landscapes = list(dict.fromkeys(table["landscape"]))
    head = ["objective", "fed", "target"]
    head += [f"{landscape}: {what}" for landscape in landscapes for what in ("KL", "modes kept")]
    rows = []
    for name, part in table.groupby("objective", sort=False):
        cells = part.set_index("landscape").loc[landscapes]
        first, numbers = cells.iloc[0], []
        for row in cells.to_dict("records"):
            kept = f"{row['modes_kept']:.2f} of {row['modes_of_target']:.2f}"
            numbers += [f"{max(row['kl_target_policy'], 0):.3f}", kept]
        printed = "" if pd.isna(first["kl_published"]) else f"{first['kl_published']:.2f}"
        fed = "" if pd.isna(first["fed"]) else first["fed"]
        rows.append((f"`{name}`", fed, first["target"], *numbers, printed))
    return markdown_table((*head, "published, of another target"), rows)


def _validation(table: pd.DataFrame) -> dict:
    rows = [(what, *(f"{_value(table, start.format(n)):.3f}" for n in COUNTS)) for what, start in VALIDATED.items()]
    head = ("share of simulated studies", *(f"{n} seeds" for n in COUNTS))
    return {"checks": len(checks(table)), "misses": len(misses(table)), "table": markdown_table(head, rows)}


def _judge(folder: Path) -> dict:
    agreement, cheats = read_table(folder, "agreement"), read_table(folder, "cheats")
    head = ("group", "grades", "agreement", "best constant", "kappa", "AUROC", "calibration error")
    rows = [
        (row["group"].replace("_", " "), f"{row['n']:,.0f}",
         f"{row['accuracy']:.3f} [{row['accuracy_low']:.3f}, {row['accuracy_high']:.3f}]", f"{row['majority']:.3f}",
         f"{row['kappa']:.3f}", f"{row['auroc']:.3f}", f"{row['ece']:.3f} ({row['ece_calibrated']:.3f})")
        for row in agreement[agreement["grouping"].isin(("all", "model", "criterion"))].to_dict("records")
    ]  # fmt: skip
    honest = cheats["kind"] == "honest"
    pleases = cheats["rubric (judge)"] > cheats.loc[honest, "rubric (judge)"].iloc[0]
    return {"table": markdown_table(head, rows), "cheats": int(pleases.sum()), "answers": int((~honest).sum())}


# --- parts -----------------------------------------------------------------------------------------------------------


def _planned(folder: Path) -> pd.DataFrame:
    return primary(read_table(folder, "claims"), read_plan(folder.name)).sort_values(
        "world", ascending=False, kind="stable"
    )


def _value(validation: pd.DataFrame, start: str) -> float:
    """The value of the one row that begins so."""
    return float(validation.loc[validation["what"].str.startswith(start), "value"].item())
