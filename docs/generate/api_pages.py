"""Write docs/reference/api/ from the public names of the package: ``python docs/generate/api_pages.py``."""

from __future__ import annotations

from pathlib import Path

from entropylab import _PUBLIC

OUT = Path(__file__).parents[1] / "reference" / "api"
ROOMS: dict[str, tuple[str, str]] = {
    "losses.controls": ("Controls", "What acts on chosen or on all tokens: `policy_loss(control=...)`."),
    "losses.heads": (
        "Losses from hidden states",
        "No tensor of all logits is kept: [the guide](../../heads.md).",
    ),
    "losses": ("Losses", "Pure functions of tensors, the surrogates, and the choice of tokens."),
    "record": (
        "Recorder and reader",
        "What writes a run folder and what reads it: [its columns](../columns.md).",
    ),
    "trainers": ("Trainers", "One line for a trainer: [the guide](../../trainers.md)."),
    "analysis": (
        "Analysis",
        "Arrays or runs in, a frozen result out: `.summary()`, `.to_dict()`, `.plot(ax)`.",
    ),
    "engine": ("Engines", "Exact figures of runs of any size: [the guide](../../scale.md)."),
    "influence": (
        "Influence",
        "The exact first-order effect of each token: [the guide](../../influence.md).",
    ),
    "errors": ("Errors", "Every error that the package raises on purpose is also one of these."),
}
"""Start of a module's path -> title and introduction of its page; the first that fits takes a name."""
NAMES = {"losses.controls": "controls", "losses.heads": "heads", "record": "recorder"}
"""Pages that are not named after their room."""
INNER = {"losses.controls": "apply|budget|choose_numpy|from_dict|key|scope|terms"}
"""Members that a room's classes have for the other rooms alone, where the site's own list lacks some."""
HEAD = "# {title}\n\n{text}\nImport the names of this page from the package: `import entropylab as el`.\n"
SOURCE = '<p class="source-only">Names only: <code>make docs</code> builds the page with its text.</p>\n'
"""Hidden on the site by its style sheet."""


def main() -> None:
    """Write every page."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (OUT / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """File name -> page, a section a public name."""
    found: dict[str, list[str]] = {room: [] for room in ROOMS}
    for name, module in _PUBLIC.items():
        room = room_of(module)
        found[room].append(f"::: entropylab.{module}.{name}\n{options(room)}")
    return {
        f"{NAMES.get(room, room)}.md": "\n".join(
            [HEAD.format(title=ROOMS[room][0], text=ROOMS[room][1]), SOURCE, *sections]
        )
        for room, sections in found.items()
    }


def options(room: str) -> str:
    """What a room's directives add to the options of the site."""
    return f'    options:\n      filters: ["!^_", "!^({INNER[room]})$"]\n' if room in INNER else ""


def room_of(module: str) -> str:
    """The room that a module belongs to."""
    return next(room for room in ROOMS if module == room or module.startswith(f"{room}."))


if __name__ == "__main__":
    main()
