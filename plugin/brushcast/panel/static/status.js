// What is going on: the state in words, the worker, the source, the sinks, privacy.

import { byId, pressed, toast, write } from "./page.js";

const STATES = {
  STARTING: ["Starting", "Getting ready. Your audience sees the card."],
  LIVE: ["Live", "You are live."],
  HELD: ["Holding", "The last picture is held until the next one is ready."],
  RECONNECTING: ["Reconnecting", "The worker is gone. It is being brought back."],
  FAILED: ["Stopped", "The worker cannot be brought back by itself."],
  OFF: ["Paused", "Paused. Your audience sees the card."],
};
const DEVICES = { cuda: "GPU", rocm: "GPU", mps: "Apple GPU", cpu: "CPU" };
const PORTS = { off: "Off", opening: "Opening…", live: "On", failed: "Failed" };
const BADGE_ON = "A small “AI” tells your viewers who painted it. Switched off, telling them is up to you.";
const BADGE_OFF = "The picture no longer says that it is AI. Telling your viewers is up to you now.";
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

const number = (value, unit, digits = 0) => (value === null ? "–" : `${value.toFixed(digits)} ${unit}`);
const joined = (...parts) => parts.filter(Boolean).join(" · ");

/** change(path, body): posts a change and resolves to the new state. */
export function makeStatus(change) {
  let paused = false;
  let badge = true;
  let sinks = "";
  let alertsTold = "[]";

  const ask = (path, body) => change(path, body).catch((error) => toast(error.message));

  byId("pause").addEventListener("click", () => {
    ask("/api/v1/control", { action: paused ? "resume" : "pause" });
  });
  byId("retry").addEventListener("click", () => ask("/api/v1/control", { action: "retry" }));

  byId("mode").addEventListener("change", () => ask("/api/v1/control", { action: `mode_${byId("mode").value}` }));
  byId("badge-row").addEventListener("click", () => {
    ask("/api/v1/control", { action: badge ? "badge_off" : "badge_on" });
  });
  byId("notice-seen").addEventListener("click", () => ask("/api/v1/control", { action: "notice_seen" }));

  function showDisclosure(state) {
    badge = state.badge;
    byId("badge").setAttribute("aria-checked", String(badge));
    byId("badge-row").classList.toggle("off", !badge);
    write(byId("badge-detail"), badge ? BADGE_ON : BADGE_OFF);
    byId("notice").hidden = !state.notice;
  }

  function showState(state) {
    const [word, otherwise] = STATES[state.state] ?? [state.state, ""];
    document.body.dataset.state = state.state;
    write(byId("pill-text"), word);
    write(byId("message"), state.message || otherwise);
    const advice = byId("advice");
    advice.hidden = !state.advice;
    write(advice, state.advice);
    byId("retry").hidden = state.state !== "FAILED" && state.worker.state !== "failed";
    paused = state.paused;
    pressed(byId("pause"), paused);
    write(byId("pause-text"), paused ? "Resume" : "Pause");
    write(byId("empty-text"), state.state === "LIVE" ? "Waiting for the first picture" : word);
  }

  function showWorker(worker) {
    const device = worker.device_name || worker.device || "No device yet";
    write(byId("device"), device);
    write(byId("device-kind"), joined(DEVICES[worker.device] ?? worker.device, worker.engine));
    write(byId("fig-fps"), worker.fps === null ? "" : number(worker.fps, "fps"));
    write(byId("fig-delay"), worker.delay_ms === null ? "" : number(worker.delay_ms, "ms"));
    write(byId("speed"), number(worker.fps, "fps", 1));
    write(byId("delay"), number(worker.delay_ms, "ms"));
    showWay(worker);
    write(byId("rung"), worker.rung_name || (worker.rung ? `step ${worker.rung} down` : "full quality"));
    const steps = [...byId("rungs").children];
    steps.forEach((step, index) => step.classList.toggle("on", index < steps.length - worker.rung));
    write(byId("reconnects"), String(worker.reconnects));
    write(byId("hits"), COMPACT.format(worker.cache_hits));
    const note = byId("worker-note");
    note.hidden = !worker.message;
    note.classList.toggle("warn", ["failed", "reconnecting", "stalled"].includes(worker.state));
    write(note, worker.message);
  }

  /** Where the delay comes from, when the worker is elsewhere. */
  function showWay(worker) {
    const far = worker.codec !== "" && worker.codec !== "raw" && worker.network_ms !== null;
    byId("way-row").hidden = !far;
    if (!far) return;
    const parts = [["network", worker.network_ms], ["worker", worker.worker_ms], ["even pace", worker.playout_ms]];
    const known = parts.filter(([, ms]) => ms !== null).map(([what, ms]) => `${what} ${number(ms, "ms")}`);
    write(byId("way"), joined(...known, worker.codec.toUpperCase().replace("H264", "H.264")));
  }

  function showPorts(state) {
    const { source, output } = state;
    const fps = source.fps === null ? "" : `${Math.round(source.fps)} fps`;
    const trouble = source.state === "live" ? "" : source.message || PORTS[source.state];
    write(byId("source"), joined(source.title || source.spec, times(source.size), fps, trouble));
    const gap = output.gap_max_ms === null ? "" : `longest gap ${Math.round(output.gap_max_ms)} ms`;
    write(byId("output"), joined(times(output.size), `${Math.round(output.fps)} fps`, gap));
  }

  function showObs(obs) {
    const rate = obs.fps === null ? "" : `${Math.round(obs.fps)} fps`;
    const drawing = obs.render_ms === null ? "" : `drawing ${number(obs.render_ms, "ms", 1)}`;
    const pressure = obs.pressure ? "short of time: the worker gives way" : "";
    const words = obs.connected ? joined(obs.version, rate, drawing, pressure, obs.message) : obs.message;
    write(byId("obs"), words || "–");
  }

  function showAlerts(alerts) {
    const told = JSON.stringify(alerts.map((alert) => [alert.level, alert.message]));
    if (told === alertsTold) return;
    alertsTold = told;
    const items = alerts.map((alert) => {
      const item = document.createElement("li");
      item.className = alert.level;
      item.textContent = alert.message;
      return item;
    });
    byId("alerts").replaceChildren(...items);
    byId("alerts").hidden = !items.length;
  }

  function showSinks(list) {
    const ids = JSON.stringify(list.map((sink) => [sink.id, sink.title]));
    if (ids !== sinks) {
      sinks = ids;
      byId("sinks").replaceChildren(...list.map(row));
    }
    for (const sink of list) {
      const item = byId(`sink-${sink.id}`);
      item.querySelector(".switch").setAttribute("aria-checked", String(sink.on));
      const detail = item.querySelector(".detail");
      detail.classList.toggle("failed", sink.state === "failed");
      write(detail, details(sink));
    }
  }

  function row(sink) {
    const item = document.createElement("li");
    item.className = "sink";
    item.id = `sink-${sink.id}`;
    const title = document.createElement("span");
    title.className = "title";
    title.id = `sink-title-${sink.id}`;
    title.textContent = sink.title;
    const detail = document.createElement("span");
    detail.className = "detail";
    detail.id = `sink-detail-${sink.id}`;
    const toggle = document.createElement("button");
    toggle.type = "button";
    toggle.className = "switch";
    toggle.setAttribute("role", "switch");
    toggle.setAttribute("aria-labelledby", title.id);
    toggle.setAttribute("aria-describedby", detail.id);
    item.append(title, detail, toggle);
    item.addEventListener("click", () => {
      const on = toggle.getAttribute("aria-checked") !== "true";
      ask(`/api/v1/sinks/${sink.id}`, { on });
    });
    return item;
  }

  return {
    /** Show everything of a state but the look. */
    show(state) {
      showState(state);
      showWorker(state.worker);
      showPorts(state);
      showSinks(state.sinks);
      showDisclosure(state);
      if (document.activeElement !== byId("mode")) byId("mode").value = state.mode;
      showObs(state.obs);
      showAlerts(state.alerts);
      const raw = state.privacy.raw_shown;
      byId("privacy").classList.toggle("raw", raw);
      const words = raw ? "Your camera is being shown untouched. Raw: on" : "Your camera is never shown. Raw: off";
      write(byId("privacy-text"), words);
      write(byId("version"), `Brushcast ${state.version}`);
    },
  };
}

function details(sink) {
  if (sink.state === "failed") return sink.message || "Failed";
  const frames = sink.frames ? `${COMPACT.format(sink.frames)} frames` : "";
  return joined(sink.state === "live" ? frames || "On" : PORTS[sink.state], sink.message);
}

const times = (size) => (size ? size.replace("x", " × ") : "");
