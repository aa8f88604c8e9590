"use strict";
// Asks the gate for its figures every few seconds. Names come from callers: text is only ever set as
// text. The token stays in this tab's session storage and travels in a header, never in an address.
(() => {
  const SECONDS = 3;
  const KEY = "spendgate-admin-token";
  const find = (id) => document.getElementById(id);
  const make = (tag, className = "", text = "") => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.textContent = text;
    return element;
  };
  const usd = (text) => {
    if (text === null || text === undefined) return "n/a";
    const value = Number(text);
    const places = Math.abs(value) >= 1 || value === 0 ? 2 : 6;
    return `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: places })}`;
  };
  const clock = (text) => (text ? text.slice(0, 16).replace("T", " ") + " UTC" : "");
  const WORDS = { ok: "within its limit", soft: "past its soft cap", hard: "at its hard cap" };
  const MARKS = { soft: " · soft cap", hard: " · hard cap" };

  class Refused extends Error {}

  const ask = async (path) => {
    const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEY)}` };
    const answer = await fetch(path, { headers, cache: "no-store" });
    if (answer.ok) return answer.json();
    const body = await answer.json().catch(() => ({}));
    const message = (body.error && body.error.message) || `the gate answered ${answer.status}`;
    if (answer.status === 401 || answer.status === 403) throw new Refused(message);
    throw new Error(message);
  };

  // --- budgets ----------------------------------------------------------------------------------
  const items = new Map();
  const newItem = () => {
    const item = make("li");
    const first = make("div", "line");
    const gauge = make("div", "gauge");
    gauge.setAttribute("role", "meter");
    gauge.setAttribute("aria-valuemin", "0");
    gauge.setAttribute("aria-valuemax", "100");
    const parts = {
      item, gauge, name: make("span", "name"), state: make("span", "state"),
      fill: make("div", "fill"), cap: make("div", "cap"), figures: make("p", "figures"),
    };
    first.append(parts.name, parts.state);
    gauge.append(parts.fill, parts.cap);
    item.append(first, gauge, parts.figures);
    return parts;
  };
  const drawBudgets = (rows) => {
    const seen = new Set();
    for (const row of rows) {
      const key = JSON.stringify([row.budget_id, row.scope]);
      seen.add(key);
      if (!items.has(key)) items.set(key, newItem());
      const { item, gauge, name, state, fill, cap, figures } = items.get(key);
      const percent = row.used_ratio === null ? 0 : row.used_ratio * 100;
      const title = `${row.budget_id} · ${row.scope}`;
      item.dataset.status = row.status;
      name.textContent = title;
      name.title = title;
      const used = `${percent.toFixed(percent < 10 ? 1 : 0)} %`;
      state.textContent = used + (MARKS[row.status] || "");
      fill.style.width = `${Math.min(percent, 100)}%`;
      cap.hidden = row.soft_cap === null;
      cap.style.left = `${Math.min((row.soft_cap ?? 0) * 100, 100)}%`;
      gauge.setAttribute("aria-label", title);
      gauge.setAttribute("aria-valuenow", Math.min(percent, 100).toFixed(1));
      gauge.setAttribute("aria-valuetext", `${used}, ${WORDS[row.status] || row.status}`);
      const resets = row.resets_at ? `, resets ${clock(row.resets_at)}` : "";
      figures.textContent =
        `${usd(row.spent_usd)} of ${usd(row.limit_usd)} a ${row.window}, ` +
        `${usd(row.held_usd)} in flight, ${usd(row.remaining_usd)} left${resets}`;
      find("budgets").append(item);
    }
    for (const [key, parts] of items) {
      if (!seen.has(key)) {
        parts.item.remove();
        items.delete(key);
      }
    }
    find("no-budgets").hidden = rows.length > 0;
  };

  // --- spend over time --------------------------------------------------------------------------
  const SVG = "http://www.w3.org/2000/svg";
  const drawSpend = (latest) => {
    const chart = find("chart");
    const legend = find("legend");
    chart.replaceChildren();
    legend.replaceChildren();
    const lines = latest.series.map((one) => one.usd.map(Number));
    const count = lines.length ? lines[0].length : 0;
    const tops = Array.from({ length: count }, (_, i) => lines.reduce((sum, line) => sum + Math.max(line[i], 0), 0));
    const highest = Math.max(...tops, 0) || 1;
    const base = new Array(count).fill(0);
    lines.forEach((line, index) => {
      line.forEach((value, i) => {
        if (value <= 0) return;
        const bar = document.createElementNS(SVG, "rect");
        const height = (value / highest) * 190;
        bar.setAttribute("class", `s${index % 7}`);
        bar.setAttribute("x", String((i * 600) / count));
        bar.setAttribute("width", String(Math.max(600 / count - 1.5, 1)));
        bar.setAttribute("y", String(200 - base[i] - height));
        bar.setAttribute("height", String(height));
        base[i] += height;
        chart.append(bar);
      });
      const total = line.reduce((sum, value) => sum + value, 0);
      const entry = make("li");
      entry.append(make("span", `dot s${index % 7}`), `${latest.series[index].name} ${usd(total)}`);
      legend.append(entry);
    });
    find("spend-note").textContent = latest.events
      ? `The last ${latest.events.toLocaleString("en-US")} charges and corrections, since ${clock(latest.since)}; the highest bar is ${usd(highest)} in ${Math.round(latest.bucket_seconds)} s.`
      : "Nothing was charged yet.";
  };

  const drawRefusals = (rows) => {
    find("no-refusals").hidden = rows.length > 0;
    find("refusals").replaceChildren(
      ...rows.map((row) => {
        const line = make("tr");
        const why = row.decision === "refuse" ? row.code : `${row.code} (${row.decision})`;
        for (const text of [clock(row.occurred_at), why, row.budget_id ?? "", row.who, usd(row.needed_usd), row.suggested_model ?? ""]) {
          const cell = make("td", "", text);
          cell.title = text;
          line.append(cell);
        }
        return line;
      }),
    );
  };

  // --- asking again and again -------------------------------------------------------------------
  let timer = 0;
  let round = 0;
  const showDoor = (message) => {
    find("door").hidden = false;
    find("figures").hidden = true;
    find("refused").textContent = message;
    find("status").textContent = "The token is needed";
    find("token").focus();
  };
  const refresh = async () => {
    const mine = ++round;
    clearTimeout(timer);
    if (sessionStorage.getItem(KEY) === null) {
      showDoor("");
      return;
    }
    try {
      const by = encodeURIComponent(find("by").value);
      const [budgets, latest] = await Promise.all([
        ask("/api/dashboard/spend"), ask(`/api/dashboard/latest?by=${by}`),
      ]);
      if (mine !== round) return;
      find("door").hidden = true;
      find("figures").hidden = false;
      drawBudgets(budgets);
      drawSpend(latest);
      drawRefusals(latest.refusals);
      find("status").textContent = `As of ${clock(latest.at)}`;
      document.body.dataset.round = String(mine);
    } catch (error) {
      if (mine !== round) return;
      if (error instanceof Refused) {
        sessionStorage.removeItem(KEY);
        showDoor(error.message);
        return;
      }
      find("status").textContent = `Not up to date: ${error.message}`;
    }
    if (!document.hidden) timer = setTimeout(refresh, SECONDS * 1000);
  };
  find("door").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, find("token").value.trim());
    find("token").value = "";
    refresh();
  });
  find("by").addEventListener("change", refresh);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) refresh();
  });
  refresh();
})();
