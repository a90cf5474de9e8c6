// Elements of the page. Whatever users, cards and labels say becomes text nodes and attributes, never markup.

/**
 * An element. `attributes` with a value of null or false are left out; `children` are elements or text.
 */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** The element of index.html with this id. */
export const byId = (id) => document.getElementById(id);

/** A share of 1 as a percentage: whole, but for those that would be shown as 0 or 100 without being that. */
export function percent(share) {
  const value = 100 * share;
  if (value > 0 && value < 0.5) return "<1\u00a0%";
  if (value < 100 && value >= 99.5) return value >= 99.95 ? ">99.9\u00a0%" : `${value.toFixed(1)}\u00a0%`;
  return `${Math.round(value)}\u00a0%`;
}

/** A count with its word: "1 token", "2 tokens". */
export const counted = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/** A number that a task predicted or measured, without digits that mean nothing. */
export const number = (value) => String(Number(value.toPrecision(4)));

/** Seconds as milliseconds, or as seconds where they are many. */
export function duration(seconds) {
  const milliseconds = 1000 * seconds;
  if (milliseconds >= 1000) return `${seconds.toPrecision(3)}\u00a0s`;
  return `${milliseconds >= 10 ? Math.round(milliseconds) : milliseconds.toFixed(1)}\u00a0ms`;
}
