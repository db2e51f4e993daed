"""The embedded worlds as sources: their scenarios are made, with known truth, for a number and a seed."""

from functools import partial

from studylib.names import SOURCES, Source
from studylib.scenarios.facts import NORMS
from studylib.scenarios.worlds import make_split

for _world in NORMS:
    SOURCES.add(Source(_world, partial(make_split, _world), world=True))
