"""Batches of random prompts and answers, as TRL pads them."""

import torch

PAD, C = 0, 12  # C: columns of the answers


def batch(padded: bool, groups=(4, 4, 4), shuffled=True):
    """(input_ids, attention_mask): prompts of three lengths, groups of the given sizes in any order."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for i, size in enumerate(groups):
        length = 20 - 5 * i * padded
        prompt = torch.randint(10, 1000, (length,), generator=generator)
        for _ in range(size):
            answer_length = int(torch.randint(3, C + 1, (1,), generator=generator)) if padded else C
            answer = torch.randint(10, 1000, (answer_length,), generator=generator)
            ids, mask = torch.full((20 + C,), PAD), torch.zeros(20 + C, dtype=torch.long)
            ids[20 - length : 20 + answer_length] = torch.cat([prompt, answer])
            mask[20 - length : 20 + answer_length] = 1
            rows.append((ids, mask))
    order = torch.randperm(len(rows), generator=generator).tolist() if shuffled else range(len(rows))
    return tuple(torch.stack(column) for column in zip(*[rows[i] for i in order], strict=True))
