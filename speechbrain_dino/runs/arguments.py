"""The words of a command line: a recipe, its keys, run options of SpeechBrain.

SpeechBrain's own parser cuts values at ``=`` and ``#`` and takes ``--eval`` for
``--eval_precision``; here words stay as they are written.
"""

import re
from typing import NamedTuple

from speechbrain.utils.run_opts import RunOptions

from speechbrain_dino.runs.keys import WRONG, converted
from speechbrain_dino.runs.rules import RULES, Rule

_FLAG, _COUNT, _WORD = Rule(bool), Rule(int, low=1), Rule(str)
ANYWHERE = {
    "device": Rule(str, nullable=True),
    "distributed_backend": Rule(str, choices=("nccl", "gloo", "mpi")),
    "log_config": Rule(str, nullable=True),
}
"""Run options of every recipe."""
TRAINING = {
    "test_only": _FLAG,
    "debug": _FLAG,
    "debug_batches": _COUNT,
    "debug_epochs": Rule(int),
    "debug_persistently": _FLAG,
    "find_unused_parameters": _FLAG,
    "compile": _FLAG,
    "compile_module_keys": Rule(list, nullable=True, of=str),
    "compile_mode": Rule(str, choices=("default", "reduce-overhead", "max-autotune")),
    "compile_using_fullgraph": _FLAG,
    "compile_using_dynamic_shape_tracing": _FLAG,
    "noprogressbar": _FLAG,
    "tqdm_colored_bar": _FLAG,
    "ckpt_interval_minutes": RULES["ckpt_interval_minutes"],
    "ckpt_interval_steps": RULES["ckpt_interval_steps"],
    "grad_accumulation_factor": _COUNT,
    "optimizer_step_limit": Rule(int, low=1, nullable=True),
    "profile_training": _FLAG,
    "profile_warmup": _COUNT,
    "profile_steps": _COUNT,
}
"""Run options of recipes that train."""
_SAFE = "a loss or gradient that is not finite never reaches the weights here"
REFUSED = {
    "max_grad_norm": "gradients are clipped by the recipe's key: give --clip_norm",
    "skip_nonfinite_grads": f"{_SAFE}: leave it out",
    "nonfinite_patience": f"{_SAFE}, and the run goes on: leave it out",
    "remove_vector_weight_decay": "biases and other vectors have no weight decay "
    "here: leave it out",
    "data_parallel_backend": "start with torchrun instead, for several GPUs",
    "eval_precision": "embeddings are computed in fp32 while training; verify.py and "
    "embed.py have --precision",
    "jit": "give --compile instead",
    "jit_module_keys": "give --compile --compile_module_keys instead",
    # They would change the precision behind the back of what is stored of it.
    "auto_mix_prec": "give --precision fp16 instead",
    "bfloat16_mix_prec": "give --precision bf16 instead",
}
"""Run options of SpeechBrain that would change nothing, and what to do."""
OWN = {
    "precision": Rule(str, choices=("auto", "bf16", "fp16", "fp32")),
    "allow_changed": Rule(list, of=str),
}
"""Options of recipes' scripts beside SpeechBrain's."""


_KNOWN = {
    **dict.fromkeys(REFUSED, _FLAG),
    **dict.fromkeys(("max_grad_norm", "nonfinite_patience", "eval_precision"), _WORD),
    "jit_module_keys": Rule(list),
    **ANYWHERE,
    **TRAINING,
    **OWN,
}
_NAME = re.compile(r"--([^\W\d][\w.\[\]]*)(?:=(.*))?", re.DOTALL)


class Arguments(NamedTuple):
    """The words of a command line, sorted.

    Arguments
    ---------
    hparams_file : str
        The recipe's path.
    options : dict
        Run options by name, each a list of its words.
    keys : dict
        Everything else by name, in the same way.
    """

    hparams_file: str
    options: dict
    keys: dict


