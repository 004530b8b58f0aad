"""What a training run consists of beside what its YAML describes."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from speechbrain.utils.run_opts import RunOptions
from torch.utils.data import DataLoader

from speechbrain_dino.data.crops import MultiCropDataset
from speechbrain_dino.data.manifest import Manifest


@dataclass
class Run:
    """A training run, filled in as its stages go by.

    Arguments
    ---------
    hparams : dict
        What the YAML describes.
    run_opts : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options.
    started : float
        Seconds since the epoch.
    prepared : dict
        Content of ``prepare.json``.
    lists : list of pathlib.Path
        Trial lists.
    test_manifest : Manifest, optional
        Their utterances.
    crops : MultiCropDataset, optional
        Crops of the training utterances.
    loader : torch.utils.data.DataLoader, optional
        Batches of these.
    labels : torch.Tensor, optional
        Class of each training utterance, int64 (N,), where training is on labels.
    num_classes : int, optional
        Size of the output layer.
    class_names : list of str, optional
        Names of the classes.
    validator : callable, optional
        Called by the brain after each epoch; the one of pretraining if not given.
    tested : tuple, optional
        Manifest and labels that a fold is tested on.
    """

    hparams: dict
    run_opts: RunOptions
    started: float = field(default_factory=time.time)
    prepared: dict = field(default_factory=dict)
    lists: list = field(default_factory=list)
    test_manifest: Manifest = None
    crops: MultiCropDataset = None
    loader: DataLoader = None
    labels: torch.Tensor = None
    num_classes: int = None
    class_names: list = None
    validator: object = None
    tested: tuple = None

    @property
    def folder(self):
        """Where the run writes."""
        return Path(self.hparams["output_folder"])

    @property
    def data_folder(self):
        """Where its data is prepared."""
        return Path(self.hparams["data_save_folder"])
