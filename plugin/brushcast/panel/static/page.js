// Small things that every part of the page uses.

export const byId = (id) => document.getElementById(id);

/** Set a text only when it differs, so that screen readers and selections are left alone. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function pressed(button, yes) {
  button.setAttribute("aria-pressed", String(yes));
}

/** What the user prefers in this browser; a browser that keeps nothing is no fault. */
export function remember(name, value) {
  try {
    localStorage.setItem(`brushcast.${name}`, String(value));
  } catch {
    // Storage may be switched off.
  }
}

export function recall(name, otherwise) {
  try {
    return localStorage.getItem(`brushcast.${name}`) ?? otherwise;
  } catch {
    return otherwise;
  }
}

let toastTimer = 0;

/** One sentence at the lower edge, for six seconds. */
export function toast(message) {
  const element = byId("toast");
  element.textContent = message;
  element.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (element.hidden = true), 6000);
}
