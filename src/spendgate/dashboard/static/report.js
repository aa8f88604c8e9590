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
    if (expression.startsWith("COALESCE(")) return add(rows, columns[0]) ?? 0;
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
    // As in SQL: a sum without groups is one row, whether or not there is anything to add.
    if (!keys.length && !groups.size) groups.set("", []);
    return [...groups.values()].map((group) =>
      Object.fromEntries(widget.fields.map((field) => [
        field.name, isPlain(field) ? group[0][column(field)] : aggregate(field.expression, group),
      ])));
  };

  // --- how values look ------------------------------------------------------------------------
  const shown = (value, format) => {
    if (value === null || value === undefined || value === "") return "n/a";
    const kind = format && format.type;
    const places = (format && format.decimalPlaces && format.decimalPlaces.places) ?? 2;
    if (kind === "number-percent") return `${(Number(value) * 100).toFixed(1).replace(/\.0$/, "")} %`;
    if (kind === "number-currency" || kind === "number") {
      const size = Math.abs(Number(value));
      const options = { maximumFractionDigits: size >= 10 ? Math.min(2, places) : places };
      if (kind === "number-currency") {
        Object.assign(options, { style: "currency", currency: format.currencyCode, minimumFractionDigits: 2 });
      }
      if (size >= 100000) Object.assign(options, { notation: "compact", minimumFractionDigits: 0 });
      return new Intl.NumberFormat("en-US", options).format(Number(value));
    }
    const text = String(value);
    return /^\d{4}-\d\d-\d\dT/.test(text) ? text.slice(0, 16).replace("T", " ") : text;
  };
  const holds = (rule, value) => {
    const limit = rule.condition.operand.value;
    if (value === null || value === undefined) return false;
    switch (rule.condition.operator) {
      case ">=": return Number(value) >= Number(limit);
      case ">": return Number(value) > Number(limit);
      case "<": return Number(value) < Number(limit);
      default: return String(value) === limit;
    }
  };
  const ruleOf = (encoding, value) =>
    ((encoding.style && encoding.style.rules) || []).find((rule) => holds(rule, value));
  const inkOn = (hex) => {
    const parts = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    const light = 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    return 1.05 / (light + 0.05) >= (light + 0.05) / 0.05 ? "#ffffff" : "#000000";
  };

  // --- widgets --------------------------------------------------------------------------------
  const drawCounter = (widget, card) => {
    const encoding = widget.encodings.value;
    const rows = rowsOf(widget);
    const value = rows.length ? rows[0][encoding.fieldName] : null;
    const text = shown(value, encoding.format);
    const line = make("p", { class: text.length > 12 ? "value long" : "value" }, text);
    const rule = ruleOf(encoding, value);
    if (rule) line.style.color = rule.color.hex;
    card.append(line, make("p", { class: "label" }, encoding.displayName));
  };
  const drawTable = (widget, card) => {
    const rows = rowsOf(widget);
    if (!rows.length) return drawEmpty(card);
    const columns = widget.encodings.columns;
    const table = make("table");
    const head = table.createTHead().insertRow();
    for (const column of columns) {
      head.append(make("th", { scope: "col", class: column.format ? "number" : "" }, column.displayName));
    }
    const body = table.createTBody();
    for (const row of rows) {
      const line = body.insertRow();
      for (const column of columns) {
        const value = row[column.fieldName];
        const text = shown(value, column.format);
        const cell = make("td", { class: column.format ? "number" : "", title: text });
        const rule = ruleOf(column, value);
        const mark = make("span", rule ? { class: "mark" } : {}, text);
        if (rule) {
          mark.style.background = rule.backgroundColor.hex;
          mark.style.color = inkOn(rule.backgroundColor.hex);
        }
        cell.append(mark);
        line.append(cell);
      }
    }
    const frame = make("div", { class: "rows", tabindex: "0", role: "group", "aria-label": widget.title });
    frame.append(table);
    card.append(frame);
  };
  const drawEmpty = (card) => card.append(make("p", { class: "empty" }, "No rows"));

  // Names along an axis are the largest; the rest of a long list would only blacken the chart.
  const fewest = (widget, rows) => {
    const axes = [widget.encodings.x, widget.encodings.y];
    const names = axes.find((axis) => axis.scale && axis.scale.type === "categorical");
    const sizes = axes.find((axis) => axis !== names);
    if (!names) return rows;
    const totals = new Map();
    for (const row of rows) {
      const name = row[names.fieldName];
      totals.set(name, (totals.get(name) ?? 0) + Number(row[sizes.fieldName] ?? 0));
    }
    const top = new Set([...totals].sort((a, b) => b[1] - a[1]).slice(0, BARS_MAX).map((one) => one[0]));
    return rows.filter((row) => top.has(row[names.fieldName]));
  };
  const theme = () => {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const text = { labelColor: color("--soft"), titleColor: color("--soft"), labelFontSize: 11, titleFontSize: 11 };
    return {
      background: "transparent",
      font: 'system-ui, "DejaVu Sans", sans-serif',
      view: { stroke: null },
      axis: { ...text, gridColor: color("--line"), domainColor: color("--line"), tickColor: color("--line") },
      legend: { ...text },
      mark: { color: color("--accent") },
      range: { category: { scheme: "tableau10" } },
    };
  };
  const drawChart = async (widget, card) => {
    const rows = fewest(widget, rowsOf(widget));
    if (!rows.length) return drawEmpty(card);
    const frame = make("div", { class: "chart" });
    card.append(frame);
    const spec = { ...widget.chart, data: { name: "rows", values: rows }, autosize: { type: "fit", contains: "padding" } };
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
