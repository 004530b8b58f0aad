"""What every training has in common: steps, schedules, bad batches, resuming."""

import logging
import sys

import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process
from torch.nn import SyncBatchNorm
from torch.nn.parallel import DistributedDataParallel

from speechbrain_dino.augment.crops import augmented
from speechbrain_dino.models.embedder import Embedder
from speechbrain_dino.models.features import move_constants
from speechbrain_dino.models.teacher import unwrap
from speechbrain_dino.training.checkpoints import save_epoch
from speechbrain_dino.training.collapse import CollapseError
from speechbrain_dino.training.log import Clock, log_epoch, log_step
from speechbrain_dino.training.safe_step import (
    KeptBuffers,
    agreed,
    clip_gradients,
    parameter_groups,
    start_momentum,
    step_if,
)
from speechbrain_dino.utils.ending import stop_workers
from speechbrain_dino.utils.errors import plain_errors
from speechbrain_dino.utils.randomness import seed_step

logger = logging.getLogger(__name__)


class TrainingBrain(sb.Brain):
    """Crops -> augmentation -> log-mels -> networks -> loss.

    A subclass gives ``compute_forward`` and ``compute_objectives``, names its
    ``networks``, and may look at steps (``observe``), do something after each
    (``after_step``) and hold parameters still (``held_still``).

    Needs the modules ``loss``, ``health``, ``augment``, ``compute_features``,
    ``mean_var_norm`` and the networks, and in ``hparams`` the schedules (functions of
    the fractional epoch): ``lr_schedule``, ``weight_decay_schedule``, and any
    ``<name>_schedule`` for an attribute ``name`` of the loss; further ``clip_norm``,
    ``clip_per_tensor``, ``seed`` and ``log_every``. With a checkpointer ``hparams``
    also holds ``keep_checkpoints``.

    Arguments
    ---------
    curves : speechbrain_dino.training.curves.Curves
        Where the figures of steps and epochs go.
    on_epoch_end : callable, optional
        Called with (brain, epoch, figures) after each epoch; may add figures.
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
        for name in ("compute_features", "mean_var_norm"):
            move_constants(self.modules[name], self.device)
        self.curves = curves
        self.on_epoch_end = on_epoch_end
        self.epoch = 0
        self.shown_loss = torch.tensor(float("nan"))
        if not sys.stderr.isatty():
            self.noprogressbar = True
        self.clock = Clock()
        self.loss_schedules = self._schedules_of_the_loss()
        if self.checkpointer is not None:
            saved = (*self.networks, *self.stateful)
            self.checkpointer.add_recoverables({k: self.modules[k] for k in saved})

    # -- set-up ---------------------------------------------------------------

    @property
    def trained(self):
        """The module that the optimiser moves, perhaps wrapped."""
        return self.modules[self.networks[0]]

    def embedder(self):
        """The way from waveforms to embeddings, sharing the evaluated weights."""
        return Embedder(
            self.modules.compute_features,
            self.modules.mean_var_norm,
            self.result_of(unwrap(self.modules[self.evaluated])).embedding_model,
        )

    def result_of(self, module):
        """The branch whose encoder is exported, inside the evaluated module."""
        return module

    def init_optimizers(self):
        """Builds the optimiser: no weight decay on biases and 1-D parameters."""
        groups = parameter_groups(self.trained, self._at("weight_decay", 0.0))
        self.optimizer = self.opt_class(groups)
        start_momentum(self.optimizer)
        self.optimizers_dict = {"optimizer": self.optimizer}
        if self.checkpointer is not None:
            self.checkpointer.add_recoverable("optimizer", self.optimizer)

    def _compile(self):
        if self.compile and self.compile_module_keys is None:
            # The rest is a few milliseconds, and complex numbers do not compile.
            self.compile_module_keys = list(self.networks)
        super()._compile()

    def _wrap_distributed(self):
        """Wraps the trained module alone; BatchNorm is synchronised on GPUs."""
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
        """Puts the loader where the run stands, also in the middle of an epoch."""
        if stage != sb.Stage.TRAIN:
            return
        self.epoch = epoch
        self.loader.batch_sampler.set_epoch(epoch, first=self.step)
        self.clock.start()
        if self.step == 0:
            logger.info("epoch %d: %d batches", epoch, len(self.loader))

    def on_fit_start(self):
        """Sets up and recovers; what will be trained again leaves the curves."""
        super().on_fit_start()
        done = self.epoch_counter.current
        if if_main_process():
            self.curves.forget_after(done * len(self.loader) + self.step, done)

    def fit(self, epoch_counter, train_set, **kwargs):
        """Trains; see ``speechbrain.Brain.fit``. ``train_set`` is a ``crop_loader``."""
        self.loader = train_set
        self.epoch_counter = epoch_counter
        try:
            super().fit(epoch_counter, train_set, **kwargs)
        finally:
            stop_workers(train_set)

    # -- one step -------------------------------------------------------------

    @torch.no_grad()
    def features(self, view, draws=None):
        """Augments and transforms the crops of one length.

        Arguments
        ---------
        view : torch.Tensor
            int16 samples (crops, batch, time).
        draws : torch.Tensor, optional
            Uniform numbers for the augmentation (crops, batch, draws), on the CPU;
            without them the crops stay as they are.

        Returns
        -------
        torch.Tensor
            Normalised log-mels (crops batch, frames, mels).
        """
        with torch.autocast(self.device_type, enabled=False):
            waves = view.flatten(0, 1).float() / 32768
            lengths = torch.ones(len(waves), device=waves.device)
            if draws is not None:
                draws = draws.flatten(0, 1)
                waves = augmented(self.modules.augment, waves, lengths, draws)
            return self.modules.mean_var_norm(self.modules.compute_features(waves))

    def fit_batch(self, batch):
        """One batch: forward, backward and, unless accumulating, an optimiser step."""
        self.clock.batch_came()
        number = self._batches_before() + self.step
        should_step = self.step % self.grad_accumulation_factor == 0
        seed_step(self.hparams.seed, number, getattr(self, "rank", 0))
        self._apply_schedules()
        batch = batch.to(self.device)
        kept = KeptBuffers(*(self.modules[k] for k in (*self.networks, "loss")))
        with self.no_sync(not should_step):
            with self.training_ctx:
                outputs = self.compute_forward(batch, sb.Stage.TRAIN)
                loss = self.compute_objectives(outputs, batch, sb.Stage.TRAIN)
            self.scaler.scale(loss / self.grad_accumulation_factor).backward()
        self.finite = agreed(loss.detach().isfinite())
        kept.restore_unless(self.finite)
        if should_step:
            self.optimizers_step()
            self.after_step()
        self.modules.health.count(loss, self.finite)
        if self.step % self.hparams.log_every == 0 or self.step == len(self.loader):
            self.observe(outputs, batch)
            self.shown_loss = log_step(self, loss, number)
        self.clock.batch_done()
        return self.shown_loss

    def observe(self, outputs, batch):
        """Looks at a batch closely; called for some steps only."""

    def after_step(self):
        """Called after each optimiser step; ``self.finite`` says whether it moved."""

    def held_still(self):
        """Parameters that take no part in this step."""
        return ()

    def optimizers_step(self):
        """Clips over all groups, then steps unless loss or gradients are not finite."""
        self.scaler.unscale_(self.optimizer)
        for parameter in self.held_still():
            parameter.grad = None
        norm = clip_gradients(
            unwrap(self.trained).parameters(),
            self.hparams.clip_norm,
            self.hparams.clip_per_tensor,
        )
        self.finite = self.finite & norm.isfinite()
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)
        else:
            step_if(self.optimizer, self.finite)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer_step += 1

    @property
    def progress(self):
        """Epochs since the start, as a fraction that moves with optimiser steps."""
        accumulated = self.grad_accumulation_factor
        steps = max(len(self.loader) // accumulated, 1)
        done = max(self.step - 1, 0) // accumulated
        return (self.epoch - 1) + done / steps

    def _at(self, name, otherwise):
        """Value of a schedule now; before the first epoch that of its start."""
        schedule = getattr(self.hparams, f"{name}_schedule", None)
        if schedule is None:
            return otherwise
        return schedule(self.progress if self.epoch else 0.0)

    def _schedules_of_the_loss(self):
        """Names of the loss' attributes that the YAML has a schedule for."""
        others = ("lr", "weight_decay", "momentum")
        keys = [key for key, value in vars(self.hparams).items() if callable(value)]
        names = [k.removesuffix("_schedule") for k in keys if k.endswith("_schedule")]
        names = [name for name in names if name not in others]
        unknown = [name for name in names if not hasattr(self.modules.loss, name)]
        if unknown:
            raise ValueError(
                f"{unknown[0]}_schedule is for an attribute {unknown[0]!r} of the loss,"
                f" which {type(self.modules.loss).__name__} has not: set it to null"
            )
        return names

    def _apply_schedules(self):
        rate = self._at("lr", None)
        decay = self._at("weight_decay", None)
        groups = self.optimizer.param_groups
        for group in groups if rate is not None else ():
            group["lr"] = rate
        if decay is not None:
            groups[0]["weight_decay"] = decay  # the other holds biases and the like
        for name in self.loss_schedules:
            setattr(self.modules.loss, name, self._at(name, None))

    def _batches_before(self):
        return (self.epoch - 1) * len(self.loader)

    # -- figures --------------------------------------------------------------

    def update_average(self, loss, avg_loss):
        """The loss of the last logged step: an average would wait for the device."""
        return float(loss)

    def _should_save_intra_epoch_ckpt(self, last_ckpt_time, steps_since_ckpt):
        # Accumulated gradients are not saved: only between optimiser steps.
        if self.step % self.grad_accumulation_factor:
            return False
        return super()._should_save_intra_epoch_ckpt(last_ckpt_time, steps_since_ckpt)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Sums the epoch up, validates and saves; stops a run that has collapsed."""
        if stage != sb.Stage.TRAIN:
            return
        figures = self.modules.health.epoch_summary()
        figures["wait"] = self.clock.wait_share()
        number = self._batches_before() + self.step
        # What is saved from here on begins the next epoch.
        self.step, self.avg_train_loss = 0, 0.0
        if self.on_epoch_end is not None:
            self.on_epoch_end(self, epoch, figures)
        # Before saving: a run killed in between writes the line once more, after
        # forgetting this one; the other way round it would be lost.
        log_epoch(self, epoch, number, figures)
        if self.checkpointer is not None:
            save_epoch(self.checkpointer, epoch, figures, self.hparams.keep_checkpoints)
        with plain_errors(CollapseError):
            self.modules.health.check(figures)


def unwrap_distributed(module):
    """The module inside a DistributedDataParallel wrapper, or itself."""
    return module.module if isinstance(module, DistributedDataParallel) else module