def split_arguments(argv):
    """Sorts the words of a command line.

    Arguments
    ---------
    argv : list of str
        A recipe; ``--name value`` or ``--name=value``. The words after a name are its
        value up to the next name; of a flag's, one that says yes or no.

    Returns
    -------
    Arguments

    Raises
    ------
    ValueError
        If there is no recipe, or a name comes twice.

    Example
    -------
    >>> words = ["a.yaml", "--debug", "--lists", "[a,", "b]", "--x=a=b"]
    >>> words = split_arguments(words)
    >>> words.options, words.keys
    ({'debug': []}, {'lists': ['[a,', 'b]'], 'x': ['a=b']})
    """
    recipes, given, name = [], {}, None
    for word in argv:
        match = _NAME.fullmatch(word)
        if match is None and word.startswith("--"):
            raise ValueError(f"{word} is no option: write --key value")
        if match is None:
            words = given[name] if _takes(name, given, recipes, word) else recipes
            words.append(word)
            continue
        name, value = match.groups()
        if name in given:
            raise ValueError(f"--{name} is given twice: leave one of them out")
        given[name] = [] if value is None else [value]
    if not recipes:
        raise ValueError("name a recipe's YAML first; --help lists them")
    if len(recipes) > 1:
        raise ValueError(f"{recipes[1]!r} belongs to no option: write --key value")
    options = {name: words for name, words in given.items() if name in _KNOWN}
    keys = {name: words for name, words in given.items() if name not in _KNOWN}
    return Arguments(recipes[0], options, keys)


def _takes(name, given, recipes, word):
    """Whether a word belongs to the option before it."""
    if name is None:
        return False
    rule = _KNOWN.get(name, Rule(list))
    if rule.kind is bool:
        return not given[name] and converted(word, rule) is not WRONG
    if rule.kind is list:  # of a key, too: [a, b] comes as two words
        return bool(recipes) or not given[name]
    return not given[name]


def texts_of(arguments, keys):
    """What was written for a recipe's keys.

    Arguments
    ---------
    arguments : Arguments
        The command line. Of a key that is a run option as well, the recipe's counts.
    keys : collection of str
        The recipe's keys.

    Returns
    -------
    texts : dict
        Key -> text; keys that the recipe does not have are among them.
    options : dict
        The other run options, each a list of its words.
    """
    options = dict(arguments.options)
    given = {**arguments.keys, **{k: options.pop(k) for k in [*options] if k in keys}}
    for name, words in given.items():
        longer = [option for option in _KNOWN if option.startswith(name)]
        if name not in keys and longer:
            raise ValueError(f"--{name} is short for --{longer[0]}: write it out")
        if not words:
            raise ValueError(f"--{name} has no value: write --{name} VALUE")
    return {name: " ".join(words) for name, words in given.items()}, options


def read_options(options, hparams_file, trains):
    """Reads run options in their types.

    Arguments
    ---------
    options : dict
        Name -> its words.
    hparams_file : str
        The recipe's path.
    trains : bool
        Whether the recipe trains a network: most options are for that.

    Returns
    -------
    run_opts : speechbrain.utils.run_opts.RunOptions
        Those of SpeechBrain.
    own : dict
        ``precision`` and ``allow_changed``, where they were given.

    Raises
    ------
    ValueError
        At an option that would change nothing, and at a wrong value.
    """
    usable = {**ANYWHERE, **(TRAINING if trains else {}), **OWN}
    values = {}
    for name, words in options.items():
        if name in REFUSED:
            raise ValueError(f"--{name}: {REFUSED[name]}")
        if name not in usable:
            raise ValueError(f"--{name} is for recipes that train: leave it out")
        rule, text = usable[name], " ".join(words)
        if rule.kind is bool and not words:
            text = "yes"
        elif not words:
            raise ValueError(f"--{name} has no value: write --{name} VALUE")
        if rule.kind is list and "[" not in text:
            text = f"[{','.join(text.replace(',', ' ').split())}]"
        values[name] = converted(text, rule)
        if values[name] is WRONG:
            raise ValueError(f"--{name} {text}: expected {rule.expected()}")
    own = {name: values.pop(name) for name in OWN if name in values}
    given = {"param_file": hparams_file, "overridden_args": set(values)}
    return RunOptions(**values, **given), own
