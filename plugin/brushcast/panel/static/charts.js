// The last ten minutes: four charts and two bands over one time axis, drawn on canvases from /api/v1/history.

import { byId, write } from "./page.js";

const SECONDS = 600;
const EVERY_MS = 1000;
const BAND_HEIGHT = 12;
const STATE_COLOURS = { LIVE: "--green", STARTING: "--indigo", HELD: "--ochre", RECONNECTING: "--coral", FAILED: "--red", OFF: "--line-strong" };
const STATE_WORDS = { LIVE: "Live", STARTING: "Starting", HELD: "Holding", RECONNECTING: "Reconnecting", FAILED: "Stopped", OFF: "Paused" };

const whole = (value, unit) => (value === null ? "–" : `${Math.round(value)} ${unit}`);
const percent = (value) => (value === null ? "–" : `${Math.round(100 * value)} %`);

const CHARTS = [
  {
    id: "latency",
    lines: [{ column: "latency_ms", colour: "--coral", filled: true }],
    least: 100,
    label: (value) => `${value} ms`,
    words: (at) => whole(at("latency_ms"), "ms"),
  },
  {
    id: "rate",
    lines: [
      { column: "fps_in", colour: "--indigo" },
      { column: "fps_styled", colour: "--coral" },
    ],
    least: 10,
    words: (at) => `${whole(at("fps_in"), "in")} · ${whole(at("fps_styled"), "painted")} · ${whole(at("fps_out"), "out")}`,
  },
  {
    id: "gpu",
    lines: [
      { column: "gpu_memory_share", colour: "--line-strong" },
      { column: "gpu_share", colour: "--green", filled: true },
    ],
    most: 1,
    label: percent,
    words: (at) => (at("gpu_share") === null ? "no figures" : `${percent(at("gpu_share"))} · memory ${percent(at("gpu_memory_share"))}`),
  },
  {
    id: "drops",
    lines: [{ column: "dropped", colour: "--ochre", bars: true }],
    least: 10,
    words: (at) => `${whole(at("dropped"), "a second")}`,
  },
];
const BANDS = [
  { id: "state", column: "state", colour: (word) => STATE_COLOURS[word] ?? "--line-strong", words: (word) => STATE_WORDS[word] ?? word },
  { id: "rungs", column: "rung", colour: (word) => (word === "full" ? "--green" : word && "--ochre"), words: (word) => (word === "full" ? "full quality" : word || "–") },
];

