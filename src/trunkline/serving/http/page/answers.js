// The answer of each task: a card that is made once, with room for what will stand in it, so that nothing moves when answers come.

import { counted, make, number, percent } from "./dom.js";
import { layerChart } from "./layers.js";
import { events } from "./marks.js";

const SHOWN = 5; // labels of a task that are seen at once
const HUES = 12; // colours of spans in page.css

/** The card of a task. `show` puts an answer into it, `clear` empties it, `sentence` says the answer in words. */
export class AnswerCard {
  constructor(task, trunkLayers) {
    this.task = task;
    this.body = BODIES[task.kind]?.(task) ?? new Unknown();
    this.state = make("p", { class: "state" });
    this.element = make(
      "article",
      { class: `answer ${task.kind}`, "data-task": task.name, "aria-label": task.name },
      make("header", {}, make("h3", {}, make("bdi", {}, task.name)), make("span", { class: "kind" }, task.kind)),
      this.state,
      this.body.element,
      layerChart(task.layers, trunkLayers),
    );
    this.clear();
  }

  show(answer, text) {
    const withheld = answer.abstained === true;
    const skipped = Object.values(answer).every((part) => part === null);
    this.element.classList.toggle("none", withheld || skipped);
    this.said = withheld ? "no answer" : skipped ? "no answer, as there is no text" : this.body.sentence(answer);
    const sure = withheld && typeof (answer.confidence ?? answer.score) === "number";
    this.state.textContent = withheld
      ? `No answer${sure ? `: confidence ${percent(answer.confidence ?? answer.score)}` : ""}`
      : skipped ? "No answer: there is no text" : "";
    this.state.append(...(withheld || skipped ? [] : this.body.headline(answer)));
    if (skipped) this.body.clear();
    else this.body.show(answer, text, withheld);
  }

  clear() {
    this.said = null;
    this.element.classList.remove("none");
    this.state.textContent = "\u00a0";
    this.body.clear();
  }

  get sentence() {
    return this.said === null ? null : `${this.task.name}: ${this.said}`;
  }
}

/** Labels with scores as bars: the best ones, and all of them on demand. */
class Scores {
  constructor(task, several) {
    this.task = task;
    this.several = several;
    this.labels = task.labels ?? [];
    this.rows = Array.from({ length: Math.min(SHOWN, this.labels.length) }, () => new ScoreRow());
    this.element = make("div", { class: "scores" }, make("ol", {}, ...this.rows.map((row) => row.element)));
    this.more = null;
    if (this.labels.length > SHOWN) {
      this.summary = make("summary", {});
      this.list = make("ol", { tabindex: 0, "aria-label": `all labels of ${task.name}` });
      this.more = make("details", {}, this.summary, this.list);
      this.more.addEventListener("toggle", () => this.fill());
      this.element.append(this.more);
    }
  }

  headline(answer) {
    if (!this.several) return [make("bdi", { class: "label" }, answer.label), ` ${percent(answer.score)}`];
    const { labels } = answer;
    return [make("span", { class: "label" }, labels.length ? `${labels.length} of ${counted(this.labels.length, "label")}` : "none of the labels")];
  }

  sentence(answer) {
    if (!this.several) return `${answer.label}, ${percent(answer.score)}`;
    return answer.labels.length ? answer.labels.join(", ") : "none of the labels";
  }

  show(answer, text, withheld) {
    const chosen = new Set(withheld ? [] : this.several ? answer.labels : [answer.label]);
    const scores = answer.scores ?? (answer.label === null ? {} : { [answer.label]: answer.score });
    this.ranked = Object.entries(scores)
      .map(([label, score]) => ({ label, score, chosen: chosen.has(label) }))
      .sort((one, other) => other.chosen - one.chosen || other.score - one.score);
    this.rows.forEach((row, place) => row.show(this.ranked[place]));
    this.fill();
  }

  clear() {
    this.ranked = [];
    this.rows.forEach((row) => row.show(undefined));
    this.fill();
  }

  fill() {
    if (this.more === null) return;
    const unseen = this.ranked.slice(SHOWN).filter((one) => this.several && one.chosen).length;
    this.summary.textContent = `All ${this.labels.length} labels${unseen ? `, ${unseen} more of them chosen` : ""}`;
    if (!this.more.open) return;
    this.list.replaceChildren(...this.ranked.map((one) => new ScoreRow().show(one).element));
  }
}

class ScoreRow {
  constructor() {
    this.label = make("bdi", { class: "name" });
    this.score = make("span", { class: "score" });
    this.bar = make("span", { class: "bar" });
    this.element = make("li", {}, this.label, this.score, make("span", { class: "track", "aria-hidden": "true" }, this.bar));
  }

  show(one) {
    this.element.classList.toggle("chosen", one?.chosen ?? false);
    this.element.classList.toggle("empty", one === undefined);
    this.label.textContent = one?.label ?? "\u00a0";
    this.label.title = one?.label ?? "";
    this.score.textContent = one === undefined ? "" : percent(one.score);
    if (one?.chosen) this.score.prepend(make("span", { class: "check" }, "\u2713 "));
    this.bar.style.width = `${100 * (one?.score ?? 0)}%`;
    return this;
  }
}

/** Spans marked in the text. */
class Marked {
  constructor(task) {
    this.labels = task.labels ?? [];
    this.element = make("div", { class: "marked", dir: "auto", tabindex: 0, role: "group", "aria-label": `the text, as ${task.name} marks it` });
  }

  headline(answer) {
    const out = answer.left_out ? `, ${answer.left_out} left out` : "";
    return [make("span", { class: "label" }, `${counted(answer.spans.length, "span")}${out}`)];
  }

  sentence(answer) {
    const found = answer.spans.map((span) => `${span.text} is ${span.label}`).join("; ");
    return found || "no spans";
  }

  show(answer, text) {
    const root = document.createDocumentFragment();
    const stack = [root];
    for (const event of events(text, answer.spans)) {
      if ("text" in event) stack.at(-1).append(event.text);
      else if ("open" in event) {
        const span = answer.spans[event.open];
        const title = `${span.label} ${percent(span.score)}`;
        const mark = make("mark", { class: `hue-${this.hue(span.label)}`, "data-span": event.open, title });
        stack.at(-1).append(mark);
        stack.push(mark);
      } else {
        const mark = stack.pop();
        const span = answer.spans[event.close];
        if (event.last) mark.append(make("bdi", { class: "tag" }, `${span.label} ${percent(span.score)}`));
      }
    }
    this.element.replaceChildren(root);
  }

  /** One of the colours, always the same for a label. */
  hue(label) {
    return Math.max(0, this.labels.indexOf(label)) % HUES;
  }

  clear() {
    this.element.replaceChildren();
  }
}

/** A number. */
class Value {
  constructor() {
    this.element = make("p", { class: "value" });
  }

  headline() {
    return ["\u00a0"];
  }

  sentence = (answer) => number(answer.value);

  show(answer) {
    this.element.textContent = number(answer.value);
  }

  clear() {
    this.element.textContent = "\u00a0";
  }
}

/** What this page does not know: a kind of a later version, as the server gives it. */
class Unknown {
  constructor() {
    this.element = make("pre", { tabindex: 0 });
  }

  headline = () => ["\u00a0"];

  sentence = () => "answered";

  show(answer) {
    this.element.textContent = JSON.stringify(answer, null, 1);
  }

  clear() {
    this.element.textContent = "";
  }
}

const BODIES = {
  sequence: (task) => new Scores(task, false),
  multilabel: (task) => new Scores(task, true),
  token: (task) => new Marked(task),
  regression: () => new Value(),
};
