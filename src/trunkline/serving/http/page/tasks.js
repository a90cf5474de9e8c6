// The tasks of the server: which are asked, and what each is.

import { counted, make } from "./dom.js";
import { rendered } from "./markdown.js";

/** A check box for a task; `chose(name, on)` is told when it changes. */
export function taskChoice(task, on, chose) {
  const box = make("input", { type: "checkbox" });
  box.checked = on;
  box.addEventListener("change", () => chose(task.name, box.checked));
  return make("li", {}, make("label", {}, box, " ", make("bdi", {}, task.name), " ", make("span", { class: "quiet" }, task.kind)));
}

/** What a task is: its model card, which is rendered when it is opened for the first time. */
export function taskCard(task) {
  const content = make("div", { class: "card" });
  const facts = [task.kind, task.labels && counted(task.labels.length, "label"), task.pairs && "reads pairs"];
  const about = [...facts, `${task.backend} ${task.dtype}`].filter(Boolean).join(", ");
  const summary = make("summary", {}, make("bdi", { class: "name" }, task.name), " ", make("span", { class: "quiet" }, about));
  const details = make("details", { class: "panel", "data-card": task.name }, summary, content);
  details.addEventListener("toggle", () => {
    if (!content.hasChildNodes()) content.append(...rendered(task.card, task.name));
  });
  return details;
}
