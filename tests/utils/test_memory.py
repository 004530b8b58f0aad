"""Memory that glibc keeps."""

import subprocess
import sys

import pytest

ALLOCATES = """
import ctypes, platform, resource, torch
from speechbrain_dino.utils.allocator import keep_freed_memory
kept = keep_freed_memory()
assert kept == (platform.libc_ver()[0] == "glibc"), kept
for _ in range(20):  # the heap grows for a while before what was freed fits
    torch.ones(32 * 2**20 // 4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(32 * 2**20 // 4)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is a matter of Linux")
def test_freed_tensors_cost_no_new_pages():
    # In a process of its own: the settings cannot be taken back.
    done = subprocess.run(
        [sys.executable, "-c", ALLOCATES], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    kept, faults = done.stdout.split()
    if kept == "False":
        pytest.skip("the C library is not glibc")
    # Mapping them again would fault on 20 x 8192 pages of 4 kB.
    assert int(faults) < 4000


def test_elsewhere_nothing_happens(monkeypatch):
    from speechbrain_dino.utils import allocator as memory

    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False


def test_a_c_library_without_mallopt_is_left_alone(monkeypatch):
    from speechbrain_dino.utils import allocator as memory

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    monkeypatch.setattr(memory.sys, "platform", "linux")
    assert memory.keep_freed_memory() is False
