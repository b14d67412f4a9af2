// The way of the data: the stages from left to right, and the parts of the one that is open.

import { placeName } from "./terms.js";
import { bars, byId, clear, element } from "./drawing.js";
import { timeOf, tokenOf } from "./clip.js";

// Title and one line of what each step is for.
const TITLES = {
  tubelet: ["Tubelet embedding", "pixels times a learned kernel"],
  place: ["Position", "the token and its place, added"],
  norm: ["Layer norm", "mean 0, spread 1"],
  query: ["Query", "what it looks for"],
  key: ["Key", "what it offers"],
  value: ["Value", "what it passes on"],
  scores: ["Scores", "its query times every key"],
  probs: ["Softmax", "scores become shares"],
  heads: ["Heads", "values, mixed by these shares"],
  "attention output": ["Projection", "the heads put together"],
  "attention residual": ["Residual sum", "added to the stream"],
  "MLP norm": ["Layer norm", "mean 0, spread 1"],
  wide: ["Widen", "more features"],
  activation: ["Activation", "bends each number"],
  "MLP output": ["Narrow", "back to the stream’s width"],
  "layer output": ["Residual sum", "added to the stream"],
  "final norm": ["Final norm", "mean 0, spread 1"],
  pooled: ["What is read", "one row for the classifier"],
  representation: ["Representation", "one more linear map"],
  tanh: ["tanh", "bent, number by number"],
  logits: ["Logits", "one number a class"],
  probabilities: ["Softmax", "logits become probabilities"],
  loss: ["Loss", "how wrong the answer is"],
  pixel: ["Pixels", "what goes in"],
};

export const titleOfStep = (step) => TITLES[step.role][0];

const LEADS = {
  clip: "A clip is a block of numbers: frames, rows, columns, and three colours. Nothing has been understood yet.",
  tubelets: "The clip is cut into small boxes, a few frames deep: tubelets. Each becomes a token, a row of numbers, by one and the same learned matrix.",
  place: "Attention does not know where a token stands. So a learned vector for its place and time is added to it; the CLS token, which belongs to no place, comes in front.",
  layer: "A layer writes twice into the residual stream: first attention, where tokens read from each other, then the MLP, where each token works by itself.",
  norm: "The stream has grown with every layer. A last layer norm brings every token to one scale.",
  frames: "Each moment’s tokens become one: Model 2 now goes on with one token a time.",
  head: "One row is left. A linear map makes a number for each class, softmax makes probabilities of them, and the loss says how far they are from the truth.",
};

// The parts of a stage, those that are no arrays of the trace included.
export function partsOf(net, stage) {
  const pixel = { role: "pixel", kind: "pixel", out: "pixels", in: [] };
  if (stage.kind === "clip") return [];
  if (stage.kind === "tubelets") return [pixel, ...stage.steps];
  if (stage.kind === "head")
    return [...stage.steps, { role: "probabilities", kind: "answer", out: "probabilities", in: [] }, { role: "loss", kind: "answer", out: "loss", in: [] }];
  return stage.steps;
}

// The row of numbers that a part shows for the chosen token, or {none: why}.
export function numbersOf(net, stage, step, state) {
  const token = tokenOf(state);
  const gradients = state.what === "gradients";
  const row = net.rowOf(stage.space, token, timeOf(net, state));
  if (step.kind === "answer") {
    if (step.role === "loss") return { row: 0, values: [gradients ? 1 : net.data.loss] };
    return { row: 0, values: Array.from(gradients ? net.gradient("classifier", 0) : net.data.probabilities) };
  }
  if (row === null) return { none: "The CLS token is learned, not read from pixels: choose a tubelet." };
  if (step.kind === "pixel") {
    const found = net.stored(gradients ? "gradient.tubelets" : "tubelets", row);
    return found ? { row, values: found } : { none: "Not in this page." };
  }
  if (step.kind === "scores" || step.kind === "softmax") {
    const probs = stage.steps.find((other) => other.out === step.out.replace(/scores$/, "probs"));
    const head = headOf(net, state);
    const found = net.attentionRow(stage, probs, head, row);
    const values = found && found[{ scores: gradients ? "dscores" : "scores", softmax: gradients ? "dprobs" : "probs" }[step.kind]];
    return values ? { row, head, values, tokens: found.tokens } : { none: "Not in this page." };
  }
  const values = gradients ? net.gradient(step.out, row) : net.value(step.out, row);
  return values ? { row, values } : { none: "Not in this page." };
}

// The head whose numbers are shown; where all are averaged above, the first.
export const headOf = (net, state) => (state.head === "mean" ? net.data.kept.heads[0] : state.head);

