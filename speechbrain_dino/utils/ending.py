"""How runs end: soon, with the right exit status, and with all their processes.

A run that ends by itself or fails needs only :func:`stop_workers` for its loader; the
rest is for SIGTERM, Ctrl-C, and the end of a run of several processes.
"""

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from datetime import timedelta
from functools import wraps

import torch.distributed as dist
from speechbrain.utils.distributed import ddp_barrier

GRACE = 3.0
"""Seconds for putting things in order, after which the process is ended."""

LONGEST_WAIT = timedelta(days=1)
"""How long processes wait for one that prepares, clusters or reports."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1


class _Ending:
    """The exit status that was decided on; one for the process."""

    status = None
    at_exit = False


def end_on_signals():
    """Makes SIGTERM and Ctrl-C end this process within seconds, with 128 + signal.

    ``SystemExit`` is raised, so that files are closed and drafts removed. Where that
    does not lead out, in a long computation, in code that catches everything, or in a
    collective operation whose partner is gone, the process ends after ``GRACE`` seconds
    all the same. For programs, not for libraries: handlers of the caller stay.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    own = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [number for number in _SIGNALS if signal.getsignal(number) in own]
    if not numbers:
        return
    # Written to in C: a thread learns of the signal while the main one is busy.
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, _raise_exit)
    threading.Thread(target=_watch, args=(reader, writer), daemon=True).start()
    sys.excepthook = _silent_after_signal(sys.excepthook)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)
    _end_at_exit()


def _raise_exit(number, frame):
    if _Ending.status is not None:  # the second signal
        _end()
    _Ending.status = 128 + number
    name = signal.Signals(number).name
    # Not through Python's buffers: they may be in the middle of a line.
    os.write(2, f"\nStopped by {name}.\n".encode())
    raise SystemExit(_Ending.status)


def _silent_after_signal(show):
    """What shows an exception that ends the program, unless a signal has ended it.

    Importing by name, as HyperPyYAML does, wraps ``SystemExit`` in errors of its own.
    """

    def excepthook(*error):
        if _Ending.status is None:
            show(*error)

    return excepthook


def _watch(reader, writer):
    """Waits for a signal; holds ``writer`` open."""
    while number := reader.recv(1):
        if number[0] in _SIGNALS:
            time.sleep(GRACE)
            _Ending.status = 128 + number[0]
            _end()


def _forget():
    """A forked worker does not decide how the run ends, and is ended by it."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _Ending.status = None


def _end():
    """Ends this process now and its workers with it."""
    for child in multiprocessing.active_children():
        child.kill()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(_Ending.status)


def _end_at_exit():
    if not _Ending.at_exit:
        atexit.register(_last)
        _Ending.at_exit = True


def _last():
    """Ends with the status that was decided on, whatever ``SystemExit`` became."""
    if _Ending.status is None:
        return
    if _Ending.status == 0 and getattr(sys, "last_type", None) is not None:
        _Ending.status = 1  # a traceback came after all was done
    atexit.unregister(_last)
    atexit._run_exitfuncs()  # the others, which this process does not come to
    _end()


def end_with_parent(worker=None):
    """Makes a worker (``worker_init_fn``) end with its parent, which handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not sys.platform.startswith("linux"):
        return  # PyTorch's workers look for their parent every few seconds
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():  # it ended just before
        os._exit(1)


def stop_workers(loader, seconds=2.0):
    """Ends the workers that a loader keeps between epochs; iterating starts new ones.

    Left to the end of the interpreter, PyTorch waits up to five seconds for each of
    them where it pins memory (pytorch/pytorch#81794); killed after ``seconds``.
    """
    iterator = getattr(loader, "_iterator", None)
    if iterator is None:
        return
    loader._iterator = None
    workers = list(iterator._workers)
    late = threading.Timer(seconds, _kill, [workers])
    late.daemon = True
    late.start()
    try:
        # A worker that is killed here would be reported as an error.
        with contextlib.suppress(RuntimeError):
            iterator._shutdown_workers()
    finally:
        late.cancel()
        _kill(workers)


def _kill(workers):
    for worker in workers:
        with contextlib.suppress(ValueError, AttributeError):  # it has ended
            worker.kill()


def wait_long():
    """Lets the processes of a run wait longer for each other than SpeechBrain does."""
    if dist.is_available() and dist.is_initialized():
        dist.distributed_c10d._set_pg_timeout(LONGEST_WAIT, dist.group.WORLD)
        # Through which NCCL's processes find each other at the first operation.
        dist.distributed_c10d._get_default_store().set_timeout(LONGEST_WAIT)


def leave_processes():
    """Ends a successful run of several processes together; the last thing it does.

    None leaves before the first has written its results, or the launcher, seeing one
    go, would end the others. The interpreter is not taken down: a thread of gloo that
    lets go of a tensor meanwhile aborts the process, and nothing stops those threads
    as long as anything holds the group, such as ``DistributedDataParallel``.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    ddp_barrier()
    dist.destroy_process_group()
    _Ending.status = 0
    _end_at_exit()


def together(run):
    """Decorates what a program does: its processes leave when all of them are done."""

    @wraps(run)
    def whole(*args, **kwargs):
        result = run(*args, **kwargs)
        leave_processes()
        return result

    return whole


def leave_group():
    """Leaves the group of processes of a run that failed; for ``atexit``."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
