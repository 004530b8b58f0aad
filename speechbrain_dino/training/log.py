"""Metrics of steps and epochs: to the curves, the log, and SpeechBrain's train log."""

import logging
import time

from speechbrain.utils.distributed import if_main_process, main_process_only

from speechbrain_dino.training.health import health_line

logger = logging.getLogger(__name__)


def log_step(brain, loss, number):
    """Writes a step's metrics; the only place where the host waits for the device.

    Arguments
    ---------
    brain : speechbrain_dino.training.brain.TrainingBrain
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
    metrics = {
        "epoch": number / len(brain.loader),
        "loss": shown.item(),
        "lr": brain.optimizer.param_groups[0]["lr"],
        "wait": brain.clock.wait_share(),
        "utt_per_s": brain.clock.rate() * utterances,
    }
    if if_main_process():
        brain.curves.add("step", number, **metrics)
        if brain.noprogressbar and brain.clock.line_due():
            _progress_line(brain, number, metrics, utterances)
    return shown


def _progress_line(brain, number, metrics, utterances):
    total = brain.epoch_counter.limit * len(brain.loader)
    left = (total - number) * utterances / max(metrics["utt_per_s"], 1e-9)
    logger.info(
        "epoch %d/%d, batch %d/%d: loss %.4f, lr %.2e, %.1f utterances/s, "
        "waited for data %.0f %%, %s left",
        brain.epoch,
        brain.epoch_counter.limit,
        brain.step,
        len(brain.loader),
        metrics["loss"],
        metrics["lr"],
        metrics["utt_per_s"],
        100 * metrics["wait"],
        hours(left),
    )


@main_process_only
def log_epoch(brain, epoch, number, metrics):
    """Writes the metrics of an epoch; every process calls it.

    Arguments
    ---------
    brain : speechbrain_dino.training.brain.TrainingBrain
        The brain, at the end of an epoch.
    epoch : int
        Number of the epoch.
    number : int
        Batches seen since the start of the run.
    metrics : dict
        Those of health and validation.
    """
    brain.curves.add("epoch", number, epoch=epoch, **metrics)
    logger.info("%s", epoch_line(brain, epoch, metrics))
    logger.debug("epoch %d: %s", epoch, health_line(metrics))
    validated = {k: v for k, v in metrics.items() if "eer/" in k or "agreement" in k}
    brain.hparams.train_logger.log_stats(
        {"epoch": epoch, "lr": brain.optimizer.param_groups[0]["lr"]},
        train_stats={"loss": metrics.get("loss", float("nan"))},
        valid_stats=validated or None,
    )


def epoch_line(brain, epoch, metrics):
    """The metrics of an epoch that tell a person how it goes, in one line.

    Arguments
    ---------
    brain : speechbrain_dino.training.brain.TrainingBrain
        The brain, at the end of an epoch.
    epoch : int
        Number of the epoch.
    metrics : dict
        All metrics of the epoch.

    Returns
    -------
    str
        Loss; EER of the first list, or recall; what shows collapse, or accuracy and
        share of gated labels; throughput and time left.
    """
    parts = [f"loss {metrics['loss']:.3f}"] if "loss" in metrics else []
    eers = [key for key in metrics if key.startswith("eer/")]
    parts += [f"EER {100 * metrics[key]:.2f} % ({key[4:]})" for key in eers[:1]]
    for key, name in (("uar/valid", "UAR"), ("accuracy", "accuracy")):
        if key in metrics:
            parts.append(f"{name} {100 * metrics[key]:.1f} %")
    if metrics.get("gated"):
        parts.append(f"{100 * metrics['gated']:.1f} % of labels gated")
        parts.append(f"{100 * metrics['corrected']:.1f} % corrected")
    for key, name, size in (
        ("effective_rank", "effective rank", "embedding_dim"),
        ("prototypes_used", "prototypes", "out_dim"),
    ):
        if key in metrics:
            of = getattr(brain.hparams, size, None)
            of = f" of {of}" if of else ""
            parts.append(f"{name} {metrics[key]:.0f}{of}")
    batches = brain.loader.batch_sampler
    seconds = brain.clock.seconds()
    utterances = brain.clock.batches * batches.batch_size * batches.world_size
    parts.append(f"{utterances / seconds:.1f} utterances/s")
    left = (brain.epoch_counter.limit - epoch) * seconds
    parts.append(f"{hours(left)} left")
    return f"epoch {epoch}/{brain.epoch_counter.limit}: {', '.join(parts)}"


class Clock:
    """Throughput, and the share of time in which the loader was waited for.

    Arguments
    ---------
    line_seconds : float
        Seconds between two lines of progress in the log.
    """

    def __init__(self, line_seconds=30.0):
        self.line_seconds = line_seconds
        self.last_line = -line_seconds
        self.start()

    def start(self):
        """Begins an epoch."""
        self.begun = self.marked = self.done = time.perf_counter()
        self.waited = 0.0
        self.batches = self.marked_batches = 0

    def batch_came(self):
        """The loader gave a batch."""
        self.waited += time.perf_counter() - self.done

    def batch_done(self):
        """The batch was trained on."""
        self.batches += 1
        self.done = time.perf_counter()

    def wait_share(self):
        """Share of this epoch's time in which the loader was waited for, 0..1."""
        return self.waited / self.seconds()

    def seconds(self):
        """Time since the epoch began."""
        return max(time.perf_counter() - self.begun, 1e-9)

    def rate(self):
        """Batches a second since the last call."""
        now = time.perf_counter()
        # The batch under way is as good as done when the metrics are written.
        batches = self.batches + 1 - self.marked_batches
        seconds = now - self.marked
        self.marked, self.marked_batches = now, self.batches + 1
        return batches / max(seconds, 1e-9)

    def line_due(self):
        """Whether it is time for a line of progress; True starts the next interval."""
        now = time.perf_counter()
        due = now - self.last_line >= self.line_seconds
        if due:
            self.last_line = now
        return due


def hours(seconds):
    """Writes a time as h:mm:ss.

    Arguments
    ---------
    seconds : float
        The time.

    Returns
    -------
    str

    Example
    -------
    >>> hours(3723.4)
    '1:02:03'
    """
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
