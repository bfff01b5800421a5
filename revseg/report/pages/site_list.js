"use strict";
// The list: filtered, sorted and searched in memory; only the lines in sight are in the page.
const HEIGHT = 46; // of a line, as in site.css
const EDGE = 10; // lines kept above and below those in sight
const list = { found: [], scroller: null, first: -1, last: -1, top: 0 };

// What can be sorted by and filtered on: [name, value of an entry].
function measures() {
  const { figures, runs } = revseg.meta;
  const of = (run, i) => (row) => (row.runs[run] ? row.runs[run][1][i] : null);
  if (runs.length === 1) return figures.map((name, i) => [name, of(0, i)]);
  const gain = (i) => (row) => {
    const [a, b] = [of(0, i)(row), of(1, i)(row)];
    return a === null || b === null ? null : b - a;
  };
  return figures.flatMap((name, i) => [[`${name} \u00b7 A`, of(0, i)], [`${name} \u00b7 B`, of(1, i)], [`${name} \u00b7 B \u2212 A`, gain(i)]]);
}

function filtered() {
  const now = state();
  const wanted = (now.get("q") || "").toLowerCase().split(/\s+/).filter(Boolean);
  const group = now.get("type"), low = parseFloat(now.get("min")), high = parseFloat(now.get("max"));
  const kinds = [now.get("kindA"), now.get("kindB")];
  const known = measures();
  const measure = known[Number(now.get("by") || 0)] || known[0];
  const ranged = !Number.isNaN(low) || !Number.isNaN(high);
  const rows = revseg.rows.filter((row) => {
    if (group !== null && row.group !== group) return false;
    for (const run of [0, 1]) if (kinds[run] && (row.runs[run] ? row.runs[run][0] : "no such sample") !== kinds[run]) return false;
    const value = ranged ? measure[1](row) : null;
    if (ranged && (value === null || value < low || value > high)) return false;
    return wanted.every((word) => row.find.includes(word));
  });
  const order = now.get("order");
  if (order) {
    const sign = order === "up" ? 1 : -1;
    rows.sort((x, y) => {
      const [a, b] = [measure[1](x), measure[1](y)];
      if (a === null || b === null) return (a === null) - (b === null); // what has no figure comes last
      return sign * (a - b) || x.number - y.number;
    });
  }
  return rows;
}

revseg.showList = () => {
  list.first = list.last = -1;
  list.scroller = el("div.rows", { scroll: () => { list.top = list.scroller.scrollTop; draw(); }, role: "table", tabindex: "0", "aria-label": "samples" }, el("div.all"));
  const { runs, total, pictures } = revseg.meta;
  const app = document.getElementById("app");
  app.replaceChildren(
    el("main.wide", null,
      el("p.eyebrow", null, "revseg \u00b7 results"),
      el("h1", null, runs.map((run, i) => [i ? " and " : null, runs.length > 1 ? el("span.run", null, letter(i)) : null, words("span", run.name)])),
      el("ul.facts", null, runs.map((run, i) => el("li.chip", null, runs.length > 1 ? letter(i) + ": " : null, el("b", null, many(run.rows)), run.rows === run.of ? " rows" : ` of ${many(run.of)} rows`)),
        el("li.chip", null, words("span", runs[0].dataset)),
        ),
      pictures ? el("p.lead", null, "No pictures: ", words("span", pictures), ".") : null,
      findings(),
      el("section.list", null, controls(), el("p.count", { id: "count", "aria-live": "polite" }), heading(), list.scroller),
      made()));
  revseg.refresh();
  list.scroller.scrollTop = list.top;
  if (!total) document.getElementById("count").textContent = "There is no row.";
};

// After data came or a filter changed.
revseg.refresh = () => {
  if (state().get("s") !== null || !list.scroller) return;
  list.found = filtered();
  list.first = -1;
  const loaded = revseg.rows.length, total = revseg.meta.total;
  document.getElementById("count").textContent =
    `${many(list.found.length)} of ${many(loaded)} samples` + (loaded < total ? ` \u00b7 loading ${many(total)}` : "");
  list.scroller.firstChild.style.height = list.found.length * HEIGHT + "px";
  options();
  draw();
};

function draw() {
  const top = list.scroller.scrollTop, high = list.scroller.clientHeight || 600;
  const first = Math.max(0, Math.floor(top / HEIGHT) - EDGE);
  const last = Math.min(list.found.length, Math.ceil((top + high) / HEIGHT) + EDGE);
  if (first === list.first && last === list.last) return;
  [list.first, list.last] = [first, last];
  const lines = [];
  for (let i = first; i < last; i++) lines.push(oneLine(list.found[i], i));
  list.scroller.firstChild.replaceChildren(...lines);
}

function oneLine(row, place) {
  const line = el("a.line", { href: address({ s: row.number }), role: "row", "data-number": row.number },
    el("span.index", null, String(row.index)),
    el("span.what", null, words("b", row.text || "(never loaded)"), words("small", row.video + (row.group ? " \u00b7 " + row.group : ""))),
    row.runs.map((run) => (run
      ? [chip(run[0]), meter(run[1][0]), el("span.n", null, figure(run[1][1]))]
      : [el("span.chip", null, "no such sample"), el("span"), el("span.n", null, "\u2013")])),
    row.runs.length > 1 ? change(row) : null);
  line.style.top = place * HEIGHT + "px";
  return line;
}

