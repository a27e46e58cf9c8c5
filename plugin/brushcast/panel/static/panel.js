// The page's entry: takes the token out of the address, connects, and hands states and pictures to the parts.

import { makeCharts } from "./charts.js";
import { connect } from "./connection.js";
import { makeLook } from "./look.js";
import { byId, write } from "./page.js";
import { makeStage } from "./stage.js";
import { makeStatus } from "./status.js";

const TOKEN = "brushcast.token";

/** The token from the address (which then loses it), or the one that this tab kept. */
function takeToken() {
  const given = new URLSearchParams(location.search).get("token");
  try {
    if (given) sessionStorage.setItem(TOKEN, given);
    if (given) history.replaceState(null, "", location.pathname);
    return given ?? sessionStorage.getItem(TOKEN);
  } catch {
    return given;
  }
}

function lock() {
  document.body.classList.add("refused");
  byId("main").hidden = true;
  byId("banner").hidden = true;
  byId("pause").hidden = true;
  write(byId("pill-text"), "Locked");
  byId("locked").hidden = false;
  byId("locked").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("key").value.trim();
    const token = /[?&]token=([\w-]+)/.exec(text)?.[1] ?? text;
    if (token) location.assign(`/?token=${encodeURIComponent(token)}`);
  });
  byId("key").focus();
}

let waitTimer = 0;

function showConnection(status, stage, charts) {
  const open = status.kind === "open";
  document.body.classList.toggle("offline", !open);
  clearInterval(waitTimer);
  if (status.kind === "refused") return lock();
  if (status.kind === "waiting") {
    const count = () => {
      const left_s = Math.max(0, Math.ceil((status.until_ms - Date.now()) / 1000));
      const when = left_s > 1 ? `again in ${left_s} s` : "again now";
      write(byId("banner-text"), `Brushcast does not answer. Trying ${when}. Your camera stays hidden meanwhile.`);
    };
    count();
    waitTimer = setInterval(count, 250);
    byId("banner").hidden = false;
    write(byId("pill-text"), "Not connected");
  }
  if (open) {
    write(byId("banner-text"), "");
    stage.clear();
    charts.restart();
  }
  byId("banner").hidden = byId("banner-text").textContent === "";
}

function start(token) {
  // The parts ask for pictures and changes only after the first state, when the connection stands.
  let connection = null;
  let sides = [];
  const status = makeStatus((path, body) => apply(connection.change(path, body)));
  const look = makeLook((part) => apply(connection.change("/api/v1/look", part)));
  const stage = makeStage((wanted) => {
    sides = wanted;
    connection?.watch(wanted);
  });

  const charts = makeCharts((path) => connection.read(path));

  function show(state) {
    status.show(state);
    look.show(state);
  }

  async function apply(answer) {
    const state = await answer;
    show(state);
    return state;
  }

  connection = connect(token, {
    state: show,
    picture: stage.picture,
    status: (news) => showConnection(news, stage, charts),
  });
  connection.watch(sides);
  byId("retry-now").addEventListener("click", () => connection.now());
}

addEventListener("scroll", () => document.documentElement.classList.toggle("scrolled", scrollY > 4), { passive: true });

const token = takeToken();
if (token) start(token);
else lock();
