"""The floating-point precision of networks: ``precision: auto`` and what it becomes."""

import logging
import re
import time
from functools import lru_cache
from typing import NamedTuple

import torch
from torch.nn.functional import conv1d

logger = logging.getLogger(__name__)

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
PRECISIONS = ("auto", *DTYPES)
# Hardware takes 0.5 to 0.9 times the time of fp32, emulation 2.4 times (AVX-512 without
# bf16) to 20 times (AVX2).
_SLOW = 1.5


class Bf16Support(NamedTuple):
    """What a device, by its type (``cpu``, ``cuda`` ...), does with bf16.

    ``native``: whether its hardware computes it, None where that is not known.
    ``factor``: time of bf16 over that of fp32, where measured.
    """

    device: str
    native: bool = None
    factor: float = None


class Choice(NamedTuple):
    """A precision, a line that gives the reason, and whether to warn of it."""

    precision: str
    reason: str
    warn: bool = False

    def log(self):
        """Logs the precision with its reason."""
        level = logging.WARNING if self.warn else logging.INFO
        logger.log(level, "precision %s: %s", self.precision, self.reason)


def check_precision(precision):
    """Raises ValueError at anything but the names in ``PRECISIONS``."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"precision is {precision!r}; expected one of {', '.join(PRECISIONS)}"
        )


def choose_precision(asked, support, stored=None):
    """Decides what to compute in, as a :class:`Choice`.

    A name is obeyed. ``auto`` keeps the precision ``stored`` by a resumed run, so that
    it continues with the same bits; a new run gets bf16 where the hardware computes
    it, fp16 on older CUDA GPUs, and fp32 elsewhere. Raises ValueError at a name that is
    not in ``PRECISIONS``, and at fp16 on a CPU.

    Example
    -------
    >>> choose_precision("auto", Bf16Support("cuda", native=False)).precision
    'fp16'
    """
    check_precision(asked)
    if asked == "fp16" and support.device == "cpu":
        raise ValueError(
            "precision is fp16, which is for GPUs, and the device is cpu: take auto, "
            "bf16 or fp32"
        )
    if asked != "auto":
        precision, reason = asked, "as given"
    elif stored == "fp16" and support.device != "cuda":
        precision, reason = "fp32", "fp16 would need a CUDA GPU"
    elif stored is not None:
        precision, reason = stored, "kept, this run began with it"
    else:
        precision, reason = _best(support)
    if stored not in (None, precision):
        reason += f"; the run was computed in {stored} so far"
    slow = precision == "bf16" and support.native is False
    if slow:
        reason += f"; but {_emulated(support)}. Faster: --precision "
        reason += "fp16" if support.device == "cuda" else "fp32"
    return Choice(precision, reason, warn=slow or stored not in (None, precision))


def _best(support):
    device = "CPU" if support.device == "cpu" else "GPU"
    if support.device not in ("cpu", "cuda"):
        return "fp32", f"the safe choice on {support.device}"
    if support.native and support.factor is not None:
        took = f"in {support.factor:.1f} times the time of fp32"
        return "bf16", f"chosen as this {device} computes it, {took}"
    if support.native:
        return "bf16", f"chosen as this {device} computes it"
    other = "fp32" if support.device == "cpu" else "fp16"
    return other, f"chosen as {_emulated(support)}"


def _emulated(support):
    if support.device != "cpu":
        return "this GPU has no bf16 arithmetic"
    if support.factor is None:
        return "this CPU has no bf16 arithmetic"
    return f"this CPU emulates bf16, in {support.factor:.0f} times the time of fp32"


def bf16_support(device, wanted=False):
    """Bf16Support of a device such as ``cuda:1``; ``wanted``: measure in any case.

    On a CPU a measurement has to confirm its instructions: oneDNN may be held to less
    than the CPU has (``ONEDNN_MAX_CPU_ISA``) or lack a kernel.
    """
    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_available():
        with torch.cuda.device(device):
            # With emulation the answer is yes on a T4, too.
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Bf16Support("cuda", native)
    if device.type != "cpu":
        return Bf16Support(device.type)
    instructions = cpu_has_bf16()
    if not (instructions or wanted):
        return Bf16Support("cpu", False)
    factor = measured_factor()
    return Bf16Support("cpu", instructions and factor < _SLOW, factor)


def cpu_has_bf16():
    """Whether the CPU has instructions that multiply bf16."""
    able = torch.cpu.get_capabilities()
    # "bf16" is Arm's.
    return any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


@lru_cache(1)
def measured_factor(repeats=5):
    """Time that bf16 takes on this CPU over that of fp32.

    A small convolution and its gradient on one thread, by that thread's own clock:
    neither other processes nor waiting threads count. The two take turns, and the
    shortest of ``repeats`` measurements of each counts.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = {dtype: [] for dtype in (torch.float32, torch.bfloat16)}
        for _ in range(repeats):
            for dtype, measured in seconds.items():
                measured.append(_convolution_seconds(dtype))
    finally:
        torch.set_num_threads(threads)
    return min(seconds[torch.bfloat16]) / min(seconds[torch.float32])


def _convolution_seconds(dtype):
    # No random numbers: the run's own must not depend on this.
    waves = torch.full((2, 128, 200), 0.5, dtype=dtype, requires_grad=True)
    kernel = torch.full((128, 128, 3), 0.5, dtype=dtype, requires_grad=True)
    started = time.thread_time()
    with torch.inference_mode(False), torch.enable_grad():
        result = conv1d(waves, kernel)
        torch.autograd.grad(result, (waves, kernel), torch.ones_like(result))
    return time.thread_time() - started


@lru_cache
def resolved_precision(asked, device):
    """What a name in ``PRECISIONS`` becomes on a device, where no run is resumed.

    What ``auto`` becomes, or that bf16 is slow there, is logged once per process.
    """
    if asked == "fp32":
        return asked
    check_precision(asked)
    choice = choose_precision(asked, bf16_support(device, wanted=asked == "bf16"))
    if asked == "auto" or choice.warn:
        choice.log()
    return choice.precision


def stored_precision(settings):
    """The precision in the ``hyperparams.yaml`` that a run left behind, or None."""
    word = stored_word(settings, "precision")
    return word if word in DTYPES else None


def stored_word(settings, key):
    """What a ``hyperparams.yaml`` has for a key with a plain value, None if nothing."""
    if not settings.is_file():
        return None
    text = settings.read_text("utf-8", "replace")
    line = re.search(rf"^{re.escape(key)}: *([\w.]+)", text, re.MULTILINE)
    return line and line[1]


def autocast(device, precision):
    """Autocast to bf16 or fp16 on a device; nothing at all for fp32.

    Example
    -------
    >>> layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    >>> with autocast("cpu", "bf16"):
    ...     layer(x).dtype
    torch.bfloat16
    """
    kind = torch.device(device).type
    if precision == "fp32":
        return torch.autocast(kind, enabled=False)
    return torch.autocast(kind, DTYPES[precision])
