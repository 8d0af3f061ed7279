"""The check of the built site, and the links to files outside docs/."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.css").write_text("@font-face { src: url(x.woff2) } b { background: url(data:,) }")
    (tmp_path / "a" / "x.woff2").write_text("")
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="a/x.css?v=1"><link rel="canonical" href="https://e.org/">'
        '<a href="https://arxiv.org/abs/2505.22617">the paper</a><img src="data:image/png;base64,">'
    )
    return tmp_path


def test_a_site_of_its_own_files_passes(site: Path) -> None:
    assert list(module("check_site").findings(site)) == []


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.org/x.js"></script>',
        '<script src="//cdn.org/x.js"></script>',
        '<link rel="preconnect" href="https://fonts.gstatic.com">',
        '<link href="http://e.org/x.css" rel="stylesheet">',
        '<img src="https://e.org/x.png">',
        '<img srcset="a/x.woff2 1x, https://e.org/x.png 2x">',
        '<p style="background: url(https://e.org/x.png)"></p>',
        "<style>@import 'https://e.org/x.css';</style>",
        '<div class="mermaid">graph</div>',
        '<img src="a/missing.svg">',
    ],
)
def test_what_comes_from_outside_or_is_missing_is_named(text: str, site: Path) -> None:
    (site / "page.html").write_text(text)
    (found,) = module("check_site").findings(site)
    assert found.startswith("page.html: ")


def test_a_style_sheet_is_looked_into(site: Path) -> None:
    (site / "a" / "x.css").write_text("b { background: url('https://e.org/x.png') }")
    assert list(module("check_site").findings(site)) == ["a/x.css: loads https://e.org/x.png"]


def test_an_empty_folder_is_no_site(tmp_path: Path) -> None:
    assert len(list(module("check_site").findings(tmp_path))) == 1


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("concepts/law.md", "../certification.md", "../certification.md"),
        ("index.md", "../CONTRIBUTING.md", "repository/CONTRIBUTING.md"),
        (
            "reference/benchmarks.md",
            "../../benchmarks/results/cuda.json",
            "../repository/benchmarks/results/cuda.json",
        ),
        ("repository/README.md", "docs/scale.md", "../scale.md"),
        ("repository/sample_logs/README.md", "../CHANGELOG.md", "../CHANGELOG.md"),
        ("index.md", "https://arxiv.org", "https://arxiv.org"),
        ("index.md", "#part", "#part"),
        ("index.md", "trainers.md#verl", "trainers.md#verl"),
    ],
)
def test_a_link_leads_to_the_same_file_in_the_site(page: str, link: str, there: str) -> None:
    assert module("repository_links").rewritten(f"[x]({link})", page) == f"[x]({there})"


def test_code_keeps_its_brackets() -> None:
    text = "```python\nf[0](../x.md)\n```\n"
    assert module("repository_links").rewritten(text, "index.md") == text


def test_every_relative_link_of_the_docs_leads_to_a_file() -> None:
    links = module("repository_links")
    for page in [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in links.SHOWN)]:
        for part in links.prose(page.read_text(encoding="utf-8")):
            for link in links.LINK.findall(re.sub(r"`[^`]*`", "", part)):
                if not page.name.endswith(".template.md"):
                    assert (page.parent / link).is_file(), f"{page}: {link}"
