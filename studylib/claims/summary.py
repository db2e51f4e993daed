"""What a comparison says of its question, for a terminal or another program: read from the tables that lie there."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from studylib.claims import tables
from studylib.claims.decisions import sentence
from studylib.claims.plan import Plan
from studylib.runs.read import profiles_of

NOT_THERE = "No such claims: the tables are older than the endpoint (--remake), or the runs lack what it needs."


@dataclass(frozen=True)
class Summary:
    """The tables of an axis, as far as they are of one endpoint on one split."""

    plan: Plan
    endpoint: str
    split: str
    out: Path
    origin: str  # how the tables came to be there
    means: pd.DataFrame
    claims: pd.DataFrame  # against the baseline
    beside: dict[str, pd.DataFrame]  # what else the plan asks -> its claims, as of `tables.beside_primary`
    notes: list[str]

    @property
    def sentences(self) -> list[str]:
        """One for each claim."""
        return self._sentences(self.claims)

    def _sentences(self, claims: pd.DataFrame) -> list[str]:
        return [sentence(row, self.plan.margin, self.plan.alpha_per_look) for row in claims.to_dict("records")]

    def in_words(self) -> str:
        """Question, notes, means and claims as text, and where all the rest lies."""
        plan, out = self.plan, self.out
        return "\n".join([
            self.origin, f"\n{plan.question}",
            f"Plan {plan.digest}: margin ±{plan.margin:g}, alpha {plan.alpha:g}, seeds {plan.seeds}", *self.notes,
            "\nMean over seeds, 95 % t interval", _text(tables.rounded(self.means)),
            f"\nClaims about {self.endpoint} on {self.split}", _text(tables.readable(self.claims, plan)),
            "", *self.sentences,
            *(line for name, claims in self.beside.items()
              for line in (f"\nBeside it: {name}", *(self._sentences(claims) or [NOT_THERE]))),
            f"\nAll splits, endpoints and statistics: {out / 'claims.csv'}, {out / 'means.csv'}",
            "\nFigures", *map(str, sorted(out.glob("*.png")) or ["none yet"]),
        ])  # fmt: skip

    def as_record(self) -> dict:
        """The same for a program, in full precision: text, numbers and None for what is not estimable."""
        claims = self.claims.assign(sentence=self.sentences)
        return {
            "plan": dataclasses.asdict(self.plan) | {"digest": self.plan.digest}, "endpoint": self.endpoint,
            "split": self.split, "folder": str(self.out), "notes": self.notes, "means": _rows(self.means),
            "claims": _rows(claims),
            "beside": {name: _rows(claims.assign(sentence=self._sentences(claims)))
                       for name, claims in self.beside.items()},
        }  # fmt: skip


def read_summary(out: Path, plan: Plan, endpoint: str, split: str, origin: str) -> Summary:
    """Of the tables in a folder of `compare`."""
    means, claims = tables.read_tables(out)
    means = means[(means["split"] == split) & (means["endpoint"] == endpoint)]
    notes = tables.read_table(out, "notes")["note"].tolist() if (out / "notes.csv").is_file() else []
    against = tables.against_baseline(claims, plan, endpoint, split)
    beside = tables.beside_primary(claims, plan)
    return Summary(plan, endpoint, split, out, origin, means, against, beside, notes)


def why_stale(out: Path, plan: Plan, profile: str, endpoint: str, split: str) -> str:
    """What makes the tables and figures in a folder those of another plan, profile, endpoint or split; else ""."""
    claims = tables.read_table(out, "claims")
    under = tables.plans_of(claims)
    if under != plan.digest:
        return f"were made under {under}, not {plan.digest}"
    others = ", ".join(sorted(profiles_of(tables.read_table(out, "runs")) - {profile}))
    if others:
        return f"are of profile {others}, not {profile}"
    if endpoint not in set(claims["endpoint"]):
        return f"have no {endpoint}"
    drawn = tables.read_table(out, "seeds") if (out / "seeds.csv").is_file() else claims[:0]
    drawn = set(zip(drawn["endpoint"], drawn["split"], strict=True)) or {(plan.primary_endpoint, plan.primary_split)}
    others = ", ".join(f"{other} on {place}" for other, place in sorted(drawn - {(endpoint, split)}))
    return f"have figures of {others}, not of {endpoint} on {split}" if others else ""


def _text(table: pd.DataFrame) -> str:
    return table.to_string(index=False) if len(table) else "none"


def _rows(table: pd.DataFrame) -> list[dict]:
    return table.astype(object).where(table.notna(), None).to_dict("records")


def why_other_runs(out: Path, made: pd.DataFrame) -> str:
    """What makes the tables in a folder those of other runs than `made` (`read_provenance`); "" where they are not."""
    columns = ["folder", "wall_seconds"]  # two runs of one name do not take equally long
    kept, runs = (
        set(table[columns].fillna(0).itertuples(index=False, name=None))
        for table in (tables.read_table(out, "runs"), made)
    )
    return "" if kept == runs else f"are of {len(kept)} other runs than the {len(runs)} that are asked for"
