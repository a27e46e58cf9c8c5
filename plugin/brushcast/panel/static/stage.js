// The picture: before and after on two canvases, divided by a brush stroke that can be moved.

import { byId, pressed, recall, remember } from "./page.js";

const STEP = 2;
const LONG_STEP = 10;
const LABEL_PX = 108; // a label, and the bristles beside it
const BOTH_FROM_PX = 600; // as in panel.css
const KEYS = {
  ArrowLeft: (at) => at - STEP,
  ArrowDown: (at) => at - STEP,
  ArrowRight: (at) => at + STEP,
  ArrowUp: (at) => at + STEP,
  PageDown: (at) => at - LONG_STEP,
  PageUp: (at) => at + LONG_STEP,
  Home: () => 0,
  End: () => 100,
};

/** onWatch(sides): called with the sides that the chosen view needs. */
export function makeStage(onWatch) {
  const stage = byId("stage");
  const grip = byId("grip");
  const buttons = [...document.querySelectorAll(".views button")];
  const canvases = { before: byId("before"), after: byId("after") };
  let at = Number(recall("split", 42));
  let wanted = recall("view", "split");
  let width_px = 0;

  function divide(percent) {
    at = Math.min(100, Math.max(0, percent));
    stage.style.setProperty("--x", `${((at / 100) * width_px).toFixed(1)}px`);
    const left_px = (at / 100) * width_px;
    stage.classList.toggle("right-full", stage.dataset.view === "split" && left_px < LABEL_PX);
    stage.classList.toggle("left-full", stage.dataset.view === "split" && width_px - left_px < LABEL_PX);
    grip.setAttribute("aria-valuenow", String(Math.round(at)));
    grip.setAttribute("aria-valuetext", `${Math.round(at)} % camera`);
  }

  function show() {
    const wide = window.innerWidth >= BOTH_FROM_PX;
    const view = wanted === "both" && !wide ? "split" : wanted;
    if (stage.dataset.view === view && stage.dataset.set) return;
    stage.dataset.view = view;
    stage.dataset.set = "yes";
    for (const button of buttons) pressed(button, button.dataset.view === view);
    divide(at);
    onWatch(view === "after" ? ["after"] : ["before", "after"]);
  }

  function drag(event) {
    const box = stage.getBoundingClientRect();
    divide(((event.clientX - box.left) / box.width) * 100);
  }

  for (const button of buttons) {
    button.addEventListener("click", () => {
      wanted = button.dataset.view;
      remember("view", wanted);
      show();
    });
  }
  stage.addEventListener("pointerdown", (event) => {
    if (stage.dataset.view !== "split" || event.button !== 0) return;
    stage.setPointerCapture(event.pointerId);
    drag(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (stage.hasPointerCapture(event.pointerId)) drag(event);
  });
  stage.addEventListener("pointerup", () => remember("split", Math.round(at)));
  grip.addEventListener("keydown", (event) => {
    const move = KEYS[event.key];
    if (!move) return;
    event.preventDefault();
    divide(move(at));
    remember("split", Math.round(at));
  });
  new ResizeObserver(() => {
    width_px = stage.clientWidth;
    show();
    divide(at);
  }).observe(stage);
  show();

  return {
    /** Forget the pictures: after a pause in the connection they are no longer what is on air. */
    clear() {
      stage.classList.remove("painted");
      for (const canvas of Object.values(canvases)) {
        canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      }
    },
    /** Show one JPEG; `shown` is called when it is done, also when it cannot be decoded. */
    async picture(side, blob, shown) {
      try {
        const bitmap = await createImageBitmap(blob);
        const canvas = canvases[side];
        if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
          canvas.width = bitmap.width;
          canvas.height = bitmap.height;
        }
        canvas.getContext("2d").drawImage(bitmap, 0, 0);
        bitmap.close();
        canvas.dataset.pictures = String(Number(canvas.dataset.pictures ?? 0) + 1);
        if (side === "after") stage.classList.add("painted");
      } catch {
        // A picture that cannot be decoded is skipped: the next one is underway.
      } finally {
        shown();
      }
    },
  };
}
