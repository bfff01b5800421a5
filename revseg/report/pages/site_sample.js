"use strict";
// One sample: frames with masks, truth and boxes drawn over them, and what each run thought, answered and earned.
const layers = { masks: true, truth: true, boxes: true };

revseg.showSample = (number) => {
  const app = document.getElementById("app");
  if (!(number >= 0 && number < revseg.meta.total)) {
    app.replaceChildren(el("main", null, el("p", null, "There is no such sample. ", el("a", { href: address({ s: null }) }, "Back to the list"))));
    return;
  }
  if (revseg.samples.has(number)) return drawSample(number, revseg.samples.get(number));
  const folder = String(Math.floor(number / revseg.meta.chunk)).padStart(4, "0");
  app.replaceChildren(el("main", null, el("p.wait", null, "Loading.")));
  load(`samples/${folder}/${String(number).padStart(6, "0")}.js`, (well) => {
    if (state().get("s") !== String(number)) return;
    if (well) drawSample(number, revseg.samples.get(number));
    else app.replaceChildren(el("main", null, el("p", null, "This sample's file is missing. ", el("a", { href: address({ s: null }) }, "Back to the list"))));
  });
};

function drawSample(number, data) {
  const row = revseg.rows[number];
  if (!row) { setTimeout(() => state().get("s") === String(number) && drawSample(number, data), 50); return; } // its line is still loading
  const two = revseg.meta.runs.length > 1;
  const [h, w] = data.size;
  const toggles = el("div.layers", null, Object.keys(layers).map((name) => el("label", null,
    el("input", { type: "checkbox", checked: layers[name], change: (e) => { layers[name] = e.target.checked; paint(); } }), el("i." + name), name)));
  const runs = data.runs.map((run, i) => el("div.column", null,
    two ? el("h2.side", null, el("span.run", null, letter(i)), words("span", revseg.meta.runs[i].name)) : null,
    run === null ? el("section", null, el("p.none", null, "This run has no such sample.")) : column(run, data)));
  document.getElementById("app").replaceChildren(el(two ? "main.wide" : "main", null,
    steps(number), el("p.eyebrow", null, `row ${row.index}`), words("h1", row.text || "(never loaded)"),
    el("ul.facts", null, el("li.chip", null, words("span", row.video), ` \u00b7 ${w}\u00d7${h} \u00b7 ${data.length} frames`), row.group ? words("li.chip", row.group) : null, words("li.chip", row.query)),
    data.note ? el("p.lead", null, words("span", data.note)) : null,
    toggles, el(two ? "div.columns" : "div", null, runs)));
  paint();
  scrollTo(0, 0);
}

const paint = () => { for (const [name, on] of Object.entries(layers)) document.getElementById("app").classList.toggle("no-" + name, !on); };

// To the list and to the neighbours in it as it is filtered; also with the keys j and k.
function steps(number) {
  if (!list.found.length) list.found = filtered();
  const place = list.found.findIndex((row) => row.number === number);
  const beside = (offset, name, key) => {
    const row = place < 0 ? undefined : list.found[place + offset];
    return row ? el("a", { href: address({ s: row.number }), "data-step": key }, name) : el("span", null, name);
  };
  return el("nav.steps", null, el("a", { href: address({ s: null }) }, "\u2190 all samples"), beside(-1, "previous (k)", "k"), beside(1, "next (j)", "j"),
    el("span", null, place < 0 ? "" : `${many(place + 1)} of ${many(list.found.length)}`));
}
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|SELECT)$/.test(e.target.tagName)) return;
  const link = document.querySelector(`a[data-step="${e.key === "j" || e.key === "k" ? e.key : ""}"]`);
  if (link) location.replace(link.href);
});

function column(run, data) {
  const failed = run.kind.startsWith("crash:");
  return [
    el("ul.facts", null, el("li", null, chip(run.kind)), el("li.chip", null, "J ", el("b", null, figure(run.j))), run.total === null ? null : el("li.chip", null, "reward ", el("b", null, figure(run.total))),
      run.visible === null ? null : el("li.chip", null, "masks on ", el("b", null, String(run.visible)), ` of ${data.length} frames`)),
    failed ? el("section", null, el("h3", null, "It crashed"), words("pre", run.detail)) : null,
    data.frames.length ? el("section", null, el("div.head", null, el("h2", null, "Frames")), el("div.strip.wide", null, data.frames.map((_, i) => picture(run, data, i))), chart(run, data)) : null,
    run.rounds.map((round, i) => talk(round, i, data)),
    run.rounds.length < run.planned && !failed && run.status !== "absent" ? el("section", null, el("p.none", null, `${run.planned - run.rounds.length} of ${run.planned} rounds did not take place.`)) : null,
    run.rewards.length ? rewards(run) : null,
    run.timings.length ? el("p.lead.timings", null, "seconds: ", run.timings.map(([name, s], k) => [k ? ", " : null, words("span", name), " " + figure(s, 3)])) : null,
  ];
}

