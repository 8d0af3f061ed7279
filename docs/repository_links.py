"""A hook of MkDocs: links to files outside docs/ lead to a copy of the file in the site, below repository/.

On GitHub the same links lead to the files themselves, so a page is written once for both.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
BELOW = "repository/"
"""Where the site keeps files from outside docs/."""
SHOWN = ("CHANGELOG.md", "CONTRIBUTING.md", "sample_logs/README.md")
"""Pages of the site that are kept outside docs/."""
LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)\s#]+)")
FENCE = re.compile(r"^(```.*?^```\s*$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is shown, and every file outside docs/ that a page links to."""
    from mkdocs.structure.files import File

    wanted = {f"{BELOW}{name}" for name in SHOWN}
    for file in files.documentation_pages():
        wanted |= {uri for uri in linked(file.content_string, file.src_uri) if uri.startswith(BELOW)}
    for uri in sorted(wanted):
        source = ROOT / uri.removeprefix(BELOW)
        if source.is_file():  # a link to what does not exist stays, and the strict build names it
            files.append(File.generated(config, uri, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write the links of a page as the site needs them."""
    return rewritten(markdown, page.file.src_uri)


def linked(markdown: str, src_uri: str) -> set[str]:
    """Places in the site of what a page links to by a relative path."""
    return {site_uri(link, src_uri) for part in prose(markdown) for link in LINK.findall(part)}


def rewritten(markdown: str, src_uri: str) -> str:
    """The page with its relative links as the site needs them; code stays as it is."""
    here = posixpath.dirname(src_uri) or "."

    def link(match: re.Match[str]) -> str:
        return posixpath.relpath(site_uri(match[1], src_uri), here)

    parts = FENCE.split(markdown)
    parts[::2] = [LINK.sub(link, part) for part in parts[::2]]
    return "".join(parts)


def prose(markdown: str) -> list[str]:
    """The page without its blocks of code."""
    return FENCE.split(markdown)[::2]


def site_uri(link: str, src_uri: str) -> str:
    """Where the site keeps the file that ``link`` names on the page at ``src_uri``."""
    page = src_uri.removeprefix(BELOW) if src_uri.startswith(BELOW) else f"docs/{src_uri}"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    return target.removeprefix("docs/") if target.startswith("docs/") else BELOW + target
