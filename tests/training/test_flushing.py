"""Checkpoints reach the disk on every system."""

import errno
import fcntl
import os
import stat

from speechbrain_dino.training import checkpoints


def test_only_what_may_be_written_is_flushed(tmp_path, monkeypatch):
    """As on Windows, where flushing a handle for reading fails."""
    flushed = []
    flush = os.fsync

    def windows(handle):
        read_only = fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        if read_only and not stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, "Bad file descriptor")
        flush(handle)
        flushed.append(handle)

    monkeypatch.setattr(checkpoints.os, "fsync", windows)
    (tmp_path / "weights.ckpt").write_bytes(b"12345")
    assert checkpoints._flushed_size(tmp_path / "weights.ckpt") == 5
    assert flushed
    assert (tmp_path / "weights.ckpt").read_bytes() == b"12345"
