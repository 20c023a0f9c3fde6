"""Puts pages that lie outside docs/ on the site, and leads links between files of the repository to pages of the site."""

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "start.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/scaling.svg": "scaling.svg",
}
"""Files of the repository that the site has as well, and where."""
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files from outside docs/."""
    for source, target in OUTSIDE.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files, **_: Any) -> str:
    """Rewrite links that leave docs/, or come from outside of it. A file that the site does not have is named and not linked."""
    source = Path(str(page.file.abs_src_path)).relative_to(ROOT)

    def rewritten(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        if "://" in target:
            return link[0]
        path = os.path.normpath(source.parent / target)
        on_site = OUTSIDE.get(path) or path.removeprefix("docs/")
        if files.get_file_from_path(on_site) is None:
            return link[0] if (ROOT / path).is_relative_to(ROOT / "docs") else text
        return f"[{text}]({os.path.relpath(on_site, Path(page.file.src_uri).parent)}{anchor})"

    return LINK.sub(rewritten, markdown)
