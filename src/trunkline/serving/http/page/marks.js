// Spans of a text as nested elements. Offsets count Unicode code points, where strings of JavaScript count UTF-16 units.

/** The UTF-16 index of each code point of `text`, and of its end. */
export function codePointIndices(text) {
  const indices = [];
  for (let at = 0; at < text.length; at += text.codePointAt(at) > 0xffff ? 2 : 1) indices.push(at);
  indices.push(text.length);
  return indices;
}

/**
 * The text cut where spans begin and end, as a list of events in order: {text}, {open: span number} and {close: span number,
 * last: whether the span ends there}. Opens and closes nest: a span that crosses the end of another is closed and opened again.
 */
export function events(text, spans) {
  const indices = codePointIndices(text);
  const at = (offset) => indices[Math.max(0, Math.min(offset, indices.length - 1))];
  const wanted = spans
    .map((span, number) => ({ number, start: at(span.start), end: at(span.end) }))
    .filter((span) => span.start < span.end)
    .sort((one, other) => one.start - other.start || other.end - one.end || one.number - other.number);
  const cuts = [...new Set([0, text.length, ...wanted.flatMap((span) => [span.start, span.end])])].sort((a, b) => a - b);
  const found = [];
  const open = [];
  let next = 0;
  cuts.forEach((cut, place) => {
    const lowest = open.findIndex((span) => span.end <= cut);
    const again = lowest < 0 ? [] : open.splice(lowest);
    for (const span of again.toReversed()) found.push({ close: span.number, last: span.end <= cut });
    const opening = again.filter((span) => span.end > cut);
    while (next < wanted.length && wanted[next].start <= cut) opening.push(wanted[next++]);
    for (const span of opening) {
      found.push({ open: span.number });
      open.push(span);
    }
    if (place + 1 < cuts.length) found.push({ text: text.slice(cut, cuts[place + 1]) });
  });
  return found;
}
