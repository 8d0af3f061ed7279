"""Check that a built site loads nothing from outside and lacks none of its own files.

    python docs/check_site.py build/site

Scripts, styles, fonts and pictures count; a plain link to another site does not. Exit code 1 for a finding.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "input": ("src",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "track": ("src",),
    "use": ("href", "xlink:href"),
    "video": ("src", "poster"),
}
"""Element -> attributes whose address a browser loads by itself."""
NOT_LOADED = {
    "alternate",
    "author",
    "bookmark",
    "canonical",
    "edit",
    "help",
    "license",
    "next",
    "prev",
    "search",
}
"""Kinds of <link> that a browser does not load."""
FETCHERS = {
    "mermaid": "the theme's script would load mermaid from unpkg.com",
    "md-source": "the theme's script would ask api.github.com",
}
"""Class of an element -> what it would make the theme's script do."""
CSS_ADDRESS = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Resources(HTMLParser):
    """Gathers what a page loads, and what would make it load more."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.fetchers: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the addresses of one element."""
        given = {name: value or "" for name, value in attrs}
        for name in LOADED.get(tag, ()):
            parts = given.get(name, "").split(",") if name == "srcset" else [given.get(name, "")]
            self.addresses += [part.split()[0] for part in parts if part.strip()]
        if tag == "link" and not NOT_LOADED & set(given.get("rel", "").lower().split()):
            self.addresses.append(given.get("href", ""))
        self.addresses += in_css(given.get("style", ""))
        self.fetchers += [text for name, text in FETCHERS.items() if name in given.get("class", "").split()]
        self._style = tag == "style"

    def handle_data(self, data: str) -> None:
        """Take the addresses inside a <style>."""
        if self._style:
            self.addresses += in_css(data)

    def handle_endtag(self, tag: str) -> None:
        """Leave a <style>."""
        self._style = False


def in_css(text: str) -> list[str]:
    """The addresses that a style sheet loads."""
    return [first or second for first, second in CSS_ADDRESS.findall(text)]


def findings(site: Path) -> Iterator[str]:
    """A line for each resource from outside and each missing one."""
    pages = sorted(site.rglob("*.html"))
    if not pages:
        yield f"{site}: no page; build it with make docs"
    for path in (*pages, *sorted(site.rglob("*.css"))):
        text = path.read_text(encoding="utf-8")
        found = Resources()
        if path.suffix == ".html":
            found.feed(text)
        for address in found.addresses if path.suffix == ".html" else in_css(text):
            problem = wrong(address, path, site)
            if problem:
                yield f"{path.relative_to(site)}: {problem}"
        yield from (f"{path.relative_to(site)}: {text}" for text in found.fetchers)


def wrong(address: str, page: Path, site: Path) -> str | None:
    """What is wrong with one address; None for nothing."""
    parts = urlsplit(address)
    if parts.scheme == "data" or not (parts.path or parts.netloc):
        return None
    if parts.scheme or parts.netloc:
        return f"loads {address}"
    base = site if parts.path.startswith("/") else page.parent
    target = base / unquote(parts.path).lstrip("/")
    return None if target.exists() or page.name == "404.html" else f"lacks {address}"


def main() -> int:
    """Check the folder named on the command line."""
    found = list(findings(Path(sys.argv[1])))
    print("\n".join(found) or "The site loads nothing from outside.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
