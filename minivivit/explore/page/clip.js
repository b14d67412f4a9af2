// The clip, and the attention over its frames: in space and in time.

import { percent, unpack, written } from "./numbers.js";
import { placeName } from "./terms.js";
import { byId, clear, colours, diamond, element, prepare, square } from "./drawing.js";

// What is drawn over the frames: shares (or gradients) by tubelet, of the CLS token, and who cannot be seen.
export function gazeOf(net, state) {
  const count = net.times * net.places;
  if (state.look !== "head" && state.what === "gradients") {
    const rows = Array.from({ length: count }, (_, token) => net.stored("gradient.tubelets", token));
    const values = rows.map((row) => (row ? Math.sqrt(row.reduce((sum, x) => sum + x * x, 0)) : 0));
    return { values, cls: null, seen: rows.map((row) => row !== null), signed: false, pixels: true };
  }
  if (state.look !== "head") {
    const packed = state.look === "rollout" ? net.data.rollout : net.data.occlusion;
    const values = Array.from(unpack(packed));
    return { values, cls: null, seen: new Array(count).fill(true), signed: values.some((x) => x < 0) };
  }
  const { stage, step } = net.attentions[state.layer];
  const token = tokenOf(state);
  const row = net.rowOf(stage.space, token, timeOf(net, state));
  const found = row === null ? null : net.attention(stage, step, state.head === "mean" ? -1 : state.head, row, state.direction);
  const values = new Array(count).fill(0);
  const seen = new Array(count).fill(false);
  let cls = null;
  if (!found) return { values, cls, seen, missing: true };
  const numbers = state.what === "gradients" ? found.dprobs : found.probs;
  if (!numbers) return { values, cls, seen, missing: true };
  found.tokens.forEach((other, k) => {
    const at = net.covers(stage.space, other);
    if (at.cls) {
      cls = numbers[k];
    } else if (at.place === null) {
      for (let p = 0; p < net.places; p++) {
        values[at.time * net.places + p] = numbers[k] / net.places;
        seen[at.time * net.places + p] = true;
      }
    } else {
      values[at.time * net.places + at.place] = numbers[k];
      seen[at.time * net.places + at.place] = true;
    }
  });
  return { values, cls, seen, signed: state.what === "gradients", found, stage, numbers, row };
}

export const tokenOf = (state) => (state.token === "cls" ? -1 : Number(state.token));
const nameOfHead = (head) => (head === "mean" ? "mean of the heads" : `head ${head}`);

// "Layer 2"; where a layer has two attentions, over which axis it is, too.
export function nameOfAttention(net, layer) {
  const { stage, step } = net.attentions[layer];
  const two = net.attentions.filter((other) => other.stage === stage).length > 1;
  return two ? `${stage.title}, ${step.axis === "temporal" ? "time" : "space"}` : stage.title;
}

export const timeOf = (net, state) => (state.token === "cls" ? 0 : Math.floor(tokenOf(state) / net.places));

