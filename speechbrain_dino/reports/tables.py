"""Tables of verification results in a report."""

from html import escape

_PERCENT = "{:.2f} %".format
_FIGURES = (
    ("EER", "eer", lambda value: _PERCENT(100 * value)),
    ("minDCF (0.01)", "min_dcf_0.01", "{:.4f}".format),
    ("minDCF (0.05)", "min_dcf_0.05", "{:.4f}".format),
    ("actDCF (0.01)", "act_dcf_0.01", "{:.4f}".format),
    ("actDCF (0.05)", "act_dcf_0.05", "{:.4f}".format),
    ("Cllr", "cllr", "{:.4f}".format),
    ("minCllr", "min_cllr", "{:.4f}".format),
)
# Every run has it, but it is there to be compared with Cllr.
_SHOWN_WITH = {"min_cllr": "cllr"}


def results_table(runs):
    """EER and costs of every list, run and way to score, before and after training.

    Arguments
    ---------
    runs : list of speechbrain_dino.reports.run_folder.RunFolder
        The runs, the first one first.

    Returns
    -------
    str
        HTML, empty without results.
    """
    entries = [
        (run, way, about) for run in runs for way, about in _ways(run.results).items()
    ]
    lists = dict.fromkeys(name for _, _, about in entries for name in about["lists"])
    if not lists:
        return ""
    before = {run.name: run.results.get("verification_before", {}) for run in runs}
    shown = [
        (title, key, form, any(key in f for b in before.values() for f in b.values()))
        for title, key, form in _FIGURES
        if any(
            _SHOWN_WITH.get(key, key) in figures
            for _, _, about in entries
            for figures in about["lists"].values()
        )
    ]
    has_ways = any(way for _, way, _ in entries)
    has_cohort = any("cohort" in about for _, _, about in entries)
    head = [("trial list", "")]
    head += [("run", "")] * (len(runs) > 1) + [("scoring", "")] * has_ways
    for title, _, _, earlier in shown:
        head += [(f"{title} before", "number")] * earlier
        head += [(f"{title} after" if earlier else title, "number")]
    head += [("threshold", "number"), ("trials", "number")]
    head += [("cohort", "")] * has_cohort
    lines = ["".join(f'<th class="{kind}">{escape(t)}</th>' for t, kind in head)]
    for name in lists:
        for run, way, about in entries:
            figures = about["lists"].get(name)
            if figures is None:
                continue
            line = _name(name)
            line += _name(run.name) if len(runs) > 1 else ""
            line += _name(way) if has_ways else ""
            for _, key, form, earlier in shown:
                old = before[run.name].get(name, {})
                line += _number(old, key, form) if earlier else ""
                line += _number(figures, key, form, key == "eer")
            line += _number(figures, "eer_threshold", "{:.4f}".format)
            line += _number(figures, "trials", "{:,}".format)
            line += _name(_cohort_size(about)) if has_cohort else ""
            lines.append(line)
    return _table(lines) + _notes([about for _, _, about in entries])


def _notes(entries):
    """Where cohorts, intervals and calibrations come from."""
    notes = []
    sources = dict.fromkeys(about["cohort"] for about in entries if "cohort" in about)
    if sources:
        notes.append(f"Cohort: {'; '.join(sources)}.")
    if any("intervals" in f for about in entries for f in about["lists"].values()):
        notes.append("Below a figure: its 95 % interval over draws of speakers.")
    learned = dict.fromkeys(
        about["calibration_list"] for about in entries if "calibration_list" in about
    )
    if learned:
        notes.append(
            f"Calibration and fusion were learned on {'; '.join(learned)}, which is "
            "left out there."
        )
    notes += dict.fromkeys(
        f"{number:,} trials of {name} stand in the list learned on as well."
        for about in entries
        for name, number in about.get("known_trials", {}).items()
        if number
    )
    notes += dict.fromkeys(
        f"Fusion of {', '.join(about['systems'])}."
        for about in entries
        if len(about.get("systems", ())) > 1
    )
    return f'<p class="caption">{escape(" ".join(notes))}</p>\n' if notes else ""


def _ways(results):
    """Way to score -> what was found; "" where there is but one."""
    if results.get("scorings"):
        return results["scorings"]
    return {"": {"lists": results.get("verification", {})}}


def _cohort_size(about):
    if "cohort" not in about:
        return "-"
    return "{cohort_size:,} {cohort_by}s".format(**about)


def conditions_table(results):
    """EER of the trials of each condition, a column per way to score.

    Arguments
    ---------
    results : dict
        Content of results.json.

    Returns
    -------
    str
        HTML, empty without conditions.
    """
    ways = {
        way: about["conditions"]
        for way, about in _ways(results).items()
        if any(about.get("conditions", {}).values())
    }
    if not ways:
        return ""
    titles = ["trial list", "condition", "value"]
    head = "".join(f"<th>{title}</th>" for title in titles)
    for title in [*(f"EER, {way}" for way in ways), "targets", "impostors"]:
        head += f'<th class="number">{escape(title)}</th>'
    lines, first = [head], next(iter(ways.values()))
    for name, conditions in first.items():
        for number, line in enumerate(conditions):
            cells = _name(name) + _name(line["condition"]) + _name(line["value"])
            for found in ways.values():
                # Fusion has nothing of the list on which it was learned.
                figures = found[name][number] if name in found else {}
                cells += _number(figures, "eer", _FIGURES[0][2])
            impostors = f"{line['trials'] - line['targets']:,}"
            impostors += "" if line["impostors"] == "own" else " (all of the list)"
            cells += _number(line, "targets", "{:,}".format)
            lines.append(cells + f'<td class="number">{impostors}</td>')
    return _table(lines)


def _table(lines):
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>\n{body}\n</table></div>\n'


def _name(text):
    return f'<td class="name">{escape(text)}</td>'


def _number(figures, key, form, main=False):
    text = form(figures[key]) if key in figures else "-"
    interval = figures.get("intervals", {}).get(key)
    if interval:
        low, high = map(form, interval)
        text += f' <span class="interval">{low.removesuffix(" %")} - {high}</span>'
    return f'<td class="number{" main" if main else ""}">{text}</td>'