/** read(path): resolves to the JSON of an address of the API. */
export function makeCharts(read) {
  const section = byId("history");
  const styles = getComputedStyle(document.documentElement);
  const colour = (name) => styles.getPropertyValue(name).trim();
  let table = {};
  let visible = false;
  let busy = false;
  let pointed = null; // 0..1 of the width, while the pointer is over a chart

  const times = () => table.at_s ?? [];
  const newest = () => times()[times().length - 1] ?? 0;

  async function follow() {
    if (busy || !visible || document.hidden || document.body.classList.contains("offline")) return;
    busy = true;
    const mine = table;
    try {
      const news = await read(`/api/v1/history?after=${times().length ? newest() : -1}`);
      if (mine === table) take(news);
    } catch {
      // The connection says by itself when Brushcast does not answer.
    } finally {
      busy = false;
    }
  }

  function take(news) {
    for (const [name, values] of Object.entries(news)) {
      table[name] = [...(table[name] ?? []), ...values].slice(-SECONDS);
    }
    draw();
  }

  /** The sample that the pointer is at, or the newest. */
  function chosen() {
    if (pointed === null) return times().length - 1;
    const wanted = newest() - SECONDS * (1 - pointed);
    const found = times().findIndex((time) => time >= wanted);
    return found < 0 ? times().length - 1 : found;
  }

  function draw() {
    if (!times().length) return;
    const index = chosen();
    const at = (column) => table[column][index] ?? null;
    for (const chart of CHARTS) {
      drawChart(chart);
      write(byId(`now-${chart.id}`), chart.words(at));
    }
    for (const band of BANDS) {
      drawBand(band);
      write(byId(`now-${band.id}`), band.words(table[band.column][index]));
    }
    const ago_s = newest() - times()[index];
    const ago = `${Math.floor(ago_s / 60)}:${String(ago_s % 60).padStart(2, "0")} min ago`;
    write(byId("history-when"), pointed === null ? "" : ago);
    section.dataset.samples = String(times().length);
  }

  /** A clean canvas in CSS pixels. */
  function prepared(id) {
    const canvas = byId(`chart-${id}`);
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const ink = canvas.getContext("2d");
    ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    ink.clearRect(0, 0, width, height);
    return { ink, width, height, x: (time) => width * (1 - (newest() - time) / SECONDS) };
  }

  function drawChart(chart) {
    const { ink, width, height, x } = prepared(chart.id);
    const values = chart.lines.flatMap(({ column }) => table[column].filter((value) => value !== null));
    const most = chart.most ?? rounded(Math.max(chart.least, ...values));
    const y = (value) => height - 1 - (height - 6) * Math.min(1, value / most);
    const label = chart.label ?? String;
    ink.font = `11px ${colour("--sans")}`;
    ink.lineWidth = 1;
    for (const share of [0, 0.5, 1]) {
      const level = Math.round(y(most * share)) + 0.5;
      ink.strokeStyle = colour(share ? "--ink-3" : "--line");
      stroke(ink, [[0, level], [width, level]]);
    }
    for (const line of chart.lines) {
      if (line.bars) bars(ink, line, x, y);
      else for (const run of runs(line.column)) drawRun(ink, line, run.map(([time, value]) => [x(time), y(value)]), y(0));
    }
    ink.textBaseline = "top";
    for (const share of [0.5, 1]) {
      const text = label(most * share);
      const top = y(most * share) + 1;
      ink.globalAlpha = 0.75; // a line that passes under the figure stays a line
      ink.fillStyle = colour("--ink");
      ink.fillRect(0, top + 1, ink.measureText(text).width + 8, 14);
      ink.globalAlpha = 1;
      ink.fillStyle = colour("--muted");
      ink.fillText(text, 3, top + 2);
    }
    cursor(ink, width, height);
  }

  /** A column cut where nothing is known. */
  function runs(column) {
    const found = [];
    let last = -Infinity;
    times().forEach((time, index) => {
      const value = table[column][index];
      if (value === null) return;
      if (time - last > 2) found.push([]);
      found[found.length - 1].push([time, value]);
      last = time;
    });
    return found;
  }

  function drawRun(ink, line, points, floor) {
    if (line.filled) {
      ink.beginPath();
      ink.moveTo(points[0][0], floor);
      for (const [x, y] of points) ink.lineTo(x, y);
      ink.lineTo(points[points.length - 1][0], floor);
      ink.globalAlpha = 0.14;
      ink.fillStyle = colour(line.colour);
      ink.fill();
      ink.globalAlpha = 1;
    }
    ink.strokeStyle = colour(line.colour);
    ink.lineWidth = 1.5;
    ink.lineJoin = "round";
    stroke(ink, points.length > 1 ? points : [points[0], [points[0][0] + 1, points[0][1]]]);
  }

  function bars(ink, line, x, y) {
    ink.fillStyle = colour(line.colour);
    const wide = Math.max(1, x(1) - x(0)) + 0.5; // no seams between seconds
    times().forEach((time, index) => {
      const value = table[line.column][index];
      if (value) ink.fillRect(x(time) - wide, y(value), wide, y(0) - y(value));
    });
  }

  function drawBand(band) {
    const { ink, width, height, x } = prepared(band.id);
    const wide = x(1) - x(0);
    let start = 0;
    times().forEach((time, index) => {
      const word = table[band.column][index];
      const last = index === times().length - 1;
      if (!last && table[band.column][index + 1] === word && times()[index + 1] - time <= 2) return;
      const name = band.colour(word);
      if (name) {
        ink.fillStyle = colour(name);
        ink.globalAlpha = name === "--green" ? 0.5 : 0.9;
        ink.fillRect(x(times()[start]) - wide, (height - BAND_HEIGHT) / 2, x(time) - x(times()[start]) + wide, BAND_HEIGHT);
      }
      start = index + 1;
    });
    ink.globalAlpha = 1;
    cursor(ink, width, height);
  }

  function cursor(ink, width, height) {
    if (pointed === null) return;
    ink.strokeStyle = colour("--paper");
    ink.globalAlpha = 0.5;
    ink.lineWidth = 1;
    stroke(ink, [[pointed * width, 0], [pointed * width, height]]);
    ink.globalAlpha = 1;
  }

  for (const { id } of [...CHARTS, ...BANDS]) {
    const canvas = byId(`chart-${id}`);
    canvas.addEventListener("pointermove", (event) => {
      pointed = Math.min(1, Math.max(0, event.offsetX / canvas.clientWidth));
      draw();
    });
    canvas.addEventListener("pointerleave", () => {
      pointed = null;
      draw();
    });
  }
  new IntersectionObserver((entries) => {
    visible = entries[entries.length - 1].isIntersecting;
    follow();
  }).observe(section);
  addEventListener("resize", draw);
  setInterval(follow, EVERY_MS);

  return {
    /** The connection is new, and so may be the bridge: what it knows is asked for from its beginning. */
    restart() {
      table = {};
      follow();
    },
  };
}

function stroke(ink, points) {
  ink.beginPath();
  points.forEach(([x, y], index) => (index ? ink.lineTo(x, y) : ink.moveTo(x, y)));
  ink.stroke();
}

/** The next of 1, 2, 4, 6, 8 times a power of ten: its half is a round number too. */
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 4, 6, 8, 10].find((step) => step * power >= value);
}
