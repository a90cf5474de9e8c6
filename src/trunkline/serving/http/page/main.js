// The page: what is typed is sent a short while after typing stops, and the newest request alone is answered.

import { AnswerCard } from "./answers.js";
import { getTasks, predict, Refused, useKey } from "./api.js";
import { byId, counted, duration, make } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { taskCard, taskChoice } from "./tasks.js";

const PAUSE = 350; // milliseconds after the last key

const page = {
  tasks: [], // as GET v1/tasks gives them
  cards: new Map(), // the AnswerCard of each task, by its name
  off: new Set(), // names of tasks that are not asked
  running: null, // the AbortController of the newest request
  timer: null,
  shown: null, // the request whose answer is shown, as JSON
};

async function loadTasks() {
  let given;
  try {
    given = await getTasks();
  } catch (error) {
    return refused(error);
  }
  byId("key-form").hidden = true;
  say("");
  page.tasks = given.tasks;
  page.off = new Set(given.tasks.map((task) => task.name).filter((name) => page.off.has(name)));
  page.cards = new Map(given.tasks.map((task) => [task.name, new AnswerCard(task, given.trunk.layers)]));
  page.shown = null;
  const { name, layers, hidden_size: width, backend, dtype } = given.trunk;
  byId("trunk").textContent =
    `${counted(given.tasks.length, "task")} on ${name}: ${counted(layers, "layer")}, ${width} wide${backend ? `, ${backend} ${dtype}` : ""}`;
  byId("choices").replaceChildren(...given.tasks.map((task) => taskChoice(task, !page.off.has(task.name), chose)));
  byId("cards").replaceChildren(...given.tasks.map(taskCard));
  arrange();
  if (!given.tasks.length) say("This server has no tasks.");
  else send();
}

/** What is on the page follows from which tasks are chosen. */
function arrange() {
  const chosen = asked();
  const readers = chosen.filter((task) => task.pairs).map((task) => task.name);
  byId("pair-part").hidden = !readers.length;
  byId("pair-readers").textContent = readers.length && readers.length < chosen.length ? `for ${readers.join(", ")}` : "";
  byId("chosen").textContent = chosen.length < page.tasks.length ? `${chosen.length} of ${counted(page.tasks.length, "task")}` : "";
  const [wide, narrow] = [(task) => task.kind === "token", (task) => task.kind !== "token"].map((fits) => chosen.filter(fits));
  byId("answers").classList.toggle("alone", narrow.length === 1); // a card that nothing stands beside is as wide as all
  byId("answers").replaceChildren(...[...wide, ...narrow].map((task) => page.cards.get(task.name).element));
}

const asked = () => page.tasks.filter((task) => !page.off.has(task.name));

function chose(name, on) {
  if (on) page.off.delete(name);
  else page.off.add(name);
  arrange();
  soon();
}

function chooseAll(on) {
  page.off = new Set(on ? [] : page.tasks.map((task) => task.name));
  for (const box of byId("choices").querySelectorAll("input")) box.checked = on;
  arrange();
  soon();
}

/** What is to be asked now, or null where there is nothing to ask. */
function request() {
  const chosen = asked();
  const text = byId("text").value;
  if (!chosen.length || !text.trim()) return null;
  const confidence = Number(byId("confidence").value) / 100;
  return {
    text,
    ...(chosen.some((task) => task.pairs) ? { pair: byId("pair").value } : {}),
    ...(chosen.length < page.tasks.length ? { tasks: chosen.map((task) => task.name) } : {}),
    ...(confidence > 0 ? { min_confidence: confidence } : {}),
    scores: true,
    long_texts: document.querySelector("input[name=long]:checked").value,
  };
}

function soon() {
  clearTimeout(page.timer);
  page.timer = setTimeout(() => send(), PAUSE);
}

/** Ask the server, unless the answer to the same is shown already (`anew`: then too). */
async function send(anew = false) {
  clearTimeout(page.timer);
  const wanted = request();
  const written = JSON.stringify(wanted);
  page.running?.abort();
  page.running = null;
  busy(false);
  if (anew && !page.tasks.length) return loadTasks();
  if (!anew && wanted !== null && written === page.shown) return;
  if (wanted === null) {
    clear();
    say(page.tasks.length && !asked().length ? "Choose at least one task." : "");
    return;
  }
  const running = new AbortController();
  page.running = running;
  busy(true);
  const began = performance.now();
  let answer;
  try {
    answer = await predict(wanted, running.signal);
  } catch (error) {
    if (page.running !== running) return; // a newer request is under way
    page.running = null;
    busy(false);
    if ([400, 404, 422, 503].includes(error.status) && (await changed())) return loadTasks();
    return refused(error);
  }
  if (page.running !== running) return;
  page.running = null;
  busy(false);
  const named = Object.keys(answer.predictions[0]);
  if (named.length !== asked().length || named.some((name) => !page.cards.has(name))) {
    if (await changed()) return loadTasks();
  }
  page.shown = written;
  show(answer, wanted, (performance.now() - began) / 1000);
}

