// The connection to the panel's API: changes by HTTP, states and pictures by one WebSocket that comes back by itself.

const FIRST_DELAY_MS = 400;
const LONGEST_DELAY_MS = 8000;
const SIDES = ["before", "after"];

/** A refusal, with the server's sentence as its message. `status` is 0 when there was no answer at all. */
export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * token: what proves that this page may ask. on: {state(state), picture(side, blob, shown), status(status)}, where
 * status is {kind: "open"}, {kind: "connecting"}, {kind: "waiting", until_ms} or {kind: "refused"}.
 */
export function connect(token, on) {
  let socket = null;
  let failures = 0;
  let timer = 0;
  let watched = [];
  let closed = false;

  async function ask(path, options = {}) {
    let answer;
    try {
      answer = await fetch(path, {
        ...options,
        headers: { ...options.headers, Authorization: `Bearer ${token}` },
        cache: "no-store",
      });
    } catch {
      throw new Refusal("Brushcast does not answer. Nothing was changed.", 0);
    }
    const body = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Refusal(sentence(body.error ?? answer.statusText), answer.status);
    return body;
  }

  // A WebSocket that fails does not say why, so the token is tried on the plain address first.
  async function open() {
    clearTimeout(timer);
    if (closed || socket) return;
    on.status({ kind: "connecting" });
    const mine = (socket = {});
    try {
      on.state(await ask("/api/v1/state"));
    } catch (error) {
      socket = null;
      if (error.status === 401 || error.status === 403) {
        closed = true;
        on.status({ kind: "refused", message: error.message });
      } else later();
      return;
    }
    if (socket !== mine) return;
    socket = new WebSocket(`ws://${location.host}/api/v1/events`, ["brushcast.v1", `token.${token}`]);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => {
      failures = 0;
      say({ watch: document.hidden ? [] : watched });
      on.status({ kind: "open" });
    });
    socket.addEventListener("message", hear);
    socket.addEventListener("close", () => {
      socket = null;
      later();
    });
  }

  function hear(event) {
    if (typeof event.data === "string") {
      const said = JSON.parse(event.data);
      if (said.type === "state") on.state(said.state);
      return;
    }
    const side = SIDES[new DataView(event.data).getUint8(0)];
    const blob = new Blob([event.data.slice(5)], { type: "image/jpeg" });
    on.picture(side, blob, () => say({ shown: side }));
  }

  function say(message) {
    if (socket instanceof WebSocket && socket.readyState === WebSocket.OPEN) {
      socket.send(JSON.stringify(message));
    }
  }

  function later() {
    if (closed) return;
    const jitter = 0.75 + Math.random() / 2;
    const delay_ms = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** failures++) * jitter;
    on.status({ kind: "waiting", until_ms: Date.now() + delay_ms });
    timer = setTimeout(open, delay_ms);
  }

  document.addEventListener("visibilitychange", () => {
    say({ watch: document.hidden ? [] : watched });
    if (!document.hidden && !socket) open();
  });

  open();
  return {
    /** Send a change; resolves to the state after it, rejects with a Refusal. */
    change: (path, body) =>
      ask(path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      }),
    /** The JSON of an address of the API; rejects with a Refusal. */
    read: (path) => ask(path),
    /** Which sides' pictures are wanted from now on. */
    watch(sides) {
      watched = sides;
      if (!document.hidden) say({ watch: sides });
    },
    /** Try again at once. */
    now() {
      failures = 0;
      open();
    },
  };
}

function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
