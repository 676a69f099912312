for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
  const select = document.querySelector(`select[data-table="${table.id}"]`);
  const more = document.querySelector(`button[data-table="${table.id}"]`);
  const few = 20;
  let order = "";
  let all = rows.length <= few;

  const show = () => {
    Array.from(body.rows).forEach((row, place) => { row.hidden = !all && place >= few; });
    more.hidden = all;
  };
  const value = (row, column) => {
    const text = row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
    return text === "" ? null : Number.isNaN(Number(text)) ? text : Number(text);
  };
  const compare = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };
  const sort = (column) => {
    const falling = order === `${column} rising` || (!order.startsWith(`${column} `) && heads[column].dataset.first === "falling");
    order = `${column} ${falling ? "falling" : "rising"}`;
    rows.sort((one, other) => {
      const a = value(one, column), b = value(other, column);
      return a === null || b === null || !falling ? compare(a, b) : compare(b, a);
    });
    body.append(...rows);
    heads.forEach((head, place) => {
      if (place === column) head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    select.value = String(column);
    show();
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(column));
    select.append(new Option(head.textContent.trim(), String(column)));
  });
  select.addEventListener("change", () => { order = ""; sort(Number(select.value)); });
  select.selectedIndex = -1;
  select.closest("label").hidden = false;
  more.addEventListener("click", () => { all = true; show(); });
  addEventListener("beforeprint", () => { all = true; show(); });
  show();
}
