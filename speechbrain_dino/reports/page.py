"""Pages of reports: no script, nothing loaded from elsewhere, pictures inside."""

import base64
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from speechbrain_dino.utils.ownership import replacing_folder


def write_page(output_folder, template, pictures, **content):
    """Writes ``report/index.html`` and, beside it, its pictures as PNG.

    Arguments
    ---------
    output_folder : str or path
        Folder of the run; its last report is replaced, and no other folder: see
        ``ownership.replacing_folder``.
    template : str
        File in ``templates``.
    pictures : dict
        Name -> matplotlib figure.
    **content
        Variables of the template, ``title`` and ``summary`` (a line below) among them.

    Returns
    -------
    pathlib.Path
        The page.
    """
    report = Path(output_folder) / "report"
    with replacing_folder(report, "report") as folder:
        sources = {}
        for name, figure in pictures.items():
            file = folder / f"{name}.png"
            figure.savefig(file, facecolor="white")
            sources[name] = picture(file.read_bytes())
        html = render(template, pictures=sources, **content)
        (folder / "index.html").write_text(html, encoding="utf-8")
    return report / "index.html"


def picture(png):
    """The ``src`` of an image that lies within the page.

    Example
    -------
    >>> picture(b"PNG")
    'data:image/png;base64,UE5H'
    """
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def render(template, **content):
    """HTML of a file in ``templates``, all text escaped."""
    return Markup(_ENVIRONMENT.get_template(template).render(content))


def _short(value):
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return value


_ENVIRONMENT = Environment(
    loader=PackageLoader("speechbrain_dino.reports"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["short"] = _short
