"""The package's rooms import only what the table of rooms allows."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "speechbrain_dino"
ROOT_MODULES = {"__init__.py", "api.py", "demo.py"}
LONGEST = 400  # lines of a file that need not say why it is longer


def table():
    """Room -> rooms it may import, from the table of CONTRIBUTING.md."""
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", page, re.MULTILINE)
    allowed, above = {}, []
    for room, imports in rows:
        names = re.findall(r"\w+", imports)
        allowed[room] = set(above) if "above" in names else set(names)
        above.append(room)
    return allowed


def imported(path):
    """Rooms (or root modules) of the package that a file imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("speechbrain_dino."):
                yield name.split(".")[1]


def violations(room, allowed):
    return sorted(
        f"{path.relative_to(PACKAGE)} imports {other}"
        for path in (PACKAGE / room).rglob("*.py")
        for other in imported(path)
        if other != room and other not in allowed
    )


def test_the_table_names_every_room():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    rooms.remove("check")  # no room: the name of a command of ``runs``
    assert set(table()) == rooms and len(rooms) == 14
    assert {path.name for path in PACKAGE.glob("*.py")} == ROOT_MODULES


@pytest.mark.parametrize("room", sorted(table()))
def test_a_room_imports_what_the_table_allows(room):
    assert violations(room, table()[room]) == []


def test_violations_are_seen():
    assert "training/pretraining.py imports losses" in violations("training", set())


def test_long_files_say_why():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text("utf-8")
        if len(text.splitlines()) > LONGEST:
            assert "lines because" in text, path