const meter = (value) => el("span.meter", { title: "J " + figure(value, 4) }, el("i", { "width%": 100 * Math.max(0, Math.min(1, value || 0)) + "%" }), el("em", null, figure(value)));
function change(row) {
  const [a, b] = row.runs.map((run) => (run ? run[1][0] : null));
  if (a === null || b === null) return el("span.n", null, "\u2013");
  return el("span.n" + (b - a > 0.005 ? ".better" : b - a < -0.005 ? ".worse" : ""), null, signed(b - a));
}
function signed(value) {
  const text = Math.abs(value).toFixed(2);
  return (text === "0.00" ? "" : value > 0 ? "+" : "\u2212") + text;
}

function heading() {
  const two = revseg.meta.runs.length > 1;
  const head = (run) => [el("span", null, two ? `${letter(run)}: what went wrong` : "what went wrong first"), el("span", null, "J"), el("span.n", null, "reward")];
  return el("div.line.top" + (two ? ".two" : ""), { "aria-hidden": "true" }, el("span.index", null, "row"), el("span", null, "query"), head(0), two ? [head(1), el("span.n", null, "J, B \u2212 A")] : null);
}

function set(changes) {
  list.top = 0;
  history.replaceState(null, "", address(changes));
  list.scroller.scrollTop = 0;
  revseg.refresh();
}

function controls() {
  const now = state(), two = revseg.meta.runs.length > 1;
  const bar = el("div.controls", { id: "controls" });
  const field = (name, control) => el("label", null, el("span", null, name), control);
  const text = (key, attributes) => el("input", { ...attributes, "data-key": key, value: now.get(key), input: (e) => set({ [key]: e.target.value }) });
  const choice = (key) => el("select", { "data-key": key, change: (e) => set({ [key]: e.target.value }) });
  const sorted = (key, entries) => {
    const made = choice(key);
    made.append(...entries.map(([value, name]) => el("option", { value, selected: value === (now.get(key) || "") }, name)));
    return made;
  };
  bar.append(
    field("Search", text("q", { type: "search", placeholder: "words of query, id or type", spellcheck: "false" })),
    field(two ? "Went wrong in A" : "Went wrong", choice("kindA")), two ? field("Went wrong in B", choice("kindB")) : "",
    field("Type", choice("type")),
    field("Figure", sorted("by", measures().map(([name], i) => [i ? String(i) : "", name]))),
    el("div.pair", null, field("from", text("min", { type: "number", step: "0.05" })), field("to", text("max", { type: "number", step: "0.05" }))),
    field("Sort by figure", sorted("order", [["", "as in the file"], ["up", "lowest first"], ["down", "highest first"]])),
    el("button", { type: "button", click: () => { history.replaceState(null, "", "#"); list.top = 0; revseg.showList(); } }, "Reset"));
  return bar;
}

// The choices that the rows offer, with how often each; anew when more rows came.
function options() {
  const now = state(), loaded = revseg.rows.length;
  const offer = (key, value) => {
    const control = document.querySelector(`select[data-key="${key}"]`);
    if (!control || control.dataset.loaded === String(loaded)) return;
    control.dataset.loaded = loaded;
    const counts = new Map();
    for (const row of revseg.rows) counts.set(value(row), (counts.get(value(row)) || 0) + 1);
    const names = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 500);
    control.replaceChildren(el("option", { value: "" }, "all"),
      ...names.map(([name, n]) => el("option", { value: name.toWellFormed ? name.toWellFormed() : name, selected: name !== "" && name === now.get(key) }, `${shown(name) || "(none)"} \u00b7 ${many(n)}`)));
  };
  offer("kindA", (row) => (row.runs[0] ? row.runs[0][0] : "no such sample"));
  offer("kindB", (row) => (row.runs[1] ? row.runs[1][0] : "no such sample"));
  offer("type", (row) => row.group);
}

function findings() {
  const { runs } = revseg.meta;
  return runs.map((run, i) => {
    const found = run.signatures.filter((s) => s.found);
    const name = runs.length > 1 ? `Failure signatures of ${letter(i)}` : "Failure signatures";
    if (!found.length) return el("p.none", null, `${name}: none of the known ones.`);
    return el("details.findings", null, el("summary", null, `${name}: `, found.map((s) => s.name).join(", ")),
      found.map((s) => el("div.finding", null, el("h3", null, s.name), el("p", null, s.rule, "."),
        el("ul.facts", null, s.evidence.map(([key, value]) => el("li.chip", null, words("span", key), " ", el("b", null, value === null ? "\u2013" : Number.isInteger(value) ? many(value) : typeof value === "number" ? figure(value) : shown(value))))),
        el("p.lead", null, s.look, "."),
        s.rows.length ? el("p.lead", null, "Look at rows ", s.rows.slice(0, 12).map(([n, index], k) => [k ? ", " : null, el("a", { href: address({ s: n }) }, String(index))]), s.count > 12 ? ` and ${many(s.count - 12)} more.` : ".") : null)));
  });
}

function made() {
  return revseg.meta.runs.map((run, i) => el("details.made", null, el("summary", null, `Made with${revseg.meta.runs.length > 1 ? " \u00b7 " + letter(i) : ""}`), words("pre", run.spec)));
}
