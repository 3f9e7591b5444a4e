"""Write the report as one self-contained HTML page without network access or foreign code."""

import base64
import hashlib
import html
import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from neoseg import __version__
from neoseg.files import write_text

PAGE = "report.html"

_FOLDER = files("neoseg.evaluation.report") / "assets"
_MADE_BY = '<meta name="generator" content="neoseg'
_SCRIPTS = ("core.js", "table.js", "scores.js", "viewer.js", "main.js")


def write_page(path: Path, title: str, data: dict[str, Any]) -> None:
    """Write the page with its data embedded (plain containers; see `page_data`).

    The data cannot inject code: it is embedded as JSON that cannot contain markup, the scripts
    insert it as text only, and a content security policy allows one script and one style sheet, by
    their hashes, and no connections.
    """
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    script = "\n".join((_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'"
    )
    page = Template((_FOLDER / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        version=html.escape(__version__),
        policy=policy,
        style=style,
        script=script,
        data=embedded_json(data),
    )
    write_text(path, page)


def write_placeholder(path: Path) -> None:
    """Write a page that stands for one that is not complete."""
    write_text(
        path,
        f"<!doctype html>{_MADE_BY} {html.escape(__version__)}"
        '"><title>Unfinished</title><p>This report is being written, or was interrupted: run '
        "neoseg report again.",
    )


def is_page(path: Path) -> bool:
    """Return whether a file is the page of a report, complete or not."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return _MADE_BY.encode() in stream.read(4096)


def embedded_json(data: Any) -> str:
    """Return JSON that cannot close the script element around it.

    Raises:
        ValueError: for NaN and infinite numbers, which JSON lacks.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for mark in "<>&\u2028\u2029":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
