// A table whose headings sort it. Columns: {title, value(row), text(row), kind, note(row), mark(row)};
// rows without a value stay at the end in both directions.
function sortable(place, columns, rows, options = {}) {
  const body = el("tbody");
  const heads = columns.map((column) => {
    const button = el("button", { type: "button" }, column.title);
    const head = el("th", { scope: "col", class: column.kind, "aria-sort": "none" }, button);
    button.addEventListener("click", () => order(column, head));
    return head;
  });

  function order(column, head) {
    const falling = head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    place.dataset.sorted = `${columns.indexOf(column)} ${falling ? "descending" : "ascending"}`;
    draw([...rows].sort((one, other) => {
      const [a, b] = [column.value(one), column.value(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      const sign = typeof a === "string" ? a.localeCompare(b, "en") : a - b;
      return falling ? -sign : sign;
    }));
  }

  function draw(sorted) {
    body.replaceChildren(...sorted.map((row) => {
      const line = el("tr", { class: options.rowClass ? options.rowClass(row) : null });
      columns.forEach((column) => {
        const marks = column.mark ? column.mark(row) : "";
        line.append(el(
          "td",
          { class: `${column.kind} ${marks}`.trim(), title: column.note ? column.note(row) : null },
          column.text ? column.text(row) : column.value(row),
        ));
      });
      return line;
    }));
  }

  draw(rows);
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body);
  place.replaceChildren(table);
  // A table that is drawn anew keeps the order that its reader chose.
  const [before, direction] = (place.dataset.sorted || "").split(" ");
  if (before !== "" && columns[before]) {
    order(columns[before], heads[before]);
    if (direction === "descending") order(columns[before], heads[before]);
  }
}
