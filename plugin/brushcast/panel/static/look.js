// The look: presets as pictures, words, strength and seed. What the user is busy with is never overwritten.

import { byId, pressed, toast, write } from "./page.js";

const SEND_EVERY_MS = 150;
const DRAFT = "brushcast.draft";
const MOST_SEED = 2 ** 32 - 1;

/** send(change): posts a part of the look, resolves to the new state. */
export function makeLook(send) {
  const prompt = byId("prompt");
  const apply = byId("apply");
  const restore = byId("restore");
  const strength = byId("strength");
  const seed = byId("seed");
  const busy = { strength: 0, seed: 0 }; // changes underway: until they are answered, states are older than the user
  let look = null;
  let presets = "";
  let given = null; // the prompt in the newest state
  let shelved = ""; // words that a preset replaced
  let sendTimer = 0;
  let sentAt_ms = 0;

  /** Whether it was accepted; a refusal has been shown. */
  async function change(part) {
    const fields = Object.keys(part).filter((field) => field in busy);
    for (const field of fields) busy[field] += 1;
    try {
      await send(part);
      return true;
    } catch (error) {
      toast(error.message);
      return false;
    } finally {
      for (const field of fields) busy[field] -= 1;
      if (look) show(look);
    }
  }

  // Words
  const words = () => prompt.value.trim().replace(/\s+/g, " "); // as the server keeps them
  const dirty = () => given !== null && words() !== given && words() !== "";

  function showWords() {
    const changed = dirty();
    apply.disabled = !changed;
    restore.hidden = shelved === "" || changed;
    const note = byId("prompt-note");
    const warning = look?.message ?? "";
    note.classList.toggle("warn", !changed && warning !== "");
    write(note, changed ? "Not painted yet. Press Enter." : warning || (look && !look.applied ? "Changing…" : ""));
  }

  function keepDraft() {
    try {
      if (dirty()) sessionStorage.setItem(DRAFT, prompt.value);
      else sessionStorage.removeItem(DRAFT);
    } catch {
      // Storage may be switched off.
    }
  }

  function take(text) {
    prompt.value = text;
    keepDraft();
    showWords();
  }

  byId("words").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!dirty()) return;
    const sent = words();
    if (!(await change({ prompt: sent }))) return;
    shelved = "";
    if (words() === sent) take(given);
  });
  prompt.addEventListener("input", () => {
    keepDraft();
    showWords();
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      byId("words").requestSubmit();
    } else if (event.key === "Escape" && given !== null) take(given);
  });
  restore.addEventListener("click", () => {
    take(shelved);
    shelved = "";
    showWords();
    prompt.focus();
  });

  // Looks
  function showPresets(list) {
    const text = JSON.stringify(list);
    if (text === presets) return;
    presets = text;
    byId("looks").replaceChildren(...list.map(tile));
  }

  async function choose(name) {
    const typed = dirty() ? prompt.value : "";
    shelved = typed || shelved;
    given = null; // the preset's own words come with the answer
    if (await change({ preset: name })) return;
    given = look.prompt;
    if (typed) shelved = "";
    take(typed || given);
  }

  function tile(preset) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "look";
    button.dataset.name = preset.name;
    button.title = preset.prompt;
    const thumb = document.createElement("span");
    thumb.className = "thumb";
    thumb.style.setProperty("--hue", String(hue(preset.name)));
    if (preset.thumbnail) {
      const picture = document.createElement("img");
      picture.alt = "";
      picture.decoding = "async";
      picture.addEventListener("error", () => picture.remove());
      picture.src = preset.thumbnail;
      thumb.append(picture);
    }
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = preset.title;
    button.append(thumb, name);
    button.addEventListener("click", () => choose(preset.name));
    return button;
  }

  // Strength
  function showStrength(percent) {
    strength.value = String(percent);
    strength.parentElement.style.setProperty("--value", `${percent}%`);
    write(byId("strength-value"), String(percent));
  }

  function sendStrength() {
    clearTimeout(sendTimer);
    sendTimer = 0;
    sentAt_ms = Date.now();
    change({ strength: Number(strength.value) / 100 });
  }

  strength.addEventListener("input", () => {
    showStrength(Number(strength.value));
    const wait_ms = Math.max(0, sentAt_ms + SEND_EVERY_MS - Date.now());
    sendTimer ||= setTimeout(sendStrength, wait_ms);
  });
  strength.addEventListener("change", sendStrength);

  // Seed
  function sendSeed(number) {
    seed.value = String(number);
    change({ seed: number });
  }

  seed.addEventListener("change", () => {
    const number = Number(seed.value.trim());
    if (seed.value.trim() !== "" && Number.isInteger(number) && number >= 0 && number <= MOST_SEED) {
      sendSeed(number);
    } else {
      toast(`Seed ${seed.value || "(empty)"}: wanted a whole number from 0 to ${MOST_SEED}.`);
      if (look) seed.value = String(look.seed);
    }
  });
  byId("dice").addEventListener("click", (event) => {
    const button = event.currentTarget;
    button.classList.remove("rolled");
    void button.offsetWidth; // lets the animation start anew
    button.classList.add("rolled");
    sendSeed(crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000);
  });

  function show(newest) {
    look = newest;
    for (const button of document.querySelectorAll(".look")) {
      pressed(button, button.dataset.name === look.preset);
    }
    if (given !== look.prompt) {
      const draft = given === null && !shelved ? savedDraft() : null;
      const typing = dirty();
      given = look.prompt;
      if (draft) prompt.value = draft;
      else if (!typing) prompt.value = given;
    }
    if (!busy.strength && !sendTimer) showStrength(Math.round(look.strength * 100));
    if (!busy.seed && document.activeElement !== seed) seed.value = String(look.seed);
    keepDraft();
    showWords();
  }

  return {
    /** Show the look and the presets of a state. */
    show(state) {
      showPresets(state.presets);
      show(state.look);
    },
  };
}

function savedDraft() {
  try {
    return sessionStorage.getItem(DRAFT);
  } catch {
    return null;
  }
}

/** A colour for a preset without a picture: the same name, the same colour. */
function hue(name) {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + character.codePointAt(0)) % 360;
  return sum;
}