// `stood` is how the clip that was there stood: its frame, and whether it played.
export function buildClip(net, page, stood = null) {
  const { data } = net;
  const { frames } = data;
  const image = new Image();
  let current = stood ? Math.min(stood.frame, frames.count - 1) : 0;
  let playing = stood ? stood.playing : !matchMedia("(prefers-reduced-motion: reduce)").matches;
  let before = 0;
  const depth = data.model.tubelet_frames[0].length;
  const panels = [];
  const smooth = frames.width > 96;

  const source = (context, frame, size, height = size) => {
    context.imageSmoothingEnabled = smooth;
    context.drawImage(image, frame * frames.width, 0, frames.width, frames.height, 0, 0, size, height);
  };

  // ------------------------------------------------------------------------------------------------ the player
  byId("frame").max = frames.count - 1;
  const film = byId("film");

  function drawFilm() {
    const width = Math.min(232, film.parentElement.clientWidth);
    const height = (width * frames.height) / frames.width;
    const context = prepare(film, width, height);
    if (image.complete) source(context, current, width, height);
    if (page.state.what === "gradients" && image.complete) drawPixelGradients(context, width);
    const token = tokenOf(page.state);
    const time = data.model.tubelet_frames.findIndex((those) => those.includes(current));
    if (token >= 0 && Math.floor(token / net.places) === time) outline(context, token % net.places, width);
    byId("frame").value = current;
    byId("frame-says").textContent = `Frame ${current} (0 to ${frames.count - 1})`;
  }

  // The gradient by the pixels of the frame, summed over the colours, in place of the frame.
  function drawPixelGradients(context, width) {
    const { card, plus, minus } = colours();
    const [depthOf, high, wide] = data.model.tubelet;
    const time = data.model.tubelet_frames.findIndex((those) => those.includes(current));
    if (time < 0 || !data.kept.whole || depthOf !== depth) return;
    const phase = data.model.tubelet_frames[time].indexOf(current);
    const pixel = width / frames.width;
    const size = high * wide;
    const all = Array.from({ length: net.times * net.places }, (_, token) => net.stored("gradient.tubelets", token));
    if (all.includes(null)) return;
    context.fillStyle = card;
    context.globalAlpha = 0.8;
    context.fillRect(0, 0, width, (width * frames.height) / frames.width);
    const numberOf = (row, k) => {
      let sum = 0;
      for (let c = 0; c < net.model.channels; c++) sum += row[(c * depth + phase) * size + k];
      return sum;
    };
    const most = all.reduce((m, row) => row.reduce((n, x) => Math.max(n, Math.abs(x)), m), 0) * 1.5 || 1;
    for (let p = 0; p < net.places; p++) {
      const row = all[time * net.places + p];
      for (let k = 0; k < size; k++) {
        const number = numberOf(row, k);
        context.globalAlpha = Math.min(1, Math.sqrt(Math.abs(number) / most));
        context.fillStyle = number < 0 ? minus : plus;
        const x = (p % net.columns) * wide + (k % wide);
        const y = Math.floor(p / net.columns) * high + Math.floor(k / wide);
        const side = number < 0 ? 0.55 : 1; // what is below 0 is drawn as points, what is above as whole pixels
        context.fillRect((x + (1 - side) / 2) * pixel, (y + (1 - side) / 2) * pixel, pixel * side, pixel * side);
      }
    }
    context.globalAlpha = 1;
  }

  const cellSize = (width) => {
    const scale = width / frames.width;
    return [data.model.tubelet[2] * scale, data.model.tubelet[1] * scale];
  };

  function outline(context, place, width) {
    const [w, h] = cellSize(width);
    const [x, y] = [(place % net.columns) * w, Math.floor(place / net.columns) * h];
    context.lineWidth = 2.5;
    context.strokeStyle = colours().chosen;
    context.strokeRect(x + 1.25, y + 1.25, w - 2.5, h - 2.5);
    diamond(context, x + Math.max(7, w * 0.14), y + Math.max(7, h * 0.14), Math.max(3.5, Math.min(7, w / 8)));
  }

  function go(frame) {
    current = ((frame % frames.count) + frames.count) % frames.count;
    drawFilm();
    drawPanels();
  }

  function play(on) {
    playing = on;
    byId("play").textContent = playing ? "❚❚" : "▶";
    byId("play").setAttribute("aria-label", playing ? "Pause" : "Play");
    before = 0;
    if (playing) requestAnimationFrame(tick);
  }

  function tick(now) {
    if (!playing) return;
    if (!before) before = now;
    if (now - before >= 1000 / Number(byId("speed").value)) {
      before = now;
      go(current + 1);
    }
    requestAnimationFrame(tick);
  }

  byId("play").onclick = () => play(!playing);
  byId("back").onclick = () => (play(false), go(current - 1));
  byId("on").onclick = () => (play(false), go(current + 1));
  byId("frame").oninput = (event) => (play(false), go(Number(event.target.value)));

  // ------------------------------------------------------------------------------------------------ the panels
  const box = byId("panels");
  clear(box);
  for (let time = 0; time < net.times; time++) {
    const canvas = element("canvas", { "aria-hidden": "true" });
    const share = element("span");
    const those = data.model.tubelet_frames[time];
    const when = those.length > 1 ? `frames ${those[0]}–${those[those.length - 1]}` : `frame ${those[0]}`;
    const figure = element("figure", { class: "panel" }, canvas, element("figcaption", {}, element("span", {}, `Time ${time}`, element("span", { class: "when" }, ` · ${when}`)), share));
    canvas.addEventListener("click", (event) => {
      const at = canvas.getBoundingClientRect();
      const [w, h] = cellSize(panels[time].size);
      const column = Math.floor((event.clientX - at.left) / w);
      const row = Math.floor((event.clientY - at.top - panels[time].lift) / h);
      if (column >= 0 && column < net.columns && row >= 0 && row < net.rows)
        choose(time * net.places + row * net.columns + column);
    });
    box.append(figure);
    panels.push({ canvas, share, size: 0, lift: 0 });
  }
  const clsCanvas = element("canvas", { "aria-hidden": "true" });
  const clsSays = element("span");
  const clsTile = net.cls
    ? element("button", { type: "button", class: "cls-tile", onclick: () => page.change({ token: "cls" }) }, clsCanvas, clsSays)
    : null;
  clear(byId("cls-place"));
  if (clsTile) byId("cls-place").append(clsTile);

  // Whoever listens may take the choice for something else.
  function choose(token) {
    if (!box.dispatchEvent(new CustomEvent("tubelet", { detail: token, cancelable: true }))) return;
    if (net.keepsToken(token)) page.change({ token });
    else byId("says").textContent = "This tubelet is not in the page, which holds a sample of the network: choose one with a dotted frame.";
  }

  box.onkeydown = (event) => {
    if (event.key === "Enter" && event.target === box && tokenOf(page.state) >= 0) choose(tokenOf(page.state));
    const moves = {
      ArrowLeft: [0, 0, -1], ArrowRight: [0, 0, 1], ArrowUp: [0, -1, 0], ArrowDown: [0, 1, 0], PageUp: [-1, 0, 0], PageDown: [1, 0, 0],
    };
    const move = moves[event.key];
    if (!move || event.target !== box) return;
    event.preventDefault();
    if (!data.kept.whole) {
      const kept = data.kept.tubelets;
      const at = kept.indexOf(tokenOf(page.state));
      page.change({ token: kept[(at + (move[0] + move[1] + move[2] > 0 ? 1 : kept.length - 1)) % kept.length] });
      return;
    }
    const token = Math.max(0, tokenOf(page.state));
    const [t, p] = [Math.floor(token / net.places), token % net.places];
    const clamp = (x, most) => Math.max(0, Math.min(most - 1, x));
    const [time, row, column] = [
      clamp(t + move[0], net.times), clamp(Math.floor(p / net.columns) + move[1], net.rows), clamp((p % net.columns) + move[2], net.columns),
    ];
    page.change({ token: time * net.places + row * net.columns + column });
  };

  let gaze = null;

  const panelColumns = () => {
    const width = box.clientWidth;
    if (net.times <= 3) return width < 420 ? Math.min(2, net.times) : net.times;
    return width < 420 || net.times === 4 ? 2 : 4;
  };

  function drawPanels() {
    const columns = panelColumns();
    const size = Math.floor(Math.min(380, (box.clientWidth - 16 * (columns - 1)) / columns - (net.times <= 4 ? 12 : 0)));
    if (size <= 0) return;
    box.style.gridTemplateColumns = `repeat(${columns}, max-content)`;
    const most = gaze.values.reduce((m, x) => Math.max(m, Math.abs(x)), Math.abs(gaze.cls || 0)) || 1;
    panels.forEach((panel, time) => drawPanel(panel, time, size, most));
    if (clsTile) drawCls(most);
  }

  function drawPanel(panel, time, size, most) {
    const { line, paper, ink, gaze: gazeColour, plus, chosen } = colours();
    const lift = net.times <= 4 ? Math.min(12, 3 * (depth - 1)) : 0;
    const height = (size * frames.height) / frames.width;
    panel.size = size;
    panel.lift = lift;
    panel.canvas.parentElement.style.width = `${size + lift}px`;
    panel.canvas.parentElement.classList.toggle("small", size < 190);
    const context = prepare(panel.canvas, size + lift, height + lift);
    const those = data.model.tubelet_frames[time];
    const phase = current % depth;
    // the other frames of the tubelet stand behind, as a pile
    for (let k = lift ? depth - 1 : 0; k > 0; k--) {
      const off = (lift / (depth - 1)) * k;
      context.fillStyle = paper;
      context.fillRect(off, lift - off, size, height);
      context.strokeStyle = line;
      context.lineWidth = 1;
      context.strokeRect(off + 0.5, lift - off + 0.5, size - 1, height - 1);
    }
    context.save();
    context.translate(0, lift);
    if (image.complete) source(context, those[phase % those.length], size, height);
    const [w, h] = cellSize(size);
    context.gazeColour = gaze.signed ? plus : gazeColour;
    let sum = 0;
    for (let p = 0; p < net.places; p++) {
      const token = time * net.places + p;
      const [x, y] = [(p % net.columns) * w, Math.floor(p / net.columns) * h];
      if (w > 14) {
        context.strokeStyle = "rgb(255 255 255 / 0.13)";
        context.lineWidth = 1;
        context.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
      }
      if (!gaze.seen[token]) {
        context.fillStyle = paper;
        context.globalAlpha = 0.62;
        context.fillRect(x, y, w, h);
        context.globalAlpha = 1;
      }
      square(context, x + w / 2, y + h / 2, Math.min(w, h), gaze.values[token], most);
      sum += gaze.values[token];
    }
    if (!data.kept.whole) {
      context.setLineDash([2, 2]);
      context.strokeStyle = ink;
      for (const token of data.kept.tubelets)
        if (Math.floor(token / net.places) === time) {
          const p = token % net.places;
          context.strokeRect((p % net.columns) * w, Math.floor(p / net.columns) * h, w, h);
        }
      context.setLineDash([]);
    }
    const token = tokenOf(page.state);
    if (token >= 0 && Math.floor(token / net.places) === time) outline(context, token % net.places, size);
    context.restore();
    panel.share.textContent = gaze.missing || gaze.signed || gaze.pixels ? "" : percent(sum);
  }

  function drawCls(most) {
    const size = 40;
    const context = prepare(clsCanvas, size, size);
    context.fillStyle = colours().soft || colours().paper;
    context.fillRect(0, 0, size, size);
    context.strokeStyle = colours().line;
    context.strokeRect(0.5, 0.5, size - 1, size - 1);
    context.gazeColour = gaze.signed ? colours().plus : colours().gaze;
    if (gaze.cls !== null) square(context, size / 2, size / 2, size, gaze.cls, most);
    if (page.state.token === "cls") diamond(context, size / 2, size / 2, 7);
    clsTile.setAttribute("aria-pressed", page.state.token === "cls");
    const share = gaze.cls === null || gaze.signed ? "" : `, ${percent(gaze.cls)}`;
    clsSays.textContent = `CLS${share} · the token in no place of the clip, from which the answer is read`;
  }

  // ------------------------------------------------------------------------------------------------ in words
  function say() {
    const { state } = page;
    const token = tokenOf(state);
    const name = token < 0 ? "CLS" : placeName(net, "tubelets", token);
    const own = gaze.stage ? placeName(net, gaze.stage.space, gaze.row) : name;
    const whole = own === "CLS" ? "The CLS token" : `The token at ${own}`;
    byId("look-title").textContent = titleOf(state);
    box.setAttribute("aria-label", `Tubelets over the frames. Chosen: ${name}. Arrow keys choose another.`);
    const says = clear(byId("says"));
    const mark = element("span", { class: "mark", "aria-hidden": "true" }, "◆ ");
    if (gaze.missing) {
      const sentence = state.what === "gradients" ? "This gradient is not in the page." : "This attention is not in the page, which holds a sample of the network.";
      says.append(sentence);
      return;
    }
    const named = gaze.found
      ? gaze.found.tokens.map((other, k) => [gaze.numbers[k], other === gaze.row ? "itself" : placeName(net, gaze.stage.space, other)])
      : gaze.values.map((value, tubelet) => [value, placeName(net, "tubelets", tubelet)]);
    const best = named.sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]));
    if (gaze.pixels) {
      const sum = gaze.values.reduce((a, b) => a + b, 0);
      says.append(`The square of a tubelet is the length of the loss’s gradient by its pixels: how strongly the loss would answer to a small change there. The strongest is ${best[0][1]}, with ${percent(best[0][0] / sum)} of all. Attention plays no part in this picture.`);
    } else if (state.look === "rollout") {
      says.append(`Followed back through all layers, the answer draws ${percent(best[0][0])} from ${best[0][1]} and ${percent(best[1][0])} from ${best[1][1]}. An equal share would be ${percent(1 / gaze.values.length)}.`);
    } else if (state.look === "cover") {
      const word = best[0][0] > 0 ? "lowers" : "raises";
      says.append(`Covering ${best[0][1]} with the clip’s mean colour ${word} the logit of “${data.labels[data.label]}” by ${Math.abs(best[0][0]).toFixed(2)}, more than any other. Hollow squares: there it rises.`);
    } else if (state.what === "gradients" && best[0][0] === 0) {
      says.append(mark, `${whole}: nothing of what it reads in this layer reaches the answer, which is read from the CLS token alone. So the loss does not change with these probabilities: their gradient is 0.`);
    } else if (state.what === "gradients") {
      says.append(mark, `${whole}. Full squares: with more attention there the loss would rise. Hollow ones: it would fall. The largest gradient is that of ${best[0][1]}, ${written(best[0][0])}.`);
    } else {
      const parts = best.slice(0, 3).map(([share, where]) => `${where} (${percent(share)})`);
      const verb = state.direction === "from" ? "reads most from" : "is read most by";
      says.append(mark, `${whole} ${verb} ${parts.join(", ")}.`);
      if (state.direction === "from") says.append(` What it reads sums to 100 %; an equal share would be ${percent(1 / gaze.found.tokens.length)}.`);
    }
  }

  function titleOf(state) {
    if (gaze.pixels) return "How the loss depends on the pixels";
    if (state.look === "rollout") return "Where the answer comes from";
    if (state.look === "cover") return "What is missed when it is covered";
    const head = nameOfHead(state.head);
    const title = nameOfAttention(net, state.layer);
    return state.what === "gradients" ? `${title}, ${head}: gradient of attention` : `${title}, ${head}`;
  }

  // ------------------------------------------------------------------------------------------------ heads
  const matrix = buildMatrix(net, page);

  for (const [id, name] of [["direction", "direction"], ["views", "look"]])
    for (const button of byId(id).querySelectorAll("button")) button.onclick = () => page.change({ [name]: button.dataset.value });
  const [, wholeButton, coverButton] = byId("views").querySelectorAll("button");
  byId("layer").max = Math.max(0, net.attentions.length - 1);
  byId("layer").oninput = (event) => page.change({ layer: event.target.value, look: "head" }, true);

  image.onload = () => {
    drawFilm();
    drawPanels();
    document.documentElement.dataset.drawn ||= String(Math.round(performance.now()));
  };
  image.src = frames.image;

  function render(before) {
    const { state } = page;
    gaze = gazeOf(net, state);
    for (const [id, name] of [["direction", "direction"], ["views", "look"]])
      for (const button of byId(id).querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.value === state[name]));
    const gradients = state.what === "gradients";
    wholeButton.textContent = gradients ? "Pixels" : "Rollout";
    wholeButton.hidden = !data.rollout;
    wholeButton.setAttribute("aria-pressed", String(state.look === "rollout" || (gradients && state.look === "cover")));
    coverButton.hidden = gradients || !data.occlusion;
    for (const button of byId("direction").querySelectorAll("button")) button.disabled = state.look !== "head";
    byId("layer").value = state.layer;
    byId("layer-says").textContent = net.attentions.length ? `${nameOfAttention(net, state.layer)} (counted from 0)` : "";
    if (net.attentions.length) byId("layer").setAttribute("aria-valuetext", nameOfAttention(net, state.layer));
    matrix.render(before);
    say();
    drawFilm();
    drawPanels();
  }

  play(playing);
  const pause = () => play(false);
  const now = () => ({ frame: current, playing });
  // Another recording takes the place of this one.
  function leave() {
    playing = false;
    image.onload = null;
  }
  return { render, toggle: () => play(!playing), pause, now, leave };
}

