// The live view: draws frames with BokehJS where it can be had, else as SVG; both from the same rows.
const NS = "http://www.w3.org/2000/svg";
const USAGE = "#0f7bb8";
// Of the devices beside the first one, as many as the kernel sends.
const FURTHER = ["#9a6700", "#8250df", "#bf3989", "#5f6975", "#1a7f37", "#cf222e", "#0969da", "#6e7781"];

function found(version) {
  const b = window.Bokeh;
  if (!b) return null;
  return b.version === version ? b : b[version] || null;
}

function inject(url) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = resolve;
    script.onerror = () => reject(new Error("the server does not offer it"));
    document.head.appendChild(script);
  });
}

// Run a script that brings BokehJS, beside any other version that the page already has.
async function bring(version, url) {
  const former = window.Bokeh;
  await inject(url);
  const got = found(version);
  if (former && former !== window.Bokeh) {
    former[version] = got;
    window.Bokeh = former;
  }
  if (!got) throw new Error(`BokehJS ${version} did not load`);
  return got;
}

function fromServer(version) {
  const config = document.getElementById("jupyter-config-data");
  if (!config) throw new Error("this page is not served by Jupyter Server");
  const base = JSON.parse(config.textContent).baseUrl || "/";
  return bring(version, `${base}gpupredict/bokehjs/${version}.js`);
}

// The script as the kernel pushes it, once, where GPUPREDICT_UI=bokeh asks for that.
let arrived;
const pushed = new Promise((resolve) => (arrived = resolve));

async function fromKernel(version) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error("the kernel did not send it")), 5000));
  const url = URL.createObjectURL(new Blob([await Promise.race([pushed, late])], { type: "text/javascript" }));
  try {
    return await bring(version, url);
  } finally {
    URL.revokeObjectURL(url);
  }
}

// Look for BokehJS of the document's version: in the page, at our own server's route, in the kernel.
async function loadBokeh(version, pushes) {
  const there = found(version);
  if (there) return there;
  const reasons = [];
  for (const load of pushes ? [fromServer, fromKernel] : [fromServer]) {
    try {
      return await load(version);
    } catch (error) {
      reasons.push(error.message);
    }
  }
  throw new Error(reasons.join("; "));
}