function show(answer, wanted, seconds) {
  say("");
  const [prediction] = answer.predictions;
  for (const [name, one] of Object.entries(prediction)) page.cards.get(name)?.show(one, wanted.text);
  const { queued, computed } = answer.seconds;
  measured(
    `${counted(answer.tokens, "token")} \u00b7 computed in ${duration(computed)} \u00b7 waited ${duration(queued)} \u00b7 ` +
      `here after ${duration(seconds)}`,
  );
  notice(answer.long_texts.length ? longNotice(wanted) : []);
  const sentences = [...page.cards.values()].filter((card) => card.task.name in prediction).map((card) => card.sentence);
  byId("said").textContent = sentences.slice(0, 8).join(". ");
}

function longNotice(wanted) {
  const tasks = asked();
  const lengths = [...new Set(tasks.map((task) => task.max_length))].sort((one, other) => one - other);
  const limit = lengths.length > 1 ? `${lengths[0]} to ${lengths.at(-1)} tokens, depending on the task` : counted(lengths[0], "token");
  const opening = `The text is longer than is read at once (${limit}).`;
  if (wanted.long_texts === "windows") return [`${opening} It was read in overlapping windows.`];
  const cut = tasks.filter((task) => task.kind !== "token" && !["mean", "max"].includes(task.long_texts));
  if (!cut.length) return [`${opening} It was read in overlapping windows.`];
  const button = make("button", { type: "button" }, "Read all of it, in windows");
  button.addEventListener("click", () => {
    document.querySelector("input[name=long][value=windows]").checked = true;
    byId("text").focus();
    send();
  });
  const rest = cut.length < tasks.length ? " The other tasks read all of it." : "";
  return [`${opening} It was cut there.${rest} `, button];
}

const measured = (sentence) => (byId("measured").textContent = sentence || "\u00a0");
const say = (sentence) => (byId("error").textContent = sentence);

function notice(children) {
  byId("notice").replaceChildren(...(children.length ? [make("p", { class: "notice" }, ...children)] : []));
}

function busy(on) {
  byId("answers").setAttribute("aria-busy", String(on));
}

/** Take away the answers, which are not of what stands in the form now. */
function clear() {
  page.shown = null;
  for (const card of page.cards.values()) card.clear();
  measured("");
  notice([]);
  byId("said").textContent = "";
}

/** Whether tasks were added or removed since the page was told of them. */
async function changed() {
  const names = (tasks) => JSON.stringify(tasks.map((task) => task.name));
  try {
    return names((await getTasks()).tasks) !== names(page.tasks);
  } catch {
    return false; // what is wrong, the next request will say
  }
}

/** Say why a request was refused. */
function refused(error) {
  if (!(error instanceof Refused)) throw error;
  clear();
  say(error.message);
  if (error.status === 401) askForKey(error.message);
}

function askForKey(why) {
  useKey(null);
  say("");
  byId("key-why").textContent = why;
  byId("key-form").hidden = false;
  byId("key").value = "";
  byId("key").focus();
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  try {
    useKey(byId("key").value.trim());
  } catch (error) {
    return refused(error);
  }
  byId("text").focus();
  loadTasks();
});
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send(true);
});
byId("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    send(true);
  }
});
for (const id of ["text", "pair"]) byId(id).addEventListener("input", soon);
for (const radio of document.querySelectorAll("input[name=long]")) radio.addEventListener("change", soon);
byId("confidence").addEventListener("input", (event) => {
  byId("confidence-shown").textContent = `${event.target.value} %`;
  soon();
});
// A task that reads pairs may have been added: without a second text, which nobody was asked for, answers do not show it.
addEventListener("focus", async () => {
  if (page.tasks.length && (await changed())) loadTasks();
});
byId("all").addEventListener("click", () => chooseAll(true));
byId("none").addEventListener("click", () => chooseAll(false));
byId("examples").replaceChildren(
  ...EXAMPLES.map(([name, text, pair]) => {
    const button = make("button", { type: "button", title: text.length > 120 ? null : text }, name);
    button.addEventListener("click", () => {
      byId("text").value = text;
      byId("pair").value = pair;
      send();
    });
    return make("li", {}, button);
  }),
);
loadTasks();
