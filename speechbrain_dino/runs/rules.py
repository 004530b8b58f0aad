"""Rules of a recipe's keys: types, ranges and choices.

The type of a key is that of its value in the recipe; :data:`RULES` adds what a value
alone does not say.
"""

from typing import NamedTuple


class Rule(NamedTuple):
    """What a key's value may be.

    Arguments
    ---------
    kind : type
        int, float, bool, str or list; float takes integers as well.
    low, high : float, optional
        Bounds of a number, both included.
    above : float, optional
        Lower bound of a number, excluded.
    choices : tuple of str, optional
        Values of a text.
    nullable : bool
        Whether null is a value too.
    words : tuple of str
        Words that may stand in place of a number.
    of : type, optional
        Type of a list's items: int, float or str.
    several : bool
        Whether a list of texts may stand in place of a text.
    """

    kind: type
    low: float = None
    high: float = None
    above: float = None
    choices: tuple = None
    nullable: bool = False
    words: tuple = ()
    of: type = None
    several: bool = False

    def expected(self):
        """The rule in words.

        Example
        -------
        >>> Rule(int, low=1, nullable=True).expected()
        'an integer of at least 1, or null'
        """
        text = _NAMES.get(self.kind, "text")
        if self.of in (int, float):
            text = "a list of numbers" if self.of is float else "a list of integers"
        if self.choices:
            text = " or ".join([", ".join(self.choices[:-1]), self.choices[-1]])
            text = text.removeprefix(" or ")
        if self.above is not None:
            text += f" above {self.above}"
        elif self.low is not None and self.high is not None:
            text += f" from {self.low} to {self.high}"
        elif self.low is not None:
            text += f" of at least {self.low}"
        others = [*self.words, *(["null"] if self.nullable else [])]
        return ", or ".join([text, *others])


