"""CopyPaste: two utterances in one crop, the emotional one gives the label."""

import torch


class CopyPaste:
    """Joins crops of a batch: of one emotion, or an emotional and a neutral one.

    Who hears a neutral and an angry stretch of speech says that it is angry: a part
    of the crop is replaced by speech of a neutral utterance, or of one with the same
    emotion (Pappagari et al., ICASSP 2021). Partners of neutral crops are neutral.

    Arguments
    ---------
    neutral, prob : str, float
        Name of the neutral class; share of the crops that get a partner.
    same_class : bool
        Whether partners of the same class are taken too.
    """

    num_draws = 4

    def __init__(self, neutral="neutral", prob=0.5, same_class=True):
        if not 0 <= prob <= 1:
            raise ValueError(f"prob is {prob}; it lies in 0..1")
        self.neutral, self.prob, self.same_class = neutral, prob, same_class

    def set_up(self, classes):
        """Takes the names of the classes, in the order of their numbers."""
        classes = list(classes)
        if self.neutral not in classes and not self.same_class:
            raise ValueError(
                f"CopyPaste needs the class {self.neutral!r}, and the classes are "
                f"{classes}: set same_class, or name the neutral class"
            )
        self.number = classes.index(self.neutral) if self.neutral in classes else -1

    def __call__(self, waves, labels, draws):
        """Joins crops (batch, time) with labels int64 (batch,), which stay.

        ``draws`` (batch, 4): whether, with whom, where the cut is, in which order.

        Example
        -------
        >>> paste = CopyPaste(prob=1.0, same_class=False)
        >>> paste.set_up(["angry", "neutral"])
        >>> waves, labels = torch.tensor([[1.0] * 4, [2.0] * 4]), torch.tensor([0, 1])
        >>> paste(waves, labels, torch.tensor([[0.0, 0.0, 0.4, 0.0]] * 2)).tolist()
        [[1.0, 1.0, 2.0, 2.0], [2.0, 2.0, 2.0, 2.0]]
        """
        batch, time = waves.shape
        draws = draws.to(waves.device, non_blocking=True)
        neutral = labels == self.number
        fits = neutral[None, :].expand(batch, -1)
        if self.same_class:
            fits = fits | (labels[:, None] == labels[None, :])
        fits = fits & ~torch.eye(batch, dtype=torch.bool, device=waves.device)
        count = fits.sum(1)
        # The n-th fitting row, n drawn uniformly.
        wanted = (draws[:, 1] * count).long().clamp(max=batch - 1)
        partner = (fits.cumsum(1) > wanted[:, None]).float().argmax(1)
        paste = (draws[:, 0] < self.prob) & (count > 0)
        # A quarter at least stays of each.
        cut = ((0.25 + 0.5 * draws[:, 2]) * time).round()
        first = torch.arange(time, device=waves.device) < cut[:, None]
        own = first ^ (draws[:, 3:] >= 0.5)
        return torch.where(own | ~paste[:, None], waves, waves[partner])
