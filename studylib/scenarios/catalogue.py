"""Names that parameters may take, without the cost of importing what they name."""

from studylib.scenarios.vocabulary import DOMAINS, HELD_OUT_DOMAINS

FRAMEWORKS = {
    "act_utilitarianism": "Act Utilitarianism",
    "kantian_deontology": "Kantian Deontology",
    "virtue_ethics": "Aristotelian Virtue Ethics",
    "scanlonian_contractualism": "Scanlonian Contractualism",
    "gauthierian_contractarianism": "Gauthierian Contractarianism",
}
TRAIN_DOMAINS = tuple(domain for domain in DOMAINS if domain not in HELD_OUT_DOMAINS)
TRAIN_STYLES = ("report", "letter", "dialogue", "news")
HELD_OUT_STYLES = ("minutes",)
WORLDS = ("universal_norms", "local_norms")
REAL_SOURCES = (
    "ethics_justice", "ethics_deontology", "ethics_virtue", "ethics_utilitarianism",
    "moralchoice", "contrastive_moral_stories", "morebench_public", "morebench_theory",
)  # fmt: skip
SOURCES = WORLDS + REAL_SOURCES
