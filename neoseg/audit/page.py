"""Write the list of findings as a table and as one self-contained HTML page."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from neoseg import __version__
from neoseg.audit.measure import KINDS
from neoseg.audit.ranking import Finding
from neoseg.cohort import Scan
from neoseg.cohort.table import write_rows
from neoseg.evaluation.report.sprites import data_uri
from neoseg.files import write_text

LISTING = "findings.tsv"
COLUMNS = (
    *("rank", "score", "kind", "cohort", "subject", "session", "structure", "value", "seen"),
    *("voxel", "mm", "label"),
)

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
article { border-top: 1px solid #bbb; padding: 1rem 0 } h2 { margin: 0; font-size: 1.1rem }
img { max-width: 100% } dl { display: grid; grid-template-columns: 8rem 1fr; margin: .5rem 0 }
dd { margin: 0; overflow-wrap: anywhere }
"""

_ABOUT = (
    "Each annotation was compared with the answer of a network that has not seen this subject, and "
    "with how the annotations of the other scans compare. The list says where to look, the "
    "strangest first; a person decides who is right. The cross in the pictures is the voxel named "
    "beside them."
)


@dataclass(frozen=True)
class Listed:
    """A finding with its location in the scan's file: voxel, and world coordinates in mm."""

    finding: Finding
    scan: Scan
    voxel: tuple[int, ...]
    world: tuple[float, ...]
    picture: Path | None = None


def write_listing(output: Path, run: str, listed: Sequence[Listed], scans: int) -> None:
    """Write `findings.tsv` and `index.html`.

    Args:
        output: output folder.
        run: name of the run whose networks made the predictions.
        listed: findings in the order of the list.
        scans: number of scans that were audited.
    """
    rows = [_row(number, item) for number, item in enumerate(listed, start=1)]
    write_rows(output / LISTING, COLUMNS, rows)
    title = html.escape(f"Annotations to look at: {run}")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        f'<meta name="generator" content="neoseg {__version__}"><style>{_STYLE}</style></head>',
        f"<body><h1>{title}</h1><p>{len(listed)} findings of {scans} scans. {_ABOUT}</p>",
        *(_article(number, item) for number, item in enumerate(listed, start=1)),
        "</body></html>\n",
    ]
    write_text(output / "index.html", "\n".join(parts))


def _row(number: int, item: Listed) -> list[object]:
    measure, scan = item.finding.measure, item.scan
    return [
        *(number, f"{item.finding.score:.1f}", measure.kind, scan.cohort, scan.subject),
        *(scan.session, measure.structure, f"{measure.value:.3g}", measure.note),
        *(" ".join(map(str, item.voxel)), " ".join(map(str, item.world)), scan.label),
    ]


def _article(number: int, item: Listed) -> str:
    measure = item.finding.measure
    heading = f"{number}. {item.scan.id}, {measure.structure}: {KINDS[measure.kind].title}"
    facts = {
        "seen": measure.note,
        "look here": f"voxel {' '.join(map(str, item.voxel))}, or {item.world} mm",
        "file": str(item.scan.label),
        "score": f"{item.finding.score:.1f} robust deviations from the other scans",
    }
    terms = "".join(f"<dt>{k}</dt><dd>{html.escape(v)}</dd>" for k, v in facts.items())
    picture = ""
    if item.picture is not None:
        data = data_uri(item.picture.read_bytes())
        picture = f'<img alt="{html.escape(heading)}" src="{data}">'
    return f"<article><h2>{html.escape(heading)}</h2><dl>{terms}</dl>{picture}</article>"
