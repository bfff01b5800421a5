"use strict";
// Loading and routing. Everything a model or a dataset wrote gets into the page as text nodes or as attributes that
// hold no address and no script; nothing is ever parsed as HTML.
const revseg = { meta: null, rows: [], samples: new Map() };

// el("p.lead", {title: "x"}, "text", child): tag and classes, attributes, children; null children are left out.
function el(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  const made = document.createElement(tag);
  if (classes.length) made.className = classes.join(" ");
  fill(made, attributes, children);
  return made;
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(made, attributes, children);
  return made;
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") made.addEventListener(key, value);
    else if (key.startsWith("--") || key === "width%") made.style.setProperty(key === "width%" ? "width" : key, value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat(2)) {
    if (child !== null && child !== undefined && child !== "") made.append(child);
  }
}

// Text from outside gets a text direction of its own, so that right-to-left text does not reorder its surroundings.
const words = (name, text) => el(name, { dir: "auto" }, shown(text));
// Control characters, direction marks and lone surrogates are shown as their code points.
const ODD = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const shown = (text) =>
  String(text).replace(ODD, (c) => "\u27e8U+" + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "\u27e9");
const figure = (value, digits = 2) => (typeof value === "number" ? value.toFixed(digits) : "\u2013");
const many = (count) => count.toLocaleString("en");
const letter = (run) => "AB"[run];
const tone = (kind) =>
  kind === "fine" ? "found" : kind === "not judged" ? "absent" : /^(crash:|round )/.test(kind) ? "failed" : "off";
const chip = (kind) => el("span.chip." + tone(kind), { title: shown(kind) }, shown(kind));

// The state is the part of the address behind "#", so that Back works and a filtered list can be linked to.
const state = () => new URLSearchParams(location.hash.slice(1));
function address(changes, from = state()) {
  const next = new URLSearchParams(from);
  for (const [key, value] of Object.entries(changes)) value === "" || value === null ? next.delete(key) : next.set(key, value);
  return "#" + next;
}

function load(path, done) {
  const script = el("script", { src: path });
  script.onload = () => done(true);
  script.onerror = () => done(false);
  document.body.append(script);
}

revseg.start = (meta) => {
  revseg.meta = meta;
  document.title = "revseg \u00b7 " + meta.runs.map((run) => shown(run.name)).join(" and ");
  addEventListener("hashchange", route);
  route();
  const next = (chunk) => {
    if (chunk * meta.chunk >= meta.total) return;
    load("data/" + String(chunk).padStart(4, "0") + ".js", () => { revseg.refresh(); next(chunk + 1); });
  };
  next(0);
};
revseg.lines = (rows) => { for (const row of rows) revseg.rows.push(entry(row)); };
revseg.sample = (number, data) => {
  revseg.samples.set(number, data);
  if (revseg.samples.size > 50) revseg.samples.delete(revseg.samples.keys().next().value);
};

function entry([number, index, video, query, text, group, ...runs]) {
  const find = `${index}\n${video}\n${query}\n${text}\n${group}`.toLowerCase();
  return { number, index, video, query, text, group, runs, find };
}

function route() {
  const number = state().get("s");
  if (number === null) revseg.showList();
  else revseg.showSample(Number(number));
}
