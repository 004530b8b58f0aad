"""What every training has in common: steps, schedules, bad batches, resuming."""

import logging
import sys
import time
from typing import NamedTuple

import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process
from torch.nn import SyncBatchNorm
from torch.nn.parallel import DistributedDataParallel

from speechbrain_dino.augment.crops import augmented
from speechbrain_dino.models.branch import Branch
from speechbrain_dino.models.embedder import Embedder
from speechbrain_dino.models.features import move_constants
from speechbrain_dino.training.checkpoints import save_epoch
from speechbrain_dino.training.collapse import CollapseError
from speechbrain_dino.training.log import Clock, log_epoch, log_step
from speechbrain_dino.training.safe_step import (
    clip_gradients,
    parameter_groups,
    start_momentum,
    step_if,
)
from speechbrain_dino.training.schedules import Schedules
from speechbrain_dino.utils.compiled import keep_compiled
from speechbrain_dino.utils.distributed import summed
from speechbrain_dino.utils.ending import stop_workers
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.randomness import seed_step

logger = logging.getLogger(__name__)


class StepState(NamedTuple):
    """Position of a step in the run; computed once, before the step.

    ``number``: batches since the start of the run, this one included; ``progress``:
    epochs since the start, a fraction that moves with optimizer steps; ``updates``:
    whether the optimizer steps, as it does not while gradients are accumulated;
    ``logged``: whether metrics are written, for which the host waits for the device.
    """

    number: int
    progress: float
    updates: bool
    logged: bool


