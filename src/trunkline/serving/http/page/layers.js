// Which layers a task reads: a bar for the share of each.

import { make, percent } from "./dom.js";

/** A small chart. `shares` has the share of each layer by its number, or is null where a method has none. */
export function layerChart(shares, trunkLayers) {
  const given = Object.entries(shares ?? {});
  if (!given.length) return make("p", { class: "layers quiet" }, "Its method has no shares of layers.");
  const last = Math.max(trunkLayers, ...given.map(([layer]) => Number(layer)));
  const largest = Math.max(...given.map(([, share]) => share), 1e-9);
  const bars = Array.from({ length: last + 1 }, (_, layer) => {
    const share = shares[layer] ?? 0;
    const bar = make("span", { class: "column" });
    bar.style.height = `${(100 * share) / largest}%`;
    const every = Math.ceil((last + 1) / 13); // so that the numbers have room
    const shown = layer % every === 0 || layer === last ? String(layer) : "";
    const title = `layer ${layer}: ${percent(share)}`;
    return make("span", { class: "layer", title }, make("span", { class: "shaft" }, bar), make("span", { class: "of" }, shown));
  });
  const read = given.filter(([, share]) => share >= 0.005).sort((one, other) => other[1] - one[1]);
  const words = read.map(([layer, share]) => `layer ${layer} ${percent(share)}`).join(", ");
  return make(
    "figure",
    { class: "layers" },
    make("figcaption", {}, "Layers it reads"),
    make("div", { class: "chart", role: "img", "aria-label": `Shares of the layers that it reads: ${words}` }, ...bars),
  );
}
