"""Progress of a training run: one bar with steps done and time left, updated in place.

In a notebook it is an HTML element without widgets and without colours of its own, so it follows the theme, works in
JupyterLab, Colab, VS Code and papermill alike, and an executed notebook keeps its last state alone. Elsewhere tqdm
draws it, on stderr, with the same words.
"""

import sys
import time

from tqdm import tqdm

from studylib import processes

SECONDS = 0.5  # between two updates on a screen
SECONDS_IN_A_FILE = 30  # where stderr is no terminal, every update is kept


def progress_bar(total: int, done: int = 0) -> "NotebookBar | TerminalBar":
    """A bar of `total` steps, `done` of which were made before: in a notebook HTML, else tqdm's."""
    return (NotebookBar if in_notebook() else TerminalBar)(total, done)


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this: IPython in a terminal has no kernel."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython() if ipython else None, "kernel")


class Progress:
    """Steps made and time left, in words."""

    def __init__(self, total: int, done: int):
        self.total, self.before, self.done, self.state = total, done, done, ""
        self.started = self.drawn = time.monotonic()

    def text(self) -> str:
        """ "step 64 of 120 · 1:07 so far, 0:58 left · reward 0.800"."""
        return " · ".join(filter(None, (f"step {self.done} of {self.total}", self._times(), self.state)))

    def _times(self) -> str:
        spent, made = time.monotonic() - self.started, self.done - self.before
        left = spent / made * (self.total - self.done) if made else None
        over = self.done >= self.total
        return clock(spent) + ("" if over else " so far" if left is None else f" so far, {clock(left)} left")


class TerminalBar(Progress):
    def __init__(self, total: int, done: int):
        super().__init__(total, done)
        pause = SECONDS if sys.stderr.isatty() else SECONDS_IN_A_FILE
        self.bar = tqdm(
            total=total, initial=done, desc=self.text(), bar_format="|{bar:20}| {desc}", file=sys.stderr,
            mininterval=pause, dynamic_ncols=True, disable=not processes.is_first(),
        )  # fmt: skip

    def update(self, done: int, state: str) -> None:
        """`done` steps are made; `state`: what is known of the last one."""
        self.done, self.state = done, state
        self.bar.set_description_str(self.text(), refresh=False)
        self.bar.update(done - self.bar.n)

    def note(self, text: str) -> None:
        """A line that stays, above the bar."""
        tqdm.write(text, file=sys.stdout)

    def close(self) -> None:
        self.bar.close()


class NotebookBar(Progress):
    def __init__(self, total: int, done: int):
        from IPython.display import display

        super().__init__(total, done)
        self.handle = display(self._bundle(), raw=True, display_id=True)

    def update(self, done: int, state: str) -> None:
        self.done, self.state = done, state
        if time.monotonic() - self.drawn >= SECONDS:
            self._draw()

    def note(self, text: str) -> None:
        print(text)

    def close(self) -> None:
        self._draw()

    def _draw(self) -> None:
        self.drawn = time.monotonic()
        self.handle.update(self._bundle(), raw=True)

    def _bundle(self) -> dict[str, str]:
        text = self.text()
        shape = 'aria-label="training" style="width: 100%; max-width: 30em"'
        bar = f'<progress value="{self.done}" max="{self.total}" {shape}></progress>'
        return {"text/html": f"<div>{bar}<br>{text}</div>", "text/plain": text}


def clock(seconds: float) -> str:
    """1:05 or 2:01:05."""
    return tqdm.format_interval(round(seconds)).removeprefix("0")
