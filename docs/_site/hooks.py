"""What MkDocs asks for: pages and figures made from the code, links to files outside of docs/."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from figures import FIGURES
from reference import PAGES

OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+((?!\.\.)[^)#]+)(#[^)]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add what is made from the code."""
    for path, make in {**PAGES, **FIGURES}.items():
        files.append(File.generated(config, path, content=make()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Show the path of a file that is not part of the site, as a link where its place is known."""
    docs = Path(config["docs_dir"])
    here = (docs / page.file.src_uri).parent

    def shown(match: re.Match[str]) -> str:
        text, target = match[1], match[2]
        depth = match[0].partition("](")[2].count("../")
        place = here.joinpath(*[".."] * depth, target).resolve()
        if place.is_relative_to(docs):
            return match[0]
        if not place.exists():
            raise PluginError(f"{page.file.src_uri} links to {target}, which does not exist")
        path = place.relative_to(ROOT)
        if config["repo_url"]:
            return f"[{text}]({config['repo_url'].rstrip('/')}/blob/main/{path})"
        name = f"`{path}`"
        return name if text.strip("`") == str(path) else f"{text} ({name})"

    return OUTSIDE.sub(shown, markdown)
