// The paper's four models side by side: what the chosen tubelet may see, layer by layer, and what it costs.

import { counted } from "./numbers.js";
import { byId, clear, colours, diamond, element, prepare } from "./drawing.js";
import { timeOf, tokenOf } from "./clip.js";
import { nameOfToken } from "./flow.js";

const NAMES = {
  spatio_temporal: ["Model 1 · all with all", "Every token reads every token, at every place and time."],
  factorised_encoder: ["Model 2 · two encoders", "The first encoder takes each time by itself: a token reads only its own time.", "The second reads one token a time: there the times come together."],
  factorised_self_attention: ["Model 3 · time, then space", "In each layer first over time, then over space."],
  factorised_dot_product: ["Model 4 · heads shared out", "Half of the heads read over time, half over space."],
};

// Which tokens a token reads in a layer, and which reach it through that layer and those before. A set of tokens is a
// union of [all times?, all places?]: [true, false] is the token's own place at all times.
export function sightOf(layers) {
  let reach = [[false, false]];
  return layers.map((steps) => {
    const direct = [[false, false]];
    for (const step of steps) {
      const by = {
        all: [[true, true]],
        moments: [[true, true]],
        temporal: reach.map(([, space]) => [true, space]),
        spatial: reach.map(([time]) => [time, true]),
        either: [...reach.map(([, space]) => [true, space]), ...reach.map(([time]) => [time, true])],
      }[step];
      reach = by;
      direct.push(...{ all: [[true, true]], moments: [[true, true]], temporal: [[true, false]], spatial: [[false, true]], either: [[true, false], [false, true]] }[step]);
    }
    return { direct, reach };
  });
}

const holds = (set, sameTime, samePlace) => set.some(([time, space]) => (time || sameTime) && (space || samePlace));

export function buildModels(net, page) {
  const { models, model } = net.data;
  const box = clear(byId("models"));
  const most = (name) => Math.max(...models.map((entry) => entry[name]));
  const built = models.map((entry) => {
    const [title, first, second] = NAMES[entry.attention_type];
    const saved = net.times > 1 ? ` With ${net.times} times, about 1/${net.times} of the pairs are left to score.` : "";
    const says = second ? `${first}${saved} ${second}` : first;
    const own = entry.attention_type === model.attention_type;
    const layers = element("div", { class: "layers" });
    const spatial = entry.layers.filter(([reads]) => reads !== "moments").length;
    const twoEncoders = entry.attention_type === "factorised_encoder";
    const canvases = sightOf(entry.layers).map((sight, number) => {
      const canvas = element("canvas", { role: "img" });
      const moments = entry.layers[number][0] === "moments";
      layers.append(element("figure", {}, canvas, element("figcaption", {}, moments ? `temporal ${number - spatial}` : twoEncoders ? `spatial ${number}` : `layer ${number}`)));
      return { canvas, sight };
    });
    const cost = element("div", { class: "cost" });
    for (const [name, label] of [["parameters", "parameters"], ["multiply_accumulates", "products, in all"], ["attention_products", "of them attention"]]) {
      const bar = element("i");
      bar.style.width = `${(100 * entry[name]) / most(name)}%`;
      cost.append(element("span", {}, label), element("span", { class: "meter", "aria-hidden": "true" }, bar), element("span", {}, counted(entry[name])));
    }
    box.append(element("article", { class: own ? "model own" : "model" }, element("h3", {}, title, own ? " (this one)" : ""), element("p", { class: "fine" }, says), layers, cost));
    return canvases;
  });

  function render(before) {
    if (before && before.token === page.state.token) return;
    const { ink, muted, gaze } = colours();
    const token = Math.max(0, tokenOf(page.state));
    const [time, place] = [Math.floor(token / net.places), token % net.places];
    const name = tokenOf(page.state) < 0 ? "the first tubelet (CLS reads all that there is)" : nameOfToken(net, page.state);
    byId("four-says").textContent = `In the size of this model. Full squares: what ◆ ${name} reads in this layer. Rings: what has reached it by way of other tokens. Dots: what has not.`;
    const times = Math.min(net.times, 4);
    const first = Math.max(0, Math.min(net.times - times, time - 1));
    for (const canvases of built)
      canvases.forEach(({ canvas, sight }) => {
        const pitch = Math.max(3, Math.min(8, 34 / net.columns));
        const width = times * net.columns * pitch + (times - 1) * 4;
        const context = prepare(canvas, width, net.rows * pitch);
        let [read, reached] = [0, 0];
        for (let t = 0; t < net.times; t++)
          for (let p = 0; p < net.places; p++) {
            const direct = holds(sight.direct, t === time, p === place);
            const reach = direct || holds(sight.reach, t === time, p === place);
            read += direct;
            reached += reach;
            if (t < first || t >= first + times) continue;
            const x = (t - first) * (net.columns * pitch + 4) + ((p % net.columns) + 0.5) * pitch;
            const y = (Math.floor(p / net.columns) + 0.5) * pitch;
            const r = pitch * 0.36;
            if (t === time && p === place) {
              diamond(context, x, y, Math.max(2.2, pitch * 0.5));
            } else if (direct) {
              context.fillStyle = gaze;
              context.fillRect(x - r, y - r, 2 * r, 2 * r);
            } else if (reach) {
              context.strokeStyle = ink;
              context.lineWidth = 1;
              context.beginPath();
              context.arc(x, y, r * 0.9, 0, 7);
              context.stroke();
            } else {
              context.fillStyle = muted;
              context.fillRect(x - 0.5, y - 0.5, 1, 1);
            }
          }
        const count = net.times * net.places;
        canvas.setAttribute("aria-label", `reads ${read} of ${count} tubelets; ${reached} have reached it`);
      });
  }
  return { render };
}