function element(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function svgNode(tag, attributes) {
  const node = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

// What is known of the run: rows are appended by deltas and replaced by keyframes.
class Rows {
  constructor() {
    this.share = [];
    this.memory = [];
    this.further = []; // [name, [[time, percent], ...]] of each device beside the first
    this.first = ""; // the first one's name, where there are others
    this.seq = -1;
    this.meta = null;
  }
  take(frame) {
    if (frame.kind === "delta" && frame.seq !== this.seq + 1) return false; // wait for a keyframe
    this.share.length = frame.kind === "key" ? 0 : Math.min(this.share.length, frame.share_from);
    this.memory.length = frame.kind === "key" ? 0 : Math.min(this.memory.length, frame.memory_from);
    this.share.push(...frame.share);
    this.memory.push(...frame.memory);
    if (frame.further) [this.first, this.further] = [frame.first, frame.further];
    this.seq = frame.seq;
    this.meta = frame;
    return true;
  }
  end() {
    return Math.max(10, this.meta ? this.meta.end : 0);
  }
}

class BokehChart {
  constructor(view) {
    this.doc = view.model.document;
    this.root = view;
  }
  static async make(Bokeh, item, target) {
    const views = await Bokeh.embed.embed_item(item, target);
    const roots = Array.isArray(views) ? views : Array.from(views.roots || views);
    return new BokehChart(roots[0]);
  }
  part(name) {
    return this.doc.get_model_by_name(name);
  }
  theme() {
    const style = getComputedStyle(document.body);
    const color = (name, other) => style.getPropertyValue(name).trim() || other;
    const text = color("--jp-ui-font-color1", "#555");
    const grid = color("--jp-border-color2", "#bbb");
    for (const model of this.doc._all_models ? this.doc._all_models.values() : []) {
      const set = {};
      for (const key of ["axis_label_text_color", "major_label_text_color"]) {
        if (key in model.properties) set[key] = text;
      }
      for (const key of ["axis_line_color", "major_tick_line_color", "minor_tick_line_color", "grid_line_color"]) {
        if (key in model.properties && model.properties[key].get_value() !== null) set[key] = grid;
      }
      if (Object.keys(set).length) model.setv(set);
    }
  }
  draw(rows) {
    const { share, memory, meta } = rows;
    const column = (list, index) => list.map((row) => (row[index] === null ? NaN : row[index]));
    this.part("time").setv({ start: 0, end: rows.end() });
    this.part("share").data = { t: column(share, 0), low: column(share, 1), high: column(share, 2) };
    this.part("further").data = {
      t: rows.further.map(([, line]) => column(line, 0)),
      high: rows.further.map(([, line]) => column(line, 1)),
      color: rows.further.map((_, i) => FURTHER[i]),
    };
    this.part("windows").data = {
      from: column(meta.windows, 0),
      to: column(meta.windows, 1),
      shade: meta.windows.map((_, i) => (i % 2 ? 0.2 : 0.1)),
    };
    const target = meta.target;
    this.part("cover").data = target === null ? { t: [], y: [] } : { t: [0, rows.end()], y: [target, target] };
    this.part("memory").data = { t: column(memory, 0), mib: column(memory, 1) };
    const peak = Math.max(1, ...memory.map((row) => row[1] || 0));
    this.part("memory_range").setv({ start: 0, end: 1.1 * peak });
  }
}

class SvgChart {
  constructor(target) {
    this.svg = svgNode("svg", { viewBox: "0 0 720 210", width: "100%", preserveAspectRatio: "none", height: "210" });
    target.replaceChildren(this.svg);
  }
  theme() {}
  draw(rows) {
    const { share, memory, meta } = rows;
    const x = (t) => (40 + (670 * t) / rows.end()).toFixed(1);
    const y = (p) => (130 - 1.2 * p).toFixed(1);
    const nodes = [];
    const text = (at, top, words) => {
      const node = svgNode("text", { x: at, y: top, "font-size": 11, fill: "currentColor" });
      node.textContent = words;
      nodes.push(node);
    };
    const line = (points, stroke) => nodes.push(svgNode("polyline", { points, fill: "none", stroke, "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" }));
    meta.windows.forEach(([from, to], i) =>
      nodes.push(svgNode("rect", { x: x(from), y: 10, width: x(to) - x(from), height: 120, fill: "#7c7c7c", "fill-opacity": i % 2 ? 0.2 : 0.1 })),
    );
    for (const p of [0, 50, 100]) {
      nodes.push(svgNode("line", { x1: 40, x2: 710, y1: y(p), y2: y(p), stroke: "currentColor", "stroke-opacity": 0.25 }));
      text(4, Number(y(p)) + 4, `${p} %`);
    }
    rows.further.forEach(([, readings], i) =>
      line(readings.filter((row) => row[1] !== null).map((row) => `${x(row[0])},${y(row[1])}`).join(" "), FURTHER[i]),
    );
    const known = share.filter((row) => row[2] !== null);
    line(known.map((row) => `${x(row[0])},${y(row[2])}`).join(" "), USAGE);
    if (meta.target !== null) line(`40,${y(meta.target)} 710,${y(meta.target)}`, "#c2410c");
    const peak = Math.max(1, ...memory.map((row) => row[1] || 0));
    line(memory.filter((row) => row[1] !== null).map((row) => `${x(row[0])},${(200 - (45 * row[1]) / peak).toFixed(1)}`).join(" "), "#3f8f3f");
    text(40, 150, `memory, peak ${(peak / 1024).toFixed(1)} GiB`);
    this.svg.replaceChildren(...nodes);
  }
}

const STYLE = `
.gpupredict-live{font:13px/1.45 var(--jp-ui-font-family,sans-serif);color:var(--jp-ui-font-color1,inherit);max-width:900px;min-width:0;container-type:inline-size;
--gp-good:#1a7f37;--gp-wait:#8a5d00;--gp-bad:#b33f00;--gp-plain:#57606a}
body[data-jp-theme-light="false"] .gpupredict-live{--gp-good:#3fb950;--gp-wait:#d29922;--gp-bad:#f0883e;--gp-plain:#9198a1}
.gpupredict-live .gp-card{border:1px solid var(--jp-border-color2,#8888);border-left:4px solid var(--gp-tone);border-radius:4px;padding:6px 12px}
.gpupredict-live .gp-card>summary{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:0 1em;align-items:baseline;cursor:pointer;list-style:none}
.gpupredict-live .gp-headline{font-size:1.3em;font-weight:600}
.gpupredict-live .gp-over .gp-headline{font-size:1em;font-weight:400;min-height:0}
.gpupredict-live .gp-over{padding:0 12px;--gp-tone:var(--gp-plain)!important}
.gpupredict-live .gp-word{font-weight:600;color:var(--gp-tone);white-space:nowrap}
.gpupredict-live .gp-text{display:grid;grid-template-columns:minmax(0,1fr) 180px;gap:0 1em;min-height:4.4em;align-content:start}
.gpupredict-live .gp-spark{grid-row:1/span 3;grid-column:2;width:180px;height:38px}
.gpupredict-live .gp-text>div{grid-column:1}
.gpupredict-live .gp-chart{min-height:210px}
.gpupredict-live .gp-legend{display:flex;flex-wrap:wrap;gap:.1em .9em;font-size:12px}
.gpupredict-live .gp-evidence,.gpupredict-live .gp-notes{opacity:.85;font-size:12px}
.gpupredict-live .gp-note{opacity:.75;font-size:11px}
.gpupredict-live table{border-collapse:collapse;font-size:12px}
.gpupredict-live caption{text-align:left;font-weight:600;padding-top:.4em}
.gpupredict-live th{text-align:left;vertical-align:top;padding-right:1em;font-weight:600}
.gpupredict-live td{text-align:left;padding-right:1em}
.gpupredict-live summary:focus-visible{outline:2px solid var(--jp-brand-color1,#0f7bb8)}
@container (max-width:640px){.gpupredict-live .gp-headline{min-height:2.9em}.gpupredict-live .gp-text{grid-template-columns:minmax(0,1fr);min-height:8em}.gpupredict-live .gp-spark{display:none}}
@media (prefers-reduced-motion:reduce){.gpupredict-live *{transition:none!important;animation:none!important}}
`;
const SPARK_S = 180;

// Which line is whose, with its newest figure; nothing where there is one device.
function named(rows) {
  if (!rows.further.length) return [];
  const now = rows.share.length ? rows.share[rows.share.length - 1][2] : null;
  const all = [[rows.first, USAGE, now], ...rows.further.map(([name, line], i) => [name, FURTHER[i], line.length ? line[line.length - 1][1] : null])];
  return all.map(([name, color, percent]) =>
    element("span", {}, element("span", { style: `color:${color}`, "aria-hidden": "true" }, "■"), ` ${name} ${percent === null ? "-" : `${percent} %`}`),
  );
}

function initialize({ model }) {
  model.on("msg:custom", (message, buffers) => {
    if (message.kind === "bokehjs") arrived(buffers[0]);
  });
}

// A chart that does not change: by BokehJS where it can be had, else the SVG that came with it.
function still({ model, el }) {
  const chart = element("div", { class: "gp-chart", role: "img", "aria-label": model.get("words") });
  let themes = null;
  let closed = false;
  el.classList.add("gpupredict-still");
  el.append(element("style", {}, STYLE), chart);
  (async () => {
    try {
      const Bokeh = await loadBokeh(model.get("bokeh_version"), model.get("pushes"));
      if (closed) return;
      const drawn = await BokehChart.make(Bokeh, structuredClone(model.get("figure")), chart);
      themes = new MutationObserver(() => drawn.theme());
      themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });
      drawn.theme();
      el.dataset.chart = "bokeh";
    } catch (error) {
      chart.innerHTML = model.get("still"); // our own drawing, its words escaped
      el.dataset.chart = "svg";
    }
  })();
  return () => {
    closed = true;
    if (themes) themes.disconnect();
  };
}

