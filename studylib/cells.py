"""Parameters in the cells of a notebook, whose kernel may have run them before."""

from dataclasses import dataclass
from types import ModuleType

from studylib.params import parameters


@dataclass
class Before:
    """What was in a notebook's namespace before its parameters cell.

    values: name -> id of the value, None for any value. own: the notebook's parameters beside those of a run. unknown:
    names that the cell set and no parameter bears; None until they are read.
    """

    values: dict[str, int | None]
    own: tuple[str, ...] = ()
    unknown: list[str] | None = None


def begin_parameters(namespace: dict, own: str = "") -> bool:
    """Begin a pass: the parameters of an earlier one leave the namespace, and `params`, which were made of them.

    For the cell before the parameters cell and the first line of that one, so that whichever is run again, what counts
    is what the parameters cell sets in this pass. `before` remembers what else is in the namespace. own: the notebook's
    parameters beside those of a run, by spaces; given once. Returns True.
    """
    earlier = namespace.get("before")
    earlier = earlier if isinstance(earlier, Before) else Before({}, unknown=[])
    unread = _unknown(earlier, namespace) if earlier.unknown is None else []  # the cell was run and is run again
    own = tuple(own.split()) or earlier.own
    for name in (*parameters(), *own, *unread, "params"):
        namespace.pop(name, None)
    namespace["before"] = Before({name: id(value) for name, value in namespace.items()}, own)
    return True


def given_parameters(before: Before | set[str], namespace: dict) -> dict:
    """The parameters of a run that a notebook's `parameters` cell and papermill's injected cell set, and unknown names.

    Any other value that is new in the namespace since `before` (a pass that `begin_parameters` began, or names) was
    meant as a parameter: who takes the mapping refuses it. It leaves the namespace, but not this pass.
    """
    if not isinstance(before, Before):
        before = Before(dict.fromkeys(before))
    if before.unknown is None:
        before.unknown = _unknown(before, namespace)
        for name in before.unknown:
            namespace.pop(name)
    return {name: namespace[name] for name in parameters() if name in namespace} | dict.fromkeys(before.unknown)


def refuse_other_parameters(before: Before, namespace: dict) -> None:
    """For a notebook that makes no run: raise ValueError for a parameter that is not among its `own`."""
    others = sorted(set(given_parameters(before, namespace)) - set(before.own))
    if others:
        raise ValueError(f"unknown parameter {others[0]!r}; known parameters: {', '.join(sorted(before.own))}")


def _unknown(before: Before, namespace: dict) -> list[str]:
    """Names that hold a new value, or another one, and are no parameter's; code (imports) and _names are none."""
    known = {*parameters(), *before.own, "before"}
    values = {name: value for name, value in namespace.items() if name not in known and not name.startswith("_")}
    meant = [name for name, value in values.items() if not callable(value) and not isinstance(value, ModuleType)]
    return sorted(name for name in meant if before.values.get(name, -1) not in (None, id(values[name])))
