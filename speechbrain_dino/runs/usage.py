"""What ``--help`` prints: the script, the recipe's keys, SpeechBrain's run options."""

import re
import shutil
import sys
import textwrap
from pathlib import Path

from speechbrain.utils.run_opts import RunOptions

from speechbrain_dino.runs.arguments import REFUSED, TRAINING
from speechbrain_dino.runs.recipe_yaml import read_recipe, recipe_files
from speechbrain_dino.runs.resume import CONDITIONS
from speechbrain_dino.runs.rules import RULES

_KEY = re.compile(r"^(\w+):(?: +(.*?))?(?: +#\s*(.*))?$")
_SECTION = re.compile(r"^# (.+?) -{3,}$")
ALLOW_CHANGED = f"keys that may differ from before, and {', '.join(CONDITIONS)}"


def help_asked(argv):
    """Whether the command line asks for help."""
    return any(word in ("-h", "--help") for word in argv)


def print_help(argv):
    """Prints help on the script and, if a recipe is named, on its keys.

    Arguments
    ---------
    argv : list of str
        The command line.
    """
    recipes = [word for word in argv if word.endswith((".yaml", ".yml"))]
    script = sys.modules["__main__"]
    print(examples())
    if not recipes:
        script = Path(getattr(script, "__file__", "train.py"))
        print(f"\nRecipes (python {script.name} RECIPE --help lists a recipe's keys):")
        print("\n".join(recipe_lines(script)))
        return
    path = Path(recipes[0])
    if not path.is_file():
        raise SystemExit(f"{path} is no file: name a recipe's YAML.")
    print(f"\n{path}\n{textwrap.indent(_head(path), '  ')}")
    lines = key_lines(path)
    print("\n".join(lines))
    trains = re.search("^brain:", read_recipe(path), re.MULTILINE)
    if trains:
        print("\nTo continue a run that began with other values:")
        print(_columns("--allow_changed KEY,KEY", ALLOW_CHANGED))
    print("\nRun options of SpeechBrain:")
    keys = {line.split()[0] for line in lines if line.startswith("  --")}
    keys |= set() if trains else {f"--{name}" for name in TRAINING}
    print("\n".join(option_lines(left_out=keys)))


def examples():
    """What the script that was started does, with its examples; for argparse."""
    text = sys.modules["__main__"].__doc__ or ""
    return text.split("\nAuthors\n")[0].strip()


def _width():
    """Columns of the terminal, as far as lines of text should be long."""
    return max(60, min(shutil.get_terminal_size().columns, 88))


def recipe_lines(script):
    """The recipes whose heads give a command of the script, with their titles."""
    names = []
    for path in sorted((script.parent / "hparams").glob("*.yaml")):
        if f"{script.name} hparams/{path.name}" in _head(path):
            names.append((f"hparams/{path.name}", _title(path)))
    width = max((len(name) for name, _ in names), default=0) + 2
    short = {"width": _width() - width - 2, "placeholder": " ..."}
    short["break_on_hyphens"] = False
    return [f"  {n:{width}}{textwrap.shorten(title, **short)}" for n, title in names]


def _head(path):
    """The comment at the head of a recipe."""
    lines = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        if set(line) - set("# "):
            lines.append(line.lstrip("#").removeprefix(" "))
    return "\n".join(lines)


def _title(path):
    return _head(path).split("\n")[0] if _head(path) else ""


def key_lines(path):
    """The keys of a recipe with values and comments, in its sections.

    Arguments
    ---------
    path : str or path
        The YAML; what it extends counts as well.

    Returns
    -------
    list of str

    Example
    -------
    >>> path = getfixture("tmp_path") / "x.yaml"
    >>> text = "# Data ---\\nseed: 1  # of draws\\nn_mels: 80\\nnet: !new:a.B\\n"
    >>> _ = path.write_text(text)
    >>> print("\\n".join(key_lines(path)))
    <BLANKLINE>
    Data
      --seed 1                                of draws
      --n_mels 80                             an integer of at least 1
    <BLANKLINE>
    Parts, replaced in the YAML: net
    """
    place, comment, values = {}, {}, {}
    for file in recipe_files(path):
        section = ""
        for line in Path(file).read_text("utf-8").splitlines():
            heading, key = _SECTION.match(line), _KEY.match(line)
            if heading:
                section = heading[1]
            elif key:
                name = key[1]
                place.setdefault(name, section)
                values[name] = key[2] or ""
                comment[name] = key[3] or comment.get(name, "")
    place.pop("extends", None)
    parts = [name for name in place if not values[name] or values[name][0] in "!{"]
    parts = [n for n in parts if not values[n].startswith(("!ref", "!PLACEHOLDER"))]
    lines, section = [], ""
    # Sections in the order in which they come first.
    for heading in dict.fromkeys(place.values()):
        for name in (n for n in place if place[n] == heading and n not in parts):
            if heading != section:
                lines += ["", heading]
                section = heading
            value = values[name].replace("!PLACEHOLDER", "(needed)")
            left = f"--{name} {value.replace('!ref ', '')}"
            lines.append(_columns(left, comment[name] or _expected(name)))
    names = ", ".join(name for name in parts if not name.startswith("__"))
    names = f"Parts, replaced in the YAML: {names}"
    return [*lines, "", textwrap.fill(names, _width(), subsequent_indent="  ")]


def _expected(name):
    """What a key's value may be, where its rule says more than its type."""
    text = RULES[name].expected() if name in RULES else ""
    return "" if text in ("text", "text, or null", "a list") else text


def option_lines(left_out=()):
    """SpeechBrain's run options in order of names, but for keys of the recipe."""
    left_out = {"--help", *left_out, *(f"--{name}" for name in REFUSED)}
    actions = RunOptions._create_parser()._actions
    named = {a.option_strings[-1]: a for a in actions if a.option_strings}
    lines = []
    for name in sorted(named):
        if name in left_out:
            continue
        text = " ".join((named[name].help or "").replace("%%", "%").split())
        lines.append(_columns(name, text))
    return lines


def _columns(left, right):
    if not right:
        return f"  {left}"
    wrapped = textwrap.wrap(right, _width() - 42) or [""]
    if len(left) > 38:
        return "\n".join([f"  {left}", *(" " * 42 + line for line in wrapped)])
    first = f"  {left:40}{wrapped[0]}"
    return "\n".join([first, *(" " * 42 + line for line in wrapped[1:])])