class TrainingBrain(sb.Brain):
    """What surrounds a training step: schedules, bad batches, checkpoints, resuming.

    A subclass names its ``networks`` and gives ``train_step``.

    Needs the modules ``loss``, ``health``, ``augment``, ``compute_features``,
    ``mean_var_norm`` and the networks, and in ``hparams`` the schedules (functions of
    the fractional epoch): ``lr_schedule``, ``weight_decay_schedule``, and any
    ``<name>_schedule`` for an attribute ``name`` of the loss; further ``clip_norm``,
    ``clip_per_tensor``, ``seed`` and ``log_every``. With a checkpointer ``hparams``
    also holds ``keep_checkpoints``; ``feature_augment``, if there, changes the log-mels
    of augmented crops (:class:`~speechbrain_dino.augment.erasing.FeatureErasing`).

    Arguments
    ---------
    curves : speechbrain_dino.training.curves.Curves
        Where the metrics of steps and epochs go.
    on_epoch_end : callable, optional
        Called with (brain, epoch, metrics) after each epoch; may add metrics.
    **kwargs
        Arguments of ``speechbrain.Brain``.
    """

    networks = ("student",)
    """Modules with weights, the trained one first."""
    evaluated = "student"
    """The module whose encoder is the result."""
    stateful = ("loss", "health")
    """Further modules that are saved with every checkpoint."""

    def __init__(self, curves, on_epoch_end=None, **kwargs):
        super().__init__(**kwargs)
        # ``modules`` holds them wrapped once training starts: these stay bare.
        self.bare = {name: self.modules[name] for name in self.networks}
        for name in ("compute_features", "mean_var_norm"):
            move_constants(self.modules[name], self.device)
        self.curves = curves
        self.on_epoch_end = on_epoch_end
        self.epoch, self.compiled = 0, False
        self.shown_loss = torch.tensor(float("nan"))
        if not sys.stderr.isatty():
            self.noprogressbar = True
        self.clock = Clock()
        self.schedules = Schedules(vars(self.hparams), self.modules.loss)
        if self.checkpointer is not None:
            saved = (*self.networks, *self.stateful)
            self.checkpointer.add_recoverables({k: self.modules[k] for k in saved})

    # -- set-up ---------------------------------------------------------------

    @property
    def trained(self):
        """The module that the optimizer moves, perhaps wrapped."""
        return self.modules[self.networks[0]]

    def embedder(self):
        """The way from waveforms to embeddings, sharing the evaluated weights."""
        return Embedder(
            self.modules.compute_features,
            self.modules.mean_var_norm,
            self.branch().encoder,
        )

    def branch(self):
        """The branch whose encoder is the result."""
        return self.bare[self.evaluated]

    def init_optimizers(self):
        """Builds the optimizer: no weight decay on biases and 1-D parameters."""
        weight_decay = self.schedules.at("weight_decay", 0.0, 0.0)
        self.unclipped, factor = self.apart()
        self.optimizer = self.opt_class(
            parameter_groups(self.trained, weight_decay, self.unclipped, factor)
        )
        start_momentum(self.optimizer)
        self.optimizers_dict = {"optimizer": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def _compile(self):
        """Compiles the encoders once for crops of all lengths, or the modules named."""
        if not self.compile or self.compile_module_keys is not None:
            super()._compile()
            return
        logger.info(
            "compiling the encoders during the first step takes minutes; what is made "
            "is kept in %s",
            keep_compiled(),
        )
        # The rest is a few milliseconds, and complex numbers do not compile.
        parts = [p for name in self.networks for p in self.modules[name].modules()]
        for branch in parts:
            if isinstance(branch, Branch):
                branch.compile_encoder(
                    mode=self.compile_mode,
                    fullgraph=self.compile_using_fullgraph,
                    dynamic=True,
                )

    def _wrap_distributed(self):
        """Wraps the trained module alone; BatchNorm is synchronized on GPUs."""
        if not self.distributed_launch:
            return
        gpu = self.device_type == "cuda"
        for name in self.networks if gpu else ():
            SyncBatchNorm.convert_sync_batchnorm(self.modules[name])
        self.modules[self.networks[0]] = DistributedDataParallel(
            unwrap_distributed(self.trained),
            device_ids=[self.device] if gpu else None,
            find_unused_parameters=self.find_unused_parameters,
            gradient_as_bucket_view=True,
        )

    def on_stage_start(self, stage, epoch=None):
        """Moves the loader to the run's step, also in the middle of an epoch."""
        if stage != sb.Stage.TRAIN:
            return
        self.epoch = epoch
        self.loader.batch_sampler.set_epoch(epoch, first=self.step)
        self.clock.start()
        if self.step == 0:
            logger.debug("epoch %d: %d batches", epoch, self.batches)

    def on_fit_start(self):
        """Sets up and recovers; what will be trained again leaves the curves."""
        super().on_fit_start()
        done = self.epoch_counter.current
        if if_main_process():
            self.curves.forget_after(done * self.batches + self.step, done)

    def fit(self, epoch_counter, train_set, **kwargs):
        """Trains; see ``speechbrain.Brain.fit``. ``train_set`` is a ``crop_loader``."""
        self.loader = train_set
        self.batches = len(train_set)
        self.epoch_counter = epoch_counter
        try:
            super().fit(epoch_counter, train_set, **kwargs)
        finally:
            stop_workers(train_set)

    # -- one step -------------------------------------------------------------

    @torch.no_grad()
    def features(self, view, draws=None):
        """Normalized log-mels (crops batch, frames, mels) of crops of one length.

        Arguments
        ---------
        view : torch.Tensor
            int16 samples (crops, batch, time).
        draws : torch.Tensor, optional
            Uniform numbers for the augmentation (crops, batch, draws), on the CPU;
            without them the crops stay as they are.
        """
        with torch.autocast(self.device_type, enabled=False):
            waves = view.flatten(0, 1).float() / 32768
            lengths = torch.ones(len(waves), device=waves.device)
            if draws is None:
                return self.modules.mean_var_norm(self.modules.compute_features(waves))
            erase = getattr(self.hparams, "feature_augment", None)
            others = draws.shape[-1] - (0 if erase is None else erase.num_draws)
            of_waves = draws[..., :others].flatten(0, 1)
            waves = augmented(self.modules.augment, waves, lengths, of_waves)
            feats = self.modules.compute_features(waves)
            if erase is not None:
                feats = feats.unflatten(0, view.shape[:2])
                feats = erase(feats, draws[..., others:]).flatten(0, 1)
            return self.modules.mean_var_norm(feats)

    def fit_batch(self, batch):
        """Prepares a step, takes it, and writes its metrics."""
        self.clock.batch_came()
        self.now = now = self._step_state()
        seed_step(self.hparams.seed, now.number, getattr(self, "rank", 0))
        self.scheduled = self.schedules.apply(now.progress, self.optimizer)
        begin = time.perf_counter()
        loss = self.train_step(batch.to(self.device))
        if self.compile and not self.compiled:
            self.compiled = True
            seconds = time.perf_counter() - begin
            logger.info("the first step, compilation included: %.1f s", seconds)
        self.modules.health.count(loss, self.finite)
        if now.logged:
            self.shown_loss = log_step(self, loss, now.number)
        self.clock.batch_done()
        return self.shown_loss

    def train_step(self, batch):
        """Takes one step on a ``CropBatch`` on the device; returns the loss, detached.

        ``self.finite`` then says whether the weights were moved, or will be once
        gradients are accumulated.
        """
        raise NotImplementedError

    def backward(self, loss):
        """Backward pass of a batch; sets ``self.finite``, the same in all processes."""
        self.scaler.scale(loss / self.grad_accumulation_factor).backward()
        self.finite = summed((~loss.detach().isfinite()).float()) == 0

    def apart(self):
        """Parameters without weight decay and clipping, the factor of their rate."""
        return (), 1.0

    def optimizers_step(self):
        """Clips over all groups, then steps unless loss or gradients are not finite."""
        self.scaler.unscale_(self.optimizer)
        norm = clip_gradients(
            self.trained.parameters(),
            self.hparams.clip_norm,
            self.hparams.clip_per_tensor,
            free=self.unclipped,
        )
        self.finite = self.finite & norm.isfinite()
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
        else:
            step_if(self.optimizer, self.finite)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1

    def _step_state(self):
        steps = max(self.batches // self.grad_accumulation_factor, 1)
        done = max(self.step - 1, 0) // self.grad_accumulation_factor
        return StepState(
            number=self._batches_before() + self.step,
            progress=self.epoch - 1 + done / steps,
            updates=self.step % self.grad_accumulation_factor == 0,
            logged=self.step % self.hparams.log_every == 0 or self.step == self.batches,
        )

    def _batches_before(self):
        return (self.epoch - 1) * self.batches

    # -- metrics --------------------------------------------------------------

    def update_average(self, loss, avg_loss):
        """The loss of the last logged step: an average would wait for the device."""
        return float(loss)

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        # Accumulated gradients are not saved: only between optimizer steps.
        if self.step % self.grad_accumulation_factor:
            return False
        return super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt)

    def after_validation(self, epoch, metrics):
        """What a subclass does with an epoch's metrics before the checkpoint."""

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Sums the epoch up, validates and saves; stops a run that has collapsed."""
        if stage != sb.Stage.TRAIN:
            return
        metrics = self.modules.health.epoch_summary()
        metrics["wait"] = self.clock.wait_share()
        number = self._batches_before() + self.step
        # What is saved from here on begins the next epoch.
        self.step, self.avg_train_loss = 0, 0.0
        if self.on_epoch_end is not None:
            self.on_epoch_end(self, epoch, metrics)
        self.after_validation(epoch, metrics)
        # Before saving: a run killed in between writes the line once more, after
        # forgetting this one; the other way round it would be lost.
        log_epoch(self, epoch, number, metrics)
        if self.checkpointer is not None:
            save_epoch(self.checkpointer, epoch, metrics, self.hparams.keep_checkpoints)
        with plain_errors(CollapseError):
            self.modules.health.check(metrics)


def unwrap_distributed(module):
    """The module inside a DistributedDataParallel wrapper, or itself."""
    return module.module if isinstance(module, DistributedDataParallel) else module