// All layers by all heads as small maps, each with its share of the logit.
function buildMatrix(net, page) {
  const { data } = net;
  const box = clear(byId("matrix"));
  const heads = ["mean", ...data.kept.heads];
  const parts = data.shares.parts;
  const classPlace = data.shares.classes.indexOf(data.label);
  const withShares = parts.length > 0;
  const most = Math.max(1e-9, ...parts.filter((part) => part.part === "head" || part.part === "MLP").map((part) => Math.abs(part.logits[classPlace])));
  box.style.gridTemplateColumns = `auto repeat(${heads.length + (withShares ? 1 : 0)}, max-content)`;
  box.append(element("span"));
  for (const head of heads) box.append(element("span", { class: "col" }, head === "mean" ? head : `head ${head}`));
  if (withShares) box.append(element("span", { class: "col" }, "MLP"));
  const side = net.times <= 3;
  const cells = [];
  const shareOf = (test) => {
    const found = parts.find(test);
    return found ? found.logits[classPlace] : null;
  };
  net.attentions.forEach(({ stage, step }, layer) => {
    box.append(element("span", { class: "lay" }, nameOfAttention(net, layer).replace(" layer", "")));
    for (const head of heads) {
      const map = element("canvas");
      const bar = element("canvas");
      const share = head !== "mean" ? shareOf((part) => part.part === "head" && part.head === head && part.attention === step.in[0].replace(/\.scores$/, "")) : null;
      const cell = element("button", { type: "button", class: "cell", onclick: () => page.change({ layer, head, look: "head" }) }, map, withShares ? bar : null);
      box.append(cell);
      cells.push({ stage, step, layer, head, map, bar, share, cell });
    }
    if (withShares) {
      const share = shareOf((part) => part.part === "MLP" && part.stage === stage.id);
      const bar = element("canvas");
      box.append(element("span", { class: "cell", role: "img", "aria-label": `MLP of ${stage.title}: ${share === null ? "unknown" : share.toFixed(2)} of the logit` }, bar));
      cells.push({ stage, bar, share, mlp: true });
    }
  });
  const wholes = [["rollout", "Rollout", data.rollout], ["cover", "Covering", data.occlusion]].filter(([, , there]) => there);
  if (wholes.length) {
    box.append(element("span", { class: "lay" }, "All"));
    const row = element("span", { class: "wide" });
    for (const [look, name] of wholes) {
      const map = element("canvas");
      const cell = element("button", { type: "button", class: "cell", "aria-label": name, onclick: () => page.change({ look }) }, map);
      const label = element("span", {}, name);
      const both = element("span", {}, cell, label);
      row.append(both);
      cells.push({ look, map, cell, label, both, name });
    }
    box.append(row);
  }
  byId("heads-says").textContent = withShares
    ? `The bar below a map: what this head adds to (right) or takes from (left) the logit, the score of “${data.labels[data.label]}”. With the MLPs, the embedding and the biases, all parts add up to it.`
    : "";

  function shareBar(canvas, share, width) {
    const context = prepare(canvas, width, 7);
    const { line, plus, minus, muted } = colours();
    context.fillStyle = line;
    context.fillRect(0, 3, width, 1);
    const size = (Math.abs(share) / most) * (width / 2);
    context.fillStyle = share < 0 ? minus : plus;
    context.fillRect(share < 0 ? width / 2 - size : width / 2, 1, size, 5);
    context.fillStyle = muted;
    context.fillRect(width / 2 - 0.5, 0, 1, 7);
  }

  function render(before) {
    const { state } = page;
    if (before && ["token", "direction", "what"].every((name) => before[name] === state[name])) {
      press();
      return;
    }
    const room = Math.min(92, (box.clientWidth - (withShares ? 106 : 66)) / heads.length - 9);
    const pitch = Math.max(2, Math.floor(2 * (side ? (room - 3 * (net.times - 1)) / net.times : room) / net.columns) / 2);
    for (const entry of cells) {
      const width = side ? net.times * net.columns * pitch + (net.times - 1) * 3 : net.columns * pitch;
      if (entry.share !== null && entry.share !== undefined) shareBar(entry.bar, entry.share, width);
      else if (entry.bar) prepare(entry.bar, width, 7);
      if (entry.mlp) continue;
      const own = gazeOf(net, entry.look ? { ...state, look: entry.look } : { ...state, look: "head", layer: entry.layer, head: entry.head });
      const context = prepare(entry.map, width, net.rows * pitch);
      const top = own.values.reduce((m, x) => Math.max(m, Math.abs(x)), Math.abs(own.cls || 0)) || 1;
      context.gazeColour = own.signed ? colours().plus : colours().gaze;
      const maps = side ? net.times : 1;
      for (let time = 0; time < maps; time++) {
        const left = time * (net.columns * pitch + 3);
        context.strokeStyle = colours().line;
        context.lineWidth = 1;
        context.strokeRect(left + 0.5, 0.5, net.columns * pitch - 1, net.rows * pitch - 1);
        for (let p = 0; p < net.places; p++) {
          let value = own.values[time * net.places + p];
          if (!side) value = own.values.reduce((sum, x, k) => (k % net.places === p ? sum + x : sum), 0) / (net.times / 3);
          square(context, left + ((p % net.columns) + 0.5) * pitch, (Math.floor(p / net.columns) + 0.5) * pitch, pitch, value, top, 0.98);
        }
      }
      if (entry.look) {
        const pixels = state.what === "gradients";
        entry.label.textContent = pixels ? "Pixels" : entry.name;
        entry.cell.setAttribute("aria-label", entry.label.textContent);
        entry.both.hidden = pixels && entry.look === "cover";
        continue;
      }
      const share = entry.share === null ? "" : `, writes ${entry.share.toFixed(2)} of the logit`;
      entry.cell.setAttribute("aria-label", `${nameOfAttention(net, entry.layer)}, ${nameOfHead(entry.head)}${share}`);
      entry.cell.title = entry.cell.getAttribute("aria-label");
    }
    press();
  }

  function press() {
    const { state } = page;
    for (const { cell, look, layer, head } of cells) {
      if (!cell) continue;
      const pressed = look ? state.look === look : state.look === "head" && state.layer === layer && state.head === head;
      cell.setAttribute("aria-pressed", String(pressed));
    }
  }
  return { render };
}
