"use strict";
// Draws the dashboard's JSON: filters and sums the datasets here, charts by Vega. Every name comes
// from callers, so text is only ever set as text.
(() => {
  const report = JSON.parse(document.getElementById("data").textContent);
  const chosen = { period: { ...report.period }, values: {} };
  const BARS_MAX = 15;
  let page = report.pages[0];
  let charts = [];

  const make = (tag, attributes = {}, text = "") => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };

  // --- data: filter, group, sum ---------------------------------------------------------------
  const isShown = (row, dataset) =>
    report.filters.every((filter) => {
      if (!filter.datasets.includes(dataset)) return true;
      if (filter.is_period) {
        return !row.day || (row.day >= chosen.period.min && row.day <= chosen.period.max);
      }
      const values = chosen.values[filter.column];
      return !values || values.size === 0 || values.has(String(row[filter.column]));
    });

  const number = (value) => (value === null || value === undefined ? null : Number(value));
  const add = (rows, column) =>
    rows.reduce((sum, row) => {
      const value = number(row[column]);
      return value === null ? sum : (sum ?? 0) + value;
    }, null);
  const extreme = (rows, column, isBetter) =>
    rows.reduce((best, row) => {
      const value = row[column];
      if (value === null || value === undefined) return best;
      return best === null || isBetter(comparable(value), comparable(best)) ? value : best;
    }, null);
  const comparable = (value) => (value !== "" && !isNaN(value) ? Number(value) : String(value));

  const aggregate = (expression, rows) => {
    const columns = [...expression.matchAll(/`([^`]+)`/g)].map((found) => found[1]);
    if (columns.length === 2) {
      const [part, whole] = columns.map((column) => add(rows, column));
      return part === null || !whole ? null : part / whole;
    }
    if (expression.startsWith("SUM(")) return add(rows, columns[0]);
    if (expression.startsWith("MAX(")) return extreme(rows, columns[0], (a, b) => a > b);
    return extreme(rows, columns[0], (a, b) => a < b);
  };
  const isPlain = (field) => field.expression.startsWith("`");

  const rowsOf = (widget) => {
    const rows = report.datasets[widget.dataset].rows.filter((row) => isShown(row, widget.dataset));
    const column = (field) => field.expression.slice(1, -1);
    if (widget.is_plain) {
      return rows.map((row) =>
        Object.fromEntries(widget.fields.map((field) => [field.name, row[column(field)]])));
    }
    const keys = widget.fields.filter(isPlain);
    const groups = new Map();
    for (const row of rows) {
      const key = JSON.stringify(keys.map((field) => row[column(field)]));
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(row);
    }
    return [...groups.values()].map((group) =>
      Object.fromEntries(widget.fields.map((field) => [
        field.name, isPlain(field) ? group[0][column(field)] : aggregate(field.expression, group),
      ])));
  };

  // --- how values look ------------------------------------------------------------------------
  const shown = (value, format) => {
    if (value === null || value === undefined || value === "") return "–";
    const kind = format && format.type;
    const places = (format && format.decimalPlaces && format.decimalPlaces.places) ?? 2;
    if (kind === "number-percent") return `${(Number(value) * 100).toFixed(1).replace(/\.0$/, "")} %`;
    if (kind === "number-currency" || kind === "number") {
      const size = Math.abs(Number(value));
      // What a tooltip shows is a caller's text; it must not become markup.
    const sanitize = (value) => String(value).replace(/&/g, "&amp;").replace(/</g, "&lt;");
    const options = { actions: false, renderer: "svg", config: theme(), tooltip: { sanitize } };
    try {
      charts.push(await window.vegaEmbed(frame, spec, options));
    } catch (error) {
      frame.replaceWith(make("p", { class: "empty" }, `Can't be drawn: ${error.message}`));
    }
  };
  const draw = async (widget) => {
    const { x, y, width, height } = widget.position;
    const card = make("article", { class: widget.kind, "data-widget": widget.name });
    card.style.gridColumn = `${x + 1} / span ${width}`;
    card.style.gridRow = `${y + 1} / span ${height}`;
    document.getElementById("page").append(card);
    if (widget.kind === "text") {
      card.append(make("p", {}, widget.text));
      return;
    }
    card.append(make("h2", {}, widget.title));
    if (widget.note) card.append(make("p", { class: "note" }, widget.note));
    const error = report.datasets[widget.dataset].error;
    if (error) card.append(make("p", { class: "empty" }, `Can't be drawn: ${error}`));
    else if (widget.kind === "counter") drawCounter(widget, card);
    else if (widget.kind === "table") drawTable(widget, card);
    else await drawChart(widget, card);
  };

  let drawing = 0;
  const drawPage = async () => {
    const mine = ++drawing;
    document.body.removeAttribute("data-drawn");
    charts.forEach((chart) => chart.finalize());
    charts = [];
    document.getElementById("page").replaceChildren();
    for (const widget of page.widgets) {
      await draw(widget);
      if (mine !== drawing) return;
    }
    document.body.setAttribute("data-drawn", page.name);
  };

  // --- tabs, filters, theme -------------------------------------------------------------------
  const showTab = (wanted) => {
    page = wanted;
    for (const tab of document.querySelectorAll("#tabs button")) {
      tab.setAttribute("aria-selected", String(tab.dataset.page === page.name));
    }
    drawPage();
  };
  for (const one of report.pages) {
    const tab = make("button", { type: "button", role: "tab", "data-page": one.name }, one.title);
    tab.addEventListener("click", () => { location.hash = one.name; });
    document.getElementById("tabs").append(tab);
  }
  const tabOfHash = () => report.pages.find((one) => `#${one.name}` === location.hash) || report.pages[0];
  addEventListener("hashchange", () => showTab(tabOfHash()));

  const addPeriod = (filter) => {
    for (const end of ["min", "max"]) {
      const label = make("label", {}, end === "min" ? `${filter.title} ` : "to ");
      const input = make("input", { type: "date", name: end, min: report.period.min, max: report.period.max });
      input.value = chosen.period[end];
      input.addEventListener("change", () => {
        chosen.period[end] = input.value || report.period[end];
        drawPage();
      });
      label.append(input);
      document.getElementById("filters").append(label);
    }
  };
  const addChoice = (filter) => {
    const sets = filter.datasets.map((name) => report.datasets[name].rows || []);
    const values = [...new Set(sets.flat().map((row) => String(row[filter.column])))].sort();
    const box = make("details", { "data-filter": filter.column });
    const summary = make("summary", {}, `${filter.title}: all`);
    const list = make("div");
    const picked = (chosen.values[filter.column] = new Set());
    for (const value of values) {
      const label = make("label", { title: value });
      const tick = make("input", { type: "checkbox" });
      tick.addEventListener("change", () => {
        if (tick.checked) picked.add(value);
        else picked.delete(value);
        summary.textContent = `${filter.title}: ${picked.size || "all"}`;
        drawPage();
      });
      label.append(tick, ` ${value}`);
      list.append(label);
    }
    box.append(summary, list);
    document.getElementById("filters").append(box);
  };
  for (const filter of report.filters) {
    if (filter.is_period) addPeriod(filter);
    else addChoice(filter);
  }
  document.addEventListener("click", (event) => {
    for (const box of document.querySelectorAll("details[open]")) {
      if (!box.contains(event.target)) box.open = false;
    }
  });

  const button = document.getElementById("theme");
  const setTheme = (name) => {
    document.documentElement.dataset.theme = name;
    button.textContent = name === "dark" ? "Light" : "Dark";
  };
  button.addEventListener("click", () => {
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    drawPage();
  });
  setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.getElementById("footer").textContent =
    `Drawn ${report.drawn_at}, data from ${report.period.min} to ${report.period.max}, days and hours in UTC.`;
  showTab(tabOfHash());
})();
