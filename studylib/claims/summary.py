"""What a comparison says of its question, for a terminal or another program: read from the tables that lie there."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from studylib.claims import tables
from studylib.claims.decisions import sentence
from studylib.claims.plan import Plan
from studylib.runs.read import profiles_of


@dataclass(frozen=True)
class Summary:
    """The tables of an axis, as far as they are of one endpoint on the primary split."""

    plan: Plan
    endpoint: str
    out: Path
    origin: str  # how the tables came to be there
    means: pd.DataFrame
    claims: pd.DataFrame  # against the baseline
    notes: list[str]

    @property
    def sentences(self) -> list[str]:
        """One for each claim."""
        return [sentence(row, self.plan.margin, self.plan.alpha_per_look) for row in self.claims.to_dict("records")]

    def in_words(self) -> str:
        """Question, notes, means and claims as text, and where all the rest lies."""
        plan, out = self.plan, self.out
        return "\n".join([
            self.origin, f"\n{plan.question}",
            f"Plan {plan.digest}: margin ±{plan.margin:g}, alpha {plan.alpha:g}, seeds {plan.seeds}", *self.notes,
            "\nMean over seeds, 95 % t interval", _text(tables.rounded(self.means)),
            f"\nClaims about {self.endpoint} on {plan.primary_split}", _text(tables.readable(self.claims, plan)),
            "", *self.sentences,
            f"\nAll splits, endpoints and statistics: {out / 'claims.csv'}, {out / 'means.csv'}",
            "\nFigures", *map(str, sorted(out.glob("*.png")) or ["none yet"]),
        ])  # fmt: skip

    def as_record(self) -> dict:
        """The same for a program, in full precision: text, numbers and None for what is not estimable."""
        claims = self.claims.assign(sentence=self.sentences)
        return {
            "plan": dataclasses.asdict(self.plan) | {"digest": self.plan.digest}, "endpoint": self.endpoint,
            "folder": str(self.out), "notes": self.notes, "means": _rows(self.means), "claims": _rows(claims),
        }  # fmt: skip


def read_summary(out: Path, plan: Plan, endpoint: str, origin: str) -> Summary:
    """Of the tables in a folder of `compare`."""
    means, claims = tables.read_tables(out)
    means = means[(means["split"] == plan.primary_split) & (means["endpoint"] == endpoint)]
    notes = tables.read_table(out, "notes")["note"].tolist() if (out / "notes.csv").is_file() else []
    return Summary(plan, endpoint, out, origin, means, tables.against_baseline(claims, plan, endpoint), notes)


def why_stale(out: Path, plan: Plan, profile: str, endpoint: str) -> str:
    """What makes the tables in a folder those of another plan or profile, or leaves out an endpoint; "" for nothing."""
    claims = tables.read_table(out, "claims")
    under = tables.plans_of(claims)
    if under != plan.digest:
        return f"were made under {under}, not {plan.digest}"
    others = ", ".join(sorted(profiles_of(tables.read_table(out, "runs")) - {profile}))
    if others:
        return f"are of profile {others}, not {profile}"
    return "" if endpoint in set(claims["endpoint"]) else f"have no {endpoint}"


def _text(table: pd.DataFrame) -> str:
    return table.to_string(index=False) if len(table) else "none"


def _rows(table: pd.DataFrame) -> list[dict]:
    return table.astype(object).where(table.notna(), None).to_dict("records")