// The last minutes in a small drawing, with the figure as a line.
function sparkline(svg, rows) {
  const begin = rows.end() - SPARK_S;
  const shown = rows.share.filter((row) => row[2] !== null && row[0] >= begin);
  const x = (t) => ((180 * (t - Math.max(0, begin))) / Math.min(SPARK_S, rows.end())).toFixed(1);
  const y = (p) => (36 - 0.34 * p).toFixed(1);
  const parts = [svgNode("polyline", { points: shown.map((row) => `${x(row[0])},${y(row[2])}`).join(" "), fill: "none", stroke: USAGE, "stroke-width": 1.5 })];
  if (rows.meta.target !== null)
    parts.push(svgNode("line", { x1: 0, x2: 180, y1: y(rows.meta.target), y2: y(rows.meta.target), stroke: "var(--gp-tone)", "stroke-dasharray": "4 3" }));
  svg.replaceChildren(...parts);
}

function cells(tag, texts) {
  return texts.map((text) => element(tag, {}, text));
}

// One row for each of several devices; what tells equal ones apart comes first.
function deviceTable(devices) {
  return devices.map((one) =>
    element("tr", {}, ...cells("td", [
      one.rank === null ? (one.index === null ? "GPU" : `GPU ${one.index}`) : `rank ${one.rank}`,
      [one.name, one.mig && `MIG ${one.mig}`, `…${one.ending}`].filter(Boolean).join(" "),
      one.share,
      one.memory,
      `${one.sign} ${one.word}`,
    ])),
  );
}

function detailTables(details) {
  const tables = ["usage", "memory", "measuring"].filter((name) => details[name].length).map((name) =>
    element("table", {}, element("caption", {}, name), ...details[name].map((row) =>
      element("tr", {}, element("th", { scope: "row", title: row.help }, row.label), element("td", {}, row.value)),
    )),
  );
  return [...tables, ...[...details.problems, details.ids].map((text) => element("div", { class: "gp-note" }, text))];
}

