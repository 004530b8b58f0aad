"""The ledger: what it keeps, and when it forgets."""

import os

from speechbrain_dino.data.file_notes import Ledger


def test_forgets_changed_files_and_survives_half_a_line(tmp_path):
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file in files:
        file.write_text("1", encoding="utf-8")
    path = tmp_path / "notes.jsonl"
    with Ledger(path) as ledger:
        for number, file in enumerate(files):
            ledger.put(str(file), [number])
    with open(path, "a", encoding="utf-8") as file:
        file.write('["/half", 1, 2, [3]')
    with Ledger(path) as ledger:
        ledger.put(str(files[0]), ["newer"])
    stat = files[1].stat()
    os.utime(files[1], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    files[2].unlink()
    ledger = Ledger(path)
    assert [ledger.get(str(f)) for f in files] == [["newer"], None, None]
    assert ledger.get("/half") is None
