"""Keeps glibc from handing large tensors back to the kernel after every use."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory():
    """Makes glibc keep the memory of freed tensors; returns whether it took that.

    For training on the CPU: by default every tensor above 32 MB is mapped again and its
    pages are cleared by the kernel once more. Call it first thing: one arena serves all
    threads only if the backward pass's thread has none yet. Without glibc: False.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Other arenas than the main one cannot grow past 64 MB without mapping.
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_ARENA_MAX, 1))
    return all(mallopt(key, value) == 1 for key, value in settings)
