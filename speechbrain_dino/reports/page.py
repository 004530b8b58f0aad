"""HTML parts of a report: one page, no script, nothing loaded from elsewhere."""

from html import escape

_STYLE = """
:root { color-scheme: light; }
body { margin: 0; background: #f4f6f8; color: #222831;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
  sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 10px; }
p.summary { color: #5c6670; margin: 4px 0 22px; }
section { background: #fff; border: 1px solid #e1e5ea; border-radius: 10px;
  padding: 18px 22px; margin-bottom: 18px; }
img { width: 100%; height: auto; display: block; }
p.caption { color: #5c6670; font-size: 13.5px; margin: 0 0 8px; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 4px 0 8px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 5px 18px 5px 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid #eceff2; overflow-wrap: break-word; }
th { color: #5c6670; font-weight: 600; font-size: 13.5px; }
tr:first-child th { vertical-align: bottom; }
td.number, th.number { text-align: right; }
td.number, td.name { white-space: nowrap; }
td.main { font-weight: 700; }
span.interval { color: #5c6670; font-size: 12.5px; font-weight: 400; display: block; }
pre { background: #f4f6f8; border-radius: 6px; padding: 12px; font-size: 12.5px;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: 8px 0; }
summary { cursor: pointer; color: #0072b2; font-weight: 600; }
details { margin-top: 8px; }
"""


def page(title, summary, sections):
    """The whole page.

    Arguments
    ---------
    title, summary : str
        Heading, and a line under it.
    sections : list of (str, str)
        Heading and HTML of each part.

    Returns
    -------
    str
        HTML.

    Example
    -------
    >>> "<h2>Part</h2>" in page("Run", "", [("Part", "<p>text</p>")])
    True
    """
    body = "\n".join(
        f"<section><h2>{escape(heading)}</h2>\n{html}</section>"
        for heading, html in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style></head>\n"
        f'<body><main><h1>{escape(title)}</h1>\n<p class="summary">{escape(summary)}'
        f"</p>\n{body}\n</main></body></html>\n"
    )


def picture(inlined, name, caption):
    """A picture with its caption, inside the page.

    Arguments
    ---------
    inlined : dict
        Picture name -> PNG in base64.
    name : str
        Which one.
    caption : str
        What it shows.

    Returns
    -------
    str
        HTML, empty if there is no such picture.

    Example
    -------
    >>> picture({}, "det", "caption")
    ''
    """
    if name not in inlined:
        return ""
    return (
        f'<p class="caption">{escape(caption)}</p>\n<img alt="{escape(caption)}" '
        f'src="data:image/png;base64,{inlined[name]}">\n'
    )


def details(title, text, opened=False):
    """Text that folds away.

    Arguments
    ---------
    title, text : str
        What it is, and the text as it stands.
    opened : bool
        Whether to show it at once.

    Returns
    -------
    str
        HTML.

    Example
    -------
    >>> details("Command", "a < b")
    '<details><summary>Command</summary><pre>a &lt; b</pre></details>\\n'
    """
    state = " open" if opened else ""
    return (
        f"<details{state}><summary>{escape(title)}</summary>"
        f"<pre>{escape(text)}</pre></details>\n"
    )


def rows_table(rows):
    """A table of names and values, or of lines below a header.

    Arguments
    ---------
    rows : dict or list of tuple
        Name -> value (values that are dictionaries become several lines), or lines of
        which the first is the header.

    Returns
    -------
    str
        HTML, empty if there are no rows.

    Example
    -------
    >>> rows_table({"seed": 1, "hardware": {"cores": 2}}).count("<tr>")
    2
    """
    if isinstance(rows, dict):
        flat = [
            (f"{name}: {inner}" if inner else name, value)
            for name, values in rows.items()
            for inner, value in (
                values.items() if isinstance(values, dict) else [("", values)]
            )
        ]
        lines = [
            f"<th>{escape(name)}</th><td>{_text(value)}</td>" for name, value in flat
        ]
    else:
        head, *rest = rows
        lines = ["".join(f"<th>{escape(name)}</th>" for name in head)]
        lines += ["".join(f"<td>{_text(value)}</td>" for value in row) for row in rest]
    if not lines:
        return ""
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>\n{body}\n</table></div>\n'


def _text(value):
    if isinstance(value, float):
        return escape(f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}")
    return escape(str(value))
