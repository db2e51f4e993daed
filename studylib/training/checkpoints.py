"""What the study keeps in a checkpoint beside TRL's: heads, MORE's average, and the mark that it is whole."""

from pathlib import Path

import torch

COMPLETE = "complete"  # file in a checkpoint, written after all others; holds the name of the objective
HEADS = "heads.pt"  # value head or log Z head
MORE = "more.pt"  # moving average of the gradients that MORE weighs


def complete(trainer, folder: Path) -> None:
    """Add to the checkpoint in `folder` what TRL does not save, and last of all the mark."""
    if len(trainer.heads):
        torch.save(trainer.heads.state_dict(), folder / HEADS)
    if trainer.more:
        torch.save(torch.from_numpy(trainer.more.average), folder / MORE)
    (folder / COMPLETE).write_text(trainer.params.objective)


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to the end; a kill may have cut the last one."""
    whole = [mark.parent for mark in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(whole, key=optimiser_step, default=None)


def optimiser_step(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-")[1])


def restore(trainer, checkpoint: Path) -> None:
    """Load what `complete` added. Raises ValueError for a checkpoint that another objective left."""
    made_by, wanted = (checkpoint / COMPLETE).read_text(), trainer.params.objective
    if made_by != wanted:
        raise ValueError(f"{checkpoint} was made by objective {made_by!r}, not {wanted!r}; give another run_root")
    if len(trainer.heads):
        trainer.heads.load_state_dict(torch.load(checkpoint / HEADS))
    if trainer.more:
        trainer.more.average = torch.load(checkpoint / MORE).numpy()
