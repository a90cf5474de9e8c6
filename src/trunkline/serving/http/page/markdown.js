// A small part of Markdown, for model cards: headings, paragraphs, lists, tables, code, **bold**, `code`. Everything becomes
// elements with text in them; tags, pictures and links of a card stay the text that they are.

import { make } from "./dom.js";

const FENCE = /^\s*(```|~~~)/;
const HEADING = /^(#{1,6})\s+(.*?)\s*#*\s*$/;
const ITEM = /^\s*(?:[-*+]|\d+[.)])\s+(.*)$/;
const ROW = /^\s*\|.*\|\s*$/;
const RULE = /^\s*\|[\s:|]*-[\s:|-]*\|\s*$/;

/** Elements for a card. Its front matter is left out, and a first heading that is `title`; the others come below the page's own, from h3 on. */
export function rendered(card, title) {
  const lines = withoutFrontMatter(card.split(/\r?\n/));
  const first = lines.findIndex((line) => line.trim());
  if (HEADING.exec(lines[first] ?? "")?.[2] === title) lines.splice(first, 1);
  const found = [];
  let at = 0;
  const run = (fits, read = (line) => line) => {
    const taken = [];
    while (at < lines.length && fits(lines[at])) taken.push(read(lines[at++]));
    return taken;
  };
  while (at < lines.length) {
    const line = lines[at];
    const heading = HEADING.exec(line);
    if (!line.trim()) at++;
    else if (FENCE.test(line)) {
      at++;
      const code = run((other) => !FENCE.test(other));
      at++;
      found.push(make("pre", { tabindex: 0 }, make("code", {}, code.join("\n"))));
    } else if (heading) {
      at++;
      found.push(make(`h${Math.min(6, Math.max(3, heading[1].length + 1))}`, {}, ...inline(heading[2])));
    } else if (ITEM.test(line)) {
      const ordered = /^\s*\d/.test(line);
      const items = run((other) => ITEM.test(other), (other) => make("li", {}, ...inline(ITEM.exec(other)[1])));
      found.push(make(ordered ? "ol" : "ul", {}, ...items));
    } else if (ROW.test(line)) found.push(table(run((other) => ROW.test(other))));
    else {
      const text = run((other) => other.trim() && ![FENCE, HEADING, ITEM, ROW].some((start) => start.test(other)));
      found.push(make("p", {}, ...inline(text.map((part) => part.trim()).join(" "))));
    }
  }
  return found;
}

function withoutFrontMatter(lines) {
  if (lines[0]?.trim() !== "---") return lines;
  const end = lines.findIndex((line, at) => at > 0 && line.trim() === "---");
  return end < 0 ? lines : lines.slice(end + 1);
}

function table(lines) {
  const cells = (line) =>
    line.trim().slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
  const headed = lines.length > 1 && RULE.test(lines[1]);
  const rows = lines.filter((line) => !RULE.test(line)).map(cells);
  const row = (name) => (some) => make("tr", {}, ...some.map((cell) => make(name, {}, ...inline(cell))));
  const [first, rest] = headed ? [rows.slice(0, 1), rows.slice(1)] : [[], rows];
  const head = first.some((some) => some.some(Boolean)) ? [make("thead", {}, ...first.map(row("th")))] : [];
  return make("div", { class: "wide", tabindex: 0 }, make("table", {}, ...head, make("tbody", {}, ...rest.map(row("td")))));
}

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).filter(Boolean).map((part) => {
    if (part.length > 2 && part.startsWith("`") && part.endsWith("`")) return make("code", {}, part.slice(1, -1));
    if (part.length > 4 && part.startsWith("**") && part.endsWith("**")) return make("strong", {}, part.slice(2, -2));
    return part;
  });
}
