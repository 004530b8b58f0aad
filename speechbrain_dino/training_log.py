"""Figures of steps and epochs: to the curves, the log, and SpeechBrain's train log."""

import logging

from speechbrain.utils.distributed import if_main_process, main_process_only

from speechbrain_dino.clock import hours
from speechbrain_dino.health import health_line

logger = logging.getLogger(__name__)


def log_step(brain, loss, number):
    """Writes a step's figures; the only place where the host waits for the device.

    Arguments
    ---------
    brain : speechbrain_dino.training_brain.TrainingBrain
        The brain, in the middle of an epoch.
    loss : torch.Tensor
        Loss of the batch.
    number : int
        Batches seen since the start of the run.

    Returns
    -------
    torch.Tensor
        The loss, on the CPU.
    """
    shown = loss.detach().float().cpu()
    batches = brain.loader.batch_sampler
    utterances = batches.batch_size * batches.world_size
    figures = {
        "epoch": number / len(brain.loader),
        "loss": shown.item(),
        "lr": brain.optimizer.param_groups[0]["lr"],
        "wait": brain.clock.wait_share(),
        "utt_per_s": brain.clock.rate() * utterances,
    }
    if if_main_process():
        brain.curves.add("step", number, **figures)
        if brain.noprogressbar and brain.clock.line_due():
            _progress_line(brain, number, figures, utterances)
    return shown


def _progress_line(brain, number, figures, utterances):
    total = brain.epoch_counter.limit * len(brain.loader)
    left = (total - number) * utterances / max(figures["utt_per_s"], 1e-9)
    logger.info(
        "epoch %d/%d, batch %d/%d: loss %.4f, lr %.2e, %.1f utterances/s, "
        "waited for data %.0f %%, %s left",
        brain.epoch,
        brain.epoch_counter.limit,
        brain.step,
        len(brain.loader),
        figures["loss"],
        figures["lr"],
        figures["utt_per_s"],
        100 * figures["wait"],
        hours(left),
    )


@main_process_only
def log_epoch(brain, epoch, number, figures):
    """Writes the figures of an epoch; every process calls it.

    Arguments
    ---------
    brain : speechbrain_dino.training_brain.TrainingBrain
        The brain, at the end of an epoch.
    epoch : int
        Number of the epoch.
    number : int
        Batches seen since the start of the run.
    figures : dict
        What health and validation found.
    """
    brain.curves.add("epoch", number, epoch=epoch, **figures)
    logger.info("epoch %d: %s", epoch, health_line(figures))
    validated = {k: v for k, v in figures.items() if "eer/" in k or "agreement" in k}
    brain.hparams.train_logger.log_stats(
        {"epoch": epoch, "lr": brain.optimizer.param_groups[0]["lr"]},
        train_stats={"loss": figures.get("loss", float("nan"))},
        valid_stats=validated or None,
    )
