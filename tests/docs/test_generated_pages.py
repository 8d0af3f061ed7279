"""The generated pages of the reference are what the code says now."""

from __future__ import annotations

import api_pages
import benchmark_page
import column_page
import method_page
import pytest

import entropylab as el


@pytest.mark.parametrize("maker", [method_page, column_page], ids=["methods", "columns"])
def test_a_page_is_what_the_code_says(maker) -> None:
    assert maker.OUT.read_text(encoding="utf-8") == maker.page(), "run: make pages"


def test_the_benchmarks_are_the_kept_figures() -> None:
    shown = benchmark_page.OUT.read_text(encoding="utf-8")
    assert shown == benchmark_page.page(benchmark_page.kept()), "run: make pages"


def test_a_result_without_a_section_is_named() -> None:
    with pytest.raises(KeyError, match="unheard"):
        benchmark_page.page({**benchmark_page.kept(), "unheard": {}})


def test_the_api_has_every_public_name_once() -> None:
    made = api_pages.pages()
    kept = {path.name: path.read_text(encoding="utf-8") for path in api_pages.OUT.glob("*.md")}
    assert kept == made, "run: make pages"
    names = [line.rpartition(".")[2] for text in made.values() for line in text.splitlines() if ":::" in line]
    assert sorted(names) == sorted(set(el.__all__) - {"__version__"})


def test_every_method_and_column_stands_on_its_page() -> None:
    methods = method_page.OUT.read_text(encoding="utf-8")
    assert all(methods.count(f"| `{key}` |") == 2 for key in el.METHODS)
    columns = column_page.OUT.read_text(encoding="utf-8")
    for _, _, found in column_page.SECTIONS:
        assert all(f"| `{column.name}` | " in columns for column in found)
