"""A paper's tables beside what its recipes gave here, as a page."""

from pathlib import Path

from speechbrain_dino.reports.page import write_page
from speechbrain_dino.utils.checked_json import DamagedFileError, read_checked


def write_reproduction(output_folder, plan, states, made_with):
    """Writes ``report/index.html``.

    Arguments
    ---------
    output_folder : str or path
        Folder of the reproduction, with a folder for each stage.
    plan, states : dict
        See ``runs.reproduce``.
    made_with : dict
        Provenance, for the end of the page.

    Returns
    -------
    pathlib.Path
        The page.
    """
    output = Path(output_folder)
    tables = {
        table["title"]: table_rows(output, table, states)
        for table in plan["tables"].values()
    }
    stages = [("stage", "", "minutes", "command")]
    for name in plan["stages"]:
        state = states.get(name, {"status": "to do"})
        status = state["status"]
        if state.get("missing"):
            status += f", without {', '.join(state['missing'])}"
        minutes = state.get("seconds")
        minutes = "" if minutes is None else f"{minutes / 60:.1f}"
        stages.append((name, status, minutes, state.get("command", "")))
    return write_page(
        output,
        "reproduction.html",
        {},
        title=plan["title"],
        summary=plan["summary"],
        tables=tables,
        stages=stages,
        reports=[
            name
            for name in plan["stages"]
            if (output / name / "report" / "index.html").is_file()
        ],
        made_with={k: v for k, v in made_with.items() if k != "seed"},
    )


def table_rows(output, table, states):
    """Rows of a table: names, then by column the paper's figure, if any, and ours.

    Arguments
    ---------
    output : pathlib.Path
        Folder of the reproduction.
    table : dict
        ``columns`` and ``rows``: each with ``name`` and, as far as there are any,
        ``paper`` (column -> figure) and ``ours`` (column -> stage, file in its folder
        and keys in that).
    states : dict
        Stage -> ``status``.

    Returns
    -------
    list of tuple
        The first one holds the heads. What is not there yet is "", what was skipped
        or failed is said.
    """
    published = {column for row in table["rows"] for column in row.get("paper", {})}
    heads = [""]
    for column in table["columns"]:
        pair = [f"{column}, paper", f"{column}, here"]
        heads += pair if column in published else [column]
    rows = [tuple(heads)]
    for row in table["rows"]:
        cells = [row["name"]]
        for column in table["columns"]:
            if column in published:
                figure = row.get("paper", {}).get(column)
                cells.append("" if figure is None else f"{figure:.2f}")
            place = row.get("ours", {}).get(column)
            cells.append("" if place is None else _measured(output, place, states))
        rows.append(tuple(cells))
    return rows


def _measured(output, place, states):
    stage, file, *keys = place
    status = states.get(stage, {}).get("status", "to do")
    if status != "done":
        return status.split(":")[0]
    try:
        value = read_checked(output / stage / file)
        for key in keys:
            value = value[key]
        return f"{100 * value:.2f}"
    except (OSError, DamagedFileError, KeyError, TypeError):
        return f"no {file}: {'/'.join(map(str, keys))}"
