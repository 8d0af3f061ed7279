"use strict";
// Click a header of a table: ascending, descending, as written. What is missing stays last.
const NUMBER = "[+\\-\u2212]?\\d[\\d,]*(?:\\.\\d+)?(?:e[+\\-]?\\d+)?";
const NUMERIC = new RegExp(`^(${NUMBER})(?: %| to ${NUMBER})?$`, "i");
const NEXT = { none: "ascending", ascending: "descending", descending: "none" };

function shown(row, column) {
  const first = row.cells[column].firstChild;
  const text = first ? first.textContent.trim() : "";
  return ["–", "withheld"].includes(text) ? "" : text;
}

function value(text) {
  const found = NUMERIC.exec(text);
  return found ? Number(found[1].replaceAll(",", "").replace("\u2212", "-")) : NaN;
}

function order(rows, column, direction) {
  if (direction === "none") return rows;
  const texts = rows.map((row) => shown(row, column));
  const numbers = texts.map(value);
  const numeric = texts.every((text, place) => text === "" || !Number.isNaN(numbers[place]));
  const sign = direction === "ascending" ? 1 : -1;
  const compare = (a, b) => {
    if (texts[a] === "" || texts[b] === "") return (texts[a] === "") - (texts[b] === "");
    const by = numeric ? numbers[a] - numbers[b] : texts[a].localeCompare(texts[b], "en", { numeric: true });
    return sign * by;
  };
  return [...rows.keys()].sort(compare).map((place) => rows[place]);
}

for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const written = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  if (written.length < 2) continue;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const direction = NEXT[head.getAttribute("aria-sort")];
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", direction);
      body.append(...order(written, column, direction));
    });
  });
}