function render({ model, el }) {
  if (model.get("still")) return still({ model, el });
  const rows = new Rows();
  const headline = element("span", { class: "gp-headline" });
  const word = element("span", { class: "gp-word" });
  const meaning = element("div", {});
  const evidence = element("div", { class: "gp-evidence" });
  const notes = element("div", { class: "gp-notes" });
  const spark = svgNode("svg", { class: "gp-spark", viewBox: "0 0 180 38", "aria-hidden": "true" });
  const devices = element("table", {});
  const chart = element("div", { class: "gp-chart", role: "img" });
  const legend = element("div", { class: "gp-legend" });
  const curve = element("div", { class: "gp-curve" });
  const note = element("div", { class: "gp-note" });
  const more = element("details", {}, element("summary", {}, "Details"));
  const shown = element("div", {});
  const spoken = element("div", { "aria-live": "polite", style: "position:absolute;left:-9999px" });
  const whole = element("details", { class: "gp-card", open: "" });
  more.append(shown);
  whole.append(
    element("summary", {}, headline, word),
    element("div", { class: "gp-text" }, meaning, evidence, notes, spark),
    chart,
    legend,
    curve,
    devices,
    note,
    more,
    spoken,
  );
  el.classList.add("gpupredict-live");
  el.append(element("style", {}, STYLE), whole);

  let drawer = null;
  let spokenAt = 0;
  let folded = false;
  let closed = false;
  let card = null; // the newest answer
  let details = null; // they come with keyframes

  function say() {
    headline.textContent = card ? `${card.sign} ${card.headline}` : "waiting for the first reading";
    if (!card) return;
    whole.style.setProperty("--gp-tone", `var(--gp-${card.tone})`);
    word.textContent = card.word;
    if (rows.meta.finished) {
      whole.classList.add("gp-over"); // the result below says the answer
      headline.textContent = "the run as it was watched";
      word.textContent = "the result is below";
    }
    meaning.textContent = card.meaning;
    evidence.textContent = card.evidence;
    notes.replaceChildren(...card.notes.map((text) => element("div", {}, `▪ ${text}`)));
    devices.replaceChildren(...deviceTable(card.devices));
    const words = `${card.word}: ${card.headline}`;
    chart.setAttribute("aria-label", words);
    if (Date.now() - spokenAt > 5000 && spoken.textContent !== words) {
      spokenAt = Date.now();
      spoken.textContent = words;
    }
  }

  function show() {
    const meta = rows.meta;
    if (!meta || closed) return;
    say();
    el.dataset.seq = String(meta.seq);
    el.dataset.rows = String(rows.share.length);
    el.dataset.finished = String(meta.finished);
    shown.replaceChildren(...(more.open && details ? detailTables(details) : []));
    legend.replaceChildren(...named(rows));
    sparkline(spark, rows);
    if (drawer) drawer.draw(rows);
    if (meta.finished && !folded) {
      folded = true;
      whole.open = false; // the static result below shows the same chart
    }
  }

  function take(frame) {
    if (!frame || !frame.share || !rows.take(frame)) return;
    if (frame.answer) card = frame.answer;
    if (card && card.details) details = card.details;
    if (frame.curve !== undefined) curve.innerHTML = frame.curve; // our own drawing, its words escaped
    show();
  }

  const onMessage = (frame) => take(frame);
  const onFrame = () => {
    rows.seq = -1;
    take(model.get("frame"));
  };
  model.on("msg:custom", onMessage);
  model.on("change:frame", onFrame);
  more.addEventListener("toggle", show);
  take(model.get("frame"));

  const themes = new MutationObserver(() => {
    if (drawer) {
      drawer.theme();
      show();
    }
  });
  themes.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name"] });

  (async () => {
    try {
      if (model.get("ui") !== "bokeh") throw new Error("not asked for");
      const Bokeh = await loadBokeh(model.get("bokeh_version"), model.get("pushes"));
      if (closed) return;
      chart.replaceChildren();
      drawer = await BokehChart.make(Bokeh, structuredClone(model.get("figure")), chart);
      el.dataset.chart = "bokeh";
    } catch (error) {
      drawer = new SvgChart(chart);
      el.dataset.chart = "svg";
      note.textContent = `drawn without Bokeh: ${error.message}`;
    }
    drawer.theme();
    show();
  })();

  return () => {
    closed = true;
    themes.disconnect();
    model.off("msg:custom", onMessage);
    model.off("change:frame", onFrame);
  };
}

export default { initialize, render };