function picture(run, data, i) {
  const [h, w] = data.size, frame = data.frames[i];
  const key = run.keyframes.indexOf(frame);
  const path = (d, attributes) => (d ? svg("path", { d, "fill-rule": "evenodd", ...attributes }) : null);
  const colour = (index) => colourOf(data, index);
  const dim = data.pictures[i] && run.masks && run.masks.some((frame) => frame.some((d) => d)) ? dimmed(run.whole ? [run.whole[i]] : run.masks[i], w, h) : null;
  const masks = run.masks ? run.masks[i].flatMap((d, o) => [path(d, { class: "mask-halo" }), path(d, { class: "mask", "--mark": colour(o) })]) : [];
  const marks = run.marks.filter((mark) => mark.frame === frame).flatMap((mark) => [
    ...mark.boxes.flatMap(([x1, y1, x2, y2]) => ["halo", "box"].map((name) => svg("rect", { class: name, x: x1 * w, y: y1 * h, width: (x2 - x1) * w, height: (y2 - y1) * h, "--mark": colour(mark.object) }))),
    ...mark.points.map(([x, y], k) => svg("circle", { class: mark.labels[k] ? "point" : "point not", cx: x * w, cy: y * h, r: w / 80, "--mark": colour(mark.object) }))]);
  const over = svg("svg", { class: "over", viewBox: `0 0 ${w} ${h}` }, dim, path(data.truth ? data.truth[i] : null, { class: "truth-halo" }), path(data.truth ? data.truth[i] : null, { class: "truth" }), masks, marks);
  const ground = data.pictures[i] ? el("img", { src: data.pictures[i], alt: `frame ${frame}`, loading: "lazy" }) : svg("svg", { class: "blank", viewBox: `0 0 ${w} ${h}` });
  return el("figure" + (key >= 0 ? ".chosen" : ""), { "--mark": key >= 0 ? colour(key) : null }, el("div.frame", null, ground, over),
    el("figcaption", null, `frame ${frame}` + (key >= 0 ? " \u00b7 key" : "") + (run.masks && run.masks[i].every((d) => d === "") ? " \u00b7 empty" : "")));
}

// Of an object: chosen against this sample's pictures, else by its number.
function colourOf(data, index) {
  const row = data.colours.length > index ? data.colours : revseg.meta.colours;
  return row[index % row.length];
}

// All but the masks, darker: the whole with the outlines cut out of it.
const dimmed = (outlines, w, h) => svg("path", { class: "dim", "fill-rule": "evenodd", d: `M0 0H${w}V${h}H0Z` + outlines.filter((d) => d).join("") });

function chart(run, data) {
  const top = 1.12 * Math.max(1e-6, ...[...(run.areas || []), ...(data.truth_areas || [])].map((p) => p[1]));
  const last = Math.max(data.length - 1, 1);
  const points = (line) => line.map(([f, v]) => `${((1000 * f) / last).toFixed(1)},${(150 - (150 * v) / top).toFixed(1)}`).join(" ");
  if (!run.areas) return null;
  return [el("h3", null, "Size over time"), svg("svg", { class: "timeline", viewBox: "-6 -4 1012 168", preserveAspectRatio: "none" },
    svg("polyline", { class: "edge", points: points(run.areas) }),
    data.truth_areas ? svg("polyline", { class: "truth", points: points(data.truth_areas) }) : null,
    run.keyframes.map((f, k) => svg("line", { class: "key", x1: (1000 * f) / last, x2: (1000 * f) / last, y1: 0, y2: 159, "--mark": colourOf(data, k) }))),
    el("p.legend", null, el("span", null, el("i.l-masks"), "masks, share of the frame"), data.truth_areas ? el("span", null, el("i.l-truth"), "truth") : null, el("span", null, el("i.l-key"), "keyframe"))];
}

function talk(round, i, data) {
  const placed = round.targets.some((t) => t.boxes.length || t.points.length);
  const title = i ? "Where" : placed ? "When and where" : "When";
  const looked = round.shown.map(([n, h, w]) => `${n} frame${n === 1 ? "" : "s"} at ${w}\u00d7${h}`).join(", ");
  const quote = round.error === null ? round.thinking : round.reply;
  const percent = (v) => Math.round(100 * v);
  const target = (t) => el("dl", null,
    t.frame_id === null ? null : [el("dt", null, "keyframe"), el("dd", null, `frame ${t.frame_id}`)],
    t.description ? [el("dt", null, "description"), words("dd", t.description)] : null,
    t.boxes.map(([x1, y1, x2, y2]) => [el("dt", null, "box"), el("dd", null, `${percent(x1)}\u2013${percent(x2)} % of the width, ${percent(y1)}\u2013${percent(y2)} % of the height`)]).flat(),
    t.points.map(([x, y]) => [el("dt", null, "point"), el("dd", null, `${percent(x)} % of the width, ${percent(y)} % of the height`)]).flat());
  const answer = round.error !== null ? el("div.fail", null, el("b", null, shown(round.error)), " ", words("span", round.detail))
    : round.targets.length ? round.targets.map(target) : el("p", null, "The target is not in the video.");
  return el("section", null, el("div.head", null, el("span.num", null, String(i + 1)), el("h2", null, title)),
    el("p.lead", null, (looked || "no picture") + " shown", round.form < 1 ? ` \u00b7 format ${figure(round.form)}` : null),
    quote ? [el("h3", null, round.error === null ? "Thinking" : "What it wrote"), words("blockquote", quote)] : null,
    el("h3", null, "Answer"), answer,
    el("details", null, el("summary", null, "The words as written"), el("h3", null, "Prompt"), words("pre", round.prompt), el("h3", null, "Reply"), words("pre", round.reply)));
}

function rewards(run) {
  const rows = run.rewards.map(([name, value, weight]) => el("tr", null, words("td.name", name),
    el("td.bar", null, el("div.track", null, el("span", { "width%": 100 * Math.max(0, Math.min(1, value || 0)) + "%" }))),
    el("td.n", null, figure(value)), el("td.n", null, weight === null ? "" : "\u00d7 " + weight)));
  return el("section", null, el("div.head", null, el("h2", null, "Rewards")),
    el("table", null, el("tbody", null, rows, el("tr.total", null, el("td", { colspan: 3 }, "total"), el("td.n", null, figure(run.total))))));
}
