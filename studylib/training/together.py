"""An update whose micro-batches are dealt to several processes: one loss and one gradient for all of them."""

from collections.abc import Iterable

import torch

from studylib import processes


class Update:
    """Adds up the losses of this process' micro-batches until all of an update are done, and then those of all.

    A loss is scaled to the whole update (`batches.py`), so that sums over processes are what one process would have.
    """

    def __init__(self):
        self.loss: torch.Tensor | float = 0.0

    def loss_to_report(self, loss: torch.Tensor, parameters: Iterable[torch.nn.Parameter], last: bool) -> torch.Tensor:
        """The loss of a micro-batch, whose gradients lie in `parameters`. Of several processes: 0 until the `last` one
        of the update, where the gradients become the sums over all processes, and the loss that of the whole update.
        """
        if processes.size() == 1:
            return loss
        self.loss = self.loss + loss
        if not last:
            return torch.zeros_like(loss)
        whole, self.loss = self.loss, 0.0
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in trained:  # none, where an update has fewer micro-batches than there are processes
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        processes.summed([whole, *(parameter.grad for parameter in trained)])
        return whole