export function buildFlow(net, page) {
  const strip = clear(byId("strip"));
  const box = byId("stage");
  const nodes = net.stages.map((stage, number) => {
    const canvas = element("canvas", { "aria-hidden": "true" });
    const node = element("button", { type: "button", class: "node", role: "tab", id: `stage-${number}`, "aria-controls": "stage", onclick: () => open(number) }, element("span", {}, stage.title), canvas);
    if (number) strip.append(element("span", { class: "arrow", "aria-hidden": "true" }, "→"));
    strip.append(node);
    return { node, canvas, stage };
  });
  strip.onkeydown = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    open(Math.max(0, Math.min(nodes.length - 1, page.state.stage + by)));
    nodes[page.state.stage].node.focus();
  };

  function open(number) {
    const stage = net.stages[number];
    const attention = net.attentions.findIndex((entry) => entry.stage === stage);
    const part = stage.kind === "layer" ? samePart(net.stages[page.state.stage], stage) : "";
    page.change({ stage: number, part, ...(attention >= 0 ? { layer: attention, look: "head" } : {}) });
  }

  // From layer to layer the open part stays the same one.
  const samePart = (from, to) => {
    const part = page.state.part.replace(from.id, to.id);
    return to.steps.some((step) => step.out === part) ? part : "";
  };

  function renderStrip(before) {
    const { state } = page;
    nodes.forEach(({ node }, number) => {
      node.setAttribute("aria-selected", String(number === state.stage));
      node.tabIndex = number === state.stage ? 0 : -1;
    });
    if (before && ["token", "what", "head"].every((name) => before[name] === state[name])) return;
    const gradients = state.what === "gradients";
    for (const arrow of strip.querySelectorAll(".arrow")) arrow.textContent = gradients ? "←" : "→";
    nodes.forEach(({ canvas, stage }) => {
      const parts = partsOf(net, stage);
      const last = stage.kind === "clip" ? { role: "pixel", kind: "pixel", out: "pixels", in: [] } : stage.kind === "head" ? parts[parts.length - 2] : parts[parts.length - 1];
      const of = stage.kind === "clip" ? { ...stage, space: "tubelets" } : stage;
      const found = numbersOf(net, of, last, state);
      bars(canvas, found.values ? thinned(found.values, 96) : [0], 88, 30);
    });
    byId("way-says").textContent = gradients
      ? "Gradients run back, from the loss to the pixels: how the loss would change with each number."
      : "Each card shows the chosen token’s numbers there: bars up are above 0, bars down below. Open one.";
  }

  const thinned = (values, most) => {
    if (values.length <= most) return Array.from(values);
    return Array.from({ length: most }, (_, k) => values[Math.floor((k * values.length) / most)]);
  };

  function renderStage() {
    const { state } = page;
    const stage = net.stages[state.stage];
    clear(box).setAttribute("aria-labelledby", `stage-${state.stage}`);
    box.append(element("p", { class: "lead" }, LEADS[stage.kind]));
    if (stage.kind === "clip") {
      box.append(clipFacts());
      return;
    }
    const branches = [[]];
    for (const step of partsOf(net, stage)) {
      branches[branches.length - 1].push(step);
      if (step.role === "attention residual") branches.push([]);
    }
    for (const branch of branches) {
      const cards = element("div", { class: "cards" });
      let stack = null;
      branch.forEach((step, k) => {
        const stacked = ["query", "key", "value"].includes(step.role);
        if (k && !(stacked && stack)) cards.append(element("span", { class: "arrow", "aria-hidden": "true" }, step.kind === "sum" ? "+" : state.what === "gradients" ? "←" : "→"));
        if (stacked && !stack) cards.append((stack = element("div", { class: "stack" })));
        (stacked ? stack : cards).append(cardOf(stage, step));
      });
      const name = stage.kind !== "layer" ? null : branch[0].role === "MLP norm" ? "The MLP: each token by itself" : axisName(branch);
      box.append(element("div", { class: "branch" }, name ? element("h3", {}, name) : null, cards));
    }
  }

  const axisName = (branch) => {
    const axis = branch.find((step) => step.axis).axis;
    if (axis === "temporal") return "Attention over time: the token reads its own place at all times";
    if (axis === "spatial") return "Attention over space: the token reads all places of its time";
    if (axis === "halves") return "Attention: half of the heads read over time, half over space";
    return "Attention: the token reads from all tokens";
  };

  function clipFacts() {
    const { grid, tubelet } = net.model;
    const { count, height, width } = net.data.frames;
    const pixels = tubelet.reduce((a, b) => a * b, 1) * net.model.channels;
    const text = `${count} frames of ${width} × ${height} pixels, cut into ${grid.join(" × ")} = ${net.times * net.places} tubelets (times × rows × columns). A tubelet is ${tubelet.join(" × ")} pixels in ${net.model.channels} colours: ${pixels} numbers, which become a token of ${net.model.hidden}.`;
    return element("p", {}, text);
  }

  function cardOf(stage, step) {
    const { state } = page;
    const canvas = element("canvas", { "aria-hidden": "true" });
    const found = numbersOf(net, stage, step, state);
    const [title, sub] = TITLES[step.role];
    const opened = state.part === step.out;
    const card = element(
      "button",
      { type: "button", class: "card", "aria-expanded": String(opened), "aria-controls": "why", "data-part": step.out, onclick: () => page.change({ part: opened ? "" : step.out, number: 0 }) },
      element("span", { class: "title" }, title),
      canvas,
      element("span", { class: "sub" }, found.none ? found.none : step.role === "activation" ? `${step.function}, ${sub}` : sub),
    );
    const stacked = ["query", "key", "value"].includes(step.role);
    const size = [118, stacked ? 22 : 54];
    const parts = step.heads && !found.tokens ? { parts: step.heads, part: headOf(net, state) } : {};
    bars(canvas, found.values ? thinned(found.values, 192) : [], ...size, parts);
    return card;
  }

  return {
    render(before) {
      const { state } = page;
      renderStrip(before);
      renderStage();
      if (!before || before.stage !== state.stage) {
        const { node } = nodes[state.stage];
        strip.scrollTo({ left: node.offsetLeft - strip.clientWidth / 2 + node.clientWidth / 2 });
      }
    },
  };
}

export const nameOfToken = (net, state) => (tokenOf(state) < 0 ? "CLS" : placeName(net, "tubelets", tokenOf(state)));