_NAMES = {int: "an integer", float: "a number", bool: "True or False", list: "a list"}
_COUNT, _NUMBER = Rule(int, low=1), Rule(int, low=0)
_AMOUNT, _POSITIVE = Rule(float, low=0), Rule(float, above=0)
_SHARE, _TEXT = Rule(float, low=0, high=1), Rule(str)
_GROUPS = (
    (
        _COUNT,
        "batch_size number_of_epochs embedding_dim n_mels log_every "
        "validate_every average_last keep_checkpoints rounds num_folds bottleneck_dim "
        "hidden_dim expanded_dim projection_dim projector_dim queue_size sub_centers "
        "utterances_per_item top_n cluster_every test_actors valid_actors",
    ),
    (Rule(int, low=0, high=2**32 - 1), "seed fold_seed"),
    (
        _NUMBER,
        "num_workers local_crops global_crops validate_lists "
        "bootstrap ckpt_interval_steps workers affine_epochs "
        "main_epochs large_margin_epochs correct_from_epoch gate_from_epoch",
    ),
    (
        _AMOUNT,
        "min_duration batch_seconds base_lr affine_lr final_lr large_margin_lr "
        "weight_decay warmup_epochs cosine_warmup_epochs margin_warmup_epochs margin "
        "large_margin freeze_last_layer_epochs ckpt_interval_minutes cosine_weight "
        "koleo_weight regularizer_ramp stop_below",
    ),
    (
        _POSITIVE,
        "temp scale gate_bound plda_means f_max steps_per_epoch",
    ),
    # An encoder sees some frames at least, and memory holds a batch.
    (Rule(float, low=0.1, high=600), "global_seconds local_seconds chunk_seconds"),
    (Rule(float, low=0.1, high=600), "large_margin_seconds"),
    (Rule(float, low=0.1), "embed_seconds"),
    (Rule(int, low=2), "valid_utterances"),
    (Rule(int, low=1000, high=384000), "sample_rate"),
    (
        _SHARE,
        "noise_prob reverb_prob teacher_momentum cluster_after ssps_after",
    ),
    (_COUNT._replace(nullable=True), "out_dim patience lda_dim min_size max_size"),
    (_AMOUNT._replace(nullable=True), "clip_norm window_seconds"),
    (_SHARE._replace(nullable=True), "pca_variance min_posterior"),
    (_POSITIVE._replace(nullable=True), "num_means noise_max_hours"),
    (Rule(float, nullable=True), "threshold plda_threshold"),
    (_TEXT._replace(several=True), "data_folder"),
    (_TEXT, "output_folder save_folder data_save_folder embedding_folder"),
    (
        _TEXT._replace(nullable=True),
        "noise_folder rir_folder metadata model start_model first_model cluster_labels "
        "labels_file truth embedding_layer utterances calibration_list fold",
    ),
    (Rule(list, nullable=True, of=int), "count_range"),
    (Rule(list, nullable=True, of=str), "train_splits"),
    (Rule(list, of=int), "train_size"),
    (Rule(list, of=str), "trial_lists fuse layers test_sets affine_layers"),
)
RULES = {
    **{key: rule for rule, keys in _GROUPS for key in keys.split()},
    "num_clusters": Rule(int, low=1, nullable=True, words=("auto",)),
    "placement": Rule(str, choices=("independent", "disjoint")),
    "student_crops": Rule(str, choices=("all", "local")),
    "check_audio": Rule(str, choices=("headers", "full")),
    "teacher_buffers": Rule(str, choices=("own", "student", "averaged")),
    "start_from": Rule(str, choices=("fresh", "first", "previous")),
    "precision": Rule(str, choices=("auto", "bf16", "fp16", "fp32")),
    "on_bad": Rule(str, choices=("skip", "fail", "keep")),
    "channel": Rule(str, choices=("mix", "left", "right")),
    "cohort_by": Rule(str, choices=("utterance", "speaker")),
    "shared_speakers": Rule(str, choices=("error", "leave_out")),
    "leave_out": Rule(str, choices=("session", "speaker")),
    "script": Rule(str, choices=("all", "improvised", "scripted")),
    "kind": Rule(str, choices=("auto", "classes", "numbers")),
    "class_weight": Rule(str, choices=("balanced",), nullable=True),
}
_PARTS = (
    "brain clusterer compute_features embedding_model epoch_counter health loss "
    "mean_var_norm modules opt_class prepare prepare_noise probe_data run scorings "
    "train_logger"
)
NEEDED = frozenset(_PARTS.split())
"""Objects that no recipe can do without."""


def rule_of(key, default):
    """The rule of a key, from :data:`RULES` and its value in the recipe.

    Arguments
    ---------
    key : str
        The key.
    default : object
        Its value in the recipe, as ruamel.yaml reads it.

    Returns
    -------
    Rule or None
        None where anything may stand: tagged values, mappings, null.

    Example
    -------
    >>> rule_of("hop", 10).kind, rule_of("gamma", 0.5).kind
    (<class 'float'>, <class 'float'>)
    """
    tag = tag_of(default)
    if is_object(default) or (tag and tag not in ("!ref", "!PLACEHOLDER")):
        return None
    if key in RULES:
        rule = RULES[key]
        return rule._replace(nullable=rule.nullable or default is None)
    if tag is not None:
        return Rule(str) if tag == "!PLACEHOLDER" else None
    if isinstance(default, list):
        return Rule(list, nullable=True, of=_item_type(default))
    for kind in (bool, float, str):
        if isinstance(default, kind):
            return Rule(kind, nullable=kind is not bool, several=kind is str)
    # A number that may just happen to be whole in this recipe.
    return Rule(float, nullable=True) if isinstance(default, int) else None


def tag_of(node):
    """The YAML tag of a value as ruamel.yaml reads it, None without one."""
    return getattr(getattr(node, "tag", None), "value", None)


def is_object(default):
    """Whether a value of a recipe is one that is built, called or passed on."""
    return (tag_of(default) or "").startswith(("!new:", "!name:", "!apply:"))


def _item_type(values):
    """float or str where all items are numbers, or text; None otherwise."""
    for item, kinds in ((float, (int, float)), (str, str)):
        if values and all(isinstance(v, kinds) for v in values):
            return item
    return None
