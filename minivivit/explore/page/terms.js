// "Why this number?": a value or a gradient as what it is made of.
//
// explain() returns {value, terms, constants, scale, lines, note, formula}. terms are products {label, a, b, product};
// the value is scale · Σ product + Σ constants. Where a number is no sum, lines say how it comes about, step by step.

import { ACTIVATIONS, normOf, softmax } from "./numbers.js";

const product = (label, a, b, link = null) => ({ label, a, b, product: a * b, link });

export const total = (found) =>
  found.scale * found.terms.reduce((sum, term) => sum + term.product, 0) +
  found.constants.reduce((sum, constant) => sum + constant.value, 0);

const made = (value, parts) => ({ value, terms: [], constants: [], scale: 1, lines: [], note: "", formula: "", factors: "", ...parts });

const missing = (value, what) => made(value, { note: `${what} this page does not hold: it has a sample of the network.` });

// In words where a row of a space is: "time 0, row 2, column 2".
export function placeName(net, space, row) {
  const at = net.covers(space, row);
  const time = at.time === undefined ? "" : `time\u00a0${at.time}`;
  if (at.cls) return time ? `CLS of ${time}` : "CLS";
  if (at.place === null || at.place === undefined) return time;
  return `${time}, row\u00a0${Math.floor(at.place / net.columns)}, column\u00a0${at.place % net.columns}`;
}

// A number of a tubelet by its channel, frame, row and column within it.
export function pixelName(net, index) {
  const [frames, height, width] = net.model.tubelet;
  const x = index % width;
  const y = Math.floor(index / width) % height;
  const frame = Math.floor(index / (width * height)) % frames;
  const channel = Math.floor(index / (width * height * frames));
  const colour = net.model.channels === 3 ? ["red", "green", "blue"][channel] : `channel ${channel}`;
  return `${colour}, frame\u00a0${frame}, y\u00a0${y}, x\u00a0${x}`;
}

const featureName = (net, step, k) => {
  if (step && step.role === "tubelet") return pixelName(net, k);
  if (step && step.role === "attention output") {
    const size = net.model.hidden / step.heads;
    return `head ${Math.floor(k / size)}, feature ${k % size}`;
  }
  return `feature ${k}`;
};

export function explain(net, stage, step, at, what) {
  if (step.kind === "pixel") return explainPixel(net, at, what);
  if (step.kind === "answer") return explainAnswer(net, step, at, what);
  if (step.kind === "scores" || step.kind === "softmax")
    return (what === "gradients" ? attentionGradient : attentionValue)(net, stage, step, at);
  return (what === "gradients" ? explainGradient : explainValue)(net, stage, step, at);
}

// The row of the array that a step reads, which may stand in another space.
function inputRow(net, stage, step, row, name) {
  if (stage.kind === "place" && step.in[0] === name) {
    const covered = net.covers(stage.space, row);
    if (covered.cls) return null;
    return stage.space === "moments" ? covered.time : covered.time * net.places + covered.place;
  }
  return row;
}

function explainValue(net, stage, step, { row, index }) {
  const y = net.value(step.out, row);
  const value = y ? y[index] : valueOfPool(net, stage, step, row, index);
  if (step.kind === "linear") {
    const x = net.value(step.in[0], row);
    const weight = net.stored(step.weight, index);
    if (!x || !weight) return missing(value, "The weights of this output");
    const bias = net.vector(step.bias);
    return made(value, {
      terms: Array.from(x, (number, k) => product(featureName(net, step, k), number, weight[k], { name: step.in[0], index: k })),
      constants: bias ? [{ label: "bias", value: bias[index] }] : [],
      formula: step.role === "tubelet" ? "yⱼ = Σₖ pₖ Eⱼₖ + bⱼ" : "yⱼ = Σₖ xₖ Wⱼₖ + bⱼ",
      factors: step.role === "tubelet" ? "pixel × kernel" : "input × weight",
    });
  }
  if (step.kind === "norm") {
    const x = net.value(step.in[0], row);
    if (!x) return missing(value, "The row that is normalised");
    const { mean, std } = normOf(x, step.eps);
    const [weight, bias] = [net.vector(step.weight)[index], net.vector(step.bias)[index]];
    return made(value, {
      lines: [
        ["x, what comes in", x[index]],
        [`μ, the mean of all ${x.length} features`, mean],
        ["σ, their standard deviation", std],
        ["x̂ = (x − μ) / σ", (x[index] - mean) / std],
        ["w, the learned scale", weight],
        ["b, the learned shift", bias],
        ["w · x̂ + b", ((x[index] - mean) / std) * weight + bias],
      ],
      formula: "yₖ = wₖ (xₖ − μ) / σ + bₖ",
    });
  }
  if (step.kind === "sum") {
    const [stream, branch] = step.in.map((name) => net.value(name, row));
    return made(value, {
      constants: [
        { label: "the residual stream, as it came in", value: stream[index] },
        { label: "what this branch writes into it", value: branch[index] },
      ],
      formula: "z = x + branch(x)",
    });
  }
  if (step.kind === "place") return explainPlace(net, stage, step, row, index, value);
  if (step.kind === "mix") return explainMix(net, stage, step, row, index, value);
  if (step.kind === "activation") {
    const x = net.value(step.in[0], row)[index];
    return made(value, {
      lines: [["x, what comes in", x], [`${step.function}(x)`, ACTIVATIONS[step.function][0](x)]],
      formula: activationFormula(step.function),
    });
  }
  return explainPool(net, stage, step, row, index, value);
}

const activationFormula = (name) =>
  ({
    gelu: "g(x) = x Φ(x)",
    relu: "g(x) = max(0, x)",
    silu: "g(x) = x / (1 + e⁻ˣ)",
    quick_gelu: "g(x) = x / (1 + e⁻¹·⁷⁰²ˣ)",
    tanh: "g(x) = tanh x",
  })[name] || "g(x) = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³)))";

function explainPlace(net, stage, step, row, index, value) {
  const positions = net.stored(step.positions, stage.space === "frames" ? row % (net.places + net.cls) : row);
  const from = inputRow(net, stage, step, row, step.in[0]);
  const token = from === null ? net.stored(step.cls, 0) : net.value(step.in[0], from);
  if (!token || !positions) return missing(value, "Its parts");
  return made(value, {
    constants: [
      { label: from === null ? "the CLS token, learned" : "the tubelet's token", value: token[index] },
      { label: "the position embedding of its place, learned", value: positions[index] },
    ],
    formula: "z = x + p",
  });
}

function explainMix(net, stage, step, row, index, value) {
  const size = net.model.hidden / step.heads;
  const head = Math.floor(index / size);
  const probsStep = stage.steps.find((other) => other.out === step.in[0]);
  const row_ = net.attentionRow(stage, probsStep, head, row);
  const values = row_ && row_.tokens.map((token) => net.value(step.in[1], token));
  if (!row_ || values.some((entry) => !entry)) return missing(value, "The values of all tokens");
  return made(value, {
    terms: row_.tokens.map((token, k) =>
      product(placeName(net, stage.space, token), row_.probs[k], values[k][index], { row: token }),
    ),
    formula: "Oᵢ = Σⱼ Pᵢⱼ Vⱼ",
    factors: "share × value",
  });
}

function poolRows(net, stage, step) {
  const { space } = net.makers.get(step.in[0]).stage;
  return { space, count: net.rowCount(space) };
}

function valueOfPool(net, stage, step, row, index) {
  const found = step.kind === "pool" ? explainPool(net, stage, step, row, index, null) : null;
  return found && !found.note ? total(found) : null;
}

function explainPool(net, stage, step, row, index, value) {
  let { space, count } = poolRows(net, stage, step);
  let first = 0;
  if (space === "frames") {
    count = net.places + net.cls;
    first = row * count;
  }
  if (step.method === "token") {
    const from = net.value(step.in[0], first);
    return made(value ?? from[index], { constants: [{ label: "the CLS token's feature, as it is", value: from[index] }], formula: "r = y_CLS" });
  }
  const rows = Array.from({ length: count }, (_, k) => net.value(step.in[0], first + k));
  if (rows.some((entry) => !entry)) return missing(value, "All tokens");
  const numbers = rows.map((entry) => entry[index]);
  if (step.method === "gmp") {
    const largest = numbers.indexOf(Math.max(...numbers));
    const label = `the largest, of ${placeName(net, space, first + largest)}`;
    return made(value ?? numbers[largest], { constants: [{ label, value: numbers[largest] }], formula: "r = maxᵢ yᵢ" });
  }
  const share = step.method === "gap" ? 1 / count : 1;
  const terms = numbers.map((number, k) => product(placeName(net, space, first + k), share, number));
  const sum = terms.reduce((a, b) => a + b.product, 0);
  return made(value ?? sum, { terms, factors: "share × number", formula: step.method === "gap" ? "r = (1/n) Σᵢ yᵢ" : "r = Σᵢ yᵢ" });
}

// Scores and probabilities: at = {row, head, partner}.
function attentionValue(net, stage, step, { row, head, partner }) {
  const found = net.attentionRow(stage, step, head, row);
  const k = found ? found.tokens.indexOf(partner) : -1;
  if (k < 0) return missing(null, "This pair of tokens");
  const name = step.out.replace(/\.(probs|scores)$/, "");
  if (step.kind === "scores") {
    const [query, key] = [net.value(`${name}.query`, row), net.value(`${name}.key`, partner)];
    if (!query || !key) return missing(null, "The key of this token");
    const [q, ky] = [net.headPart(query, step, head), net.headPart(key, step, head)];
    const scale = 1 / Math.sqrt(q.length);
    const terms = Array.from(q, (number, d) => product(`feature ${d} of the head`, number, ky[d]));
    const value = scale * terms.reduce((sum, term) => sum + term.product, 0);
    return made(value, { terms, scale, formula: "Sᵢⱼ = Qᵢ · Kⱼ / √d", factors: "query × key" });
  }
  if (!found.scores) return made(found.probs[k], { note: "The scores of all tokens this page does not hold." });
  const largest = Math.max(...found.scores);
  const powers = found.scores.map((score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return made(found.probs[k], {
    lines: [
      ["s, the score of this pair", found.scores[k]],
      ["m, the largest score of the row", largest],
      ["e^(s − m)", powers[k]],
      [`Σ, the sum of e^(s − m) over ${powers.length} tokens`, sum],
      ["e^(s − m) / Σ", powers[k] / sum],
    ],
    formula: "Pᵢⱼ = e^Sᵢⱼ / Σₖ e^Sᵢₖ",
  });
}

function attentionGradient(net, stage, step, { row, head, partner }) {
  const found = net.attentionRow(stage, step, head, row);
  const k = found ? found.tokens.indexOf(partner) : -1;
  if (k < 0 || !found.dprobs) return missing(null, "The gradient of this pair");
  const name = step.out.replace(/\.(probs|scores)$/, "");
  if (step.kind === "softmax") {
    const [dout, v] = [net.gradient(name, row), net.value(`${name}.value`, partner)];
    if (!dout || !v) return missing(found.dprobs[k], "The value of this token");
    const [d, of] = [net.headPart(dout, step, head), net.headPart(v, step, head)];
    const terms = Array.from(d, (number, j) => product(`feature ${j} of the head`, number, of[j]));
    return made(found.dprobs[k], { terms, formula: "dPᵢⱼ = dOᵢ · Vⱼ", factors: "gradient × value" });
  }
  if (!found.dscores) return missing(null, "The gradients of all pairs of this row");
  const mean = found.dprobs.reduce((sum, d, j) => sum + d * found.probs[j], 0);
  return made(found.dscores[k], {
    lines: [
      ["P, the probability of this pair", found.probs[k]],
      ["dP, its gradient", found.dprobs[k]],
      ["Σ dP · P over the row", mean],
      ["P · (dP − Σ)", found.probs[k] * (found.dprobs[k] - mean)],
    ],
    formula: "dSᵢⱼ = Pᵢⱼ (dPᵢⱼ − Σₖ dPᵢₖ Pᵢₖ)",
  });
}

// The steps that read an array, and the stage of each.
function readers(net, name) {
  return net.stages.flatMap((stage) =>
    stage.steps.filter((step) => step.in.includes(name)).map((step) => ({ stage, step })),
  );
}

function explainGradient(net, stage, step, { row, index }) {
  const dy = net.gradient(step.out, row);
  if (!dy) return missing(null, "This gradient");
  const value = dy[index];
  const after = readers(net, step.out);
  if (step.role === "logits") return gradientOfLogits(net, index, value);
  if (step.role === "query" || step.role === "key" || step.role === "value")
    return gradientOfProjection(net, stage, step, row, index, value);
  const linear = after.filter((other) => other.step.kind === "linear");
  if (linear.length && linear.length === after.length) return throughLinear(net, linear, row, index, value);
  const [only] = after;
  if (!only) return made(value, { note: "It begins here." });
  if (only.step.kind === "activation") {
    const [dout, x] = [net.gradient(only.step.out, row), net.value(step.out, row)];
    if (!dout) return missing(value, "The gradient behind the activation");
    const slope = ACTIVATIONS[only.step.function][1](x[index]);
    return made(value, {
      lines: [["da, the gradient of what comes out", dout[index]], ["g′(x), the slope there", slope], ["da · g′(x)", dout[index] * slope]],
      formula: "du = da ∘ g′(u)",
    });
  }
  if (only.step.kind === "pool") return gradientOfPooled(net, only.step, stage, row, index, value);
  if (only.step.kind === "place")
    return made(value, { constants: [{ label: "a sum passes its gradient on, unchanged", value }], formula: "dx = dz" });
  const norm = after.find((other) => other.step.kind === "norm");
  const sum = after.find((other) => other.step.kind === "sum");
  if (norm) return throughNorm(net, norm.step, sum && sum.step, row, index, value);
  return made(value, { constants: [{ label: "a sum passes its gradient on, unchanged", value }], formula: "dbranch = dz" });
}

function throughLinear(net, linear, row, index, value) {
  const terms = [];
  for (const { step } of linear) {
    const [dy, weight] = [net.gradient(step.out, row), net.tensor(step.weight)];
    if (!dy || !weight || weight.places) return missing(value, "All weights that read this number");
    const before = linear.length > 1 ? `${step.role}, ` : "";
    dy.forEach((number, j) => {
      const label = step.role === "logits" ? net.data.labels[j] : `${before}output ${j}`;
      terms.push(product(label, number, weight.numbers[j * weight.width + index], { name: step.out, index: j }));
    });
  }
  return made(value, { terms, factors: "gradient × weight", formula: linear.length > 1 ? "dx = dQ W_Q + dK W_K + dV W_V" : "dxₖ = Σⱼ dyⱼ Wⱼₖ" });
}

function throughNorm(net, norm, sum, row, index, value) {
  const [x, dy] = [net.value(norm.in[0], row), net.gradient(norm.out, row)];
  const passed = sum ? net.gradient(sum.out, row) : null;
  if (!x || !dy || (sum && !passed)) return missing(value, "The gradients behind it");
  const weight = net.vector(norm.weight);
  const { mean, std } = normOf(x, norm.eps);
  const normed = Array.from(x, (number) => (number - mean) / std);
  const dnormed = Array.from(dy, (number, k) => number * weight[k]);
  const average = dnormed.reduce((a, b) => a + b, 0) / x.length;
  const stretch = dnormed.reduce((a, b, k) => a + b * normed[k], 0) / x.length;
  const branch = (dnormed[index] - average - normed[index] * stretch) / std;
  const lines = [
    ["dx̂ = w · dy, from the branch", dnormed[index]],
    ["mean of dx̂ over the features", average],
    ["x̂, the normalised number", normed[index]],
    ["mean of dx̂ · x̂", stretch],
    ["σ, the standard deviation", std],
    ["(dx̂ − mean − x̂ · mean of dx̂ x̂) / σ", branch],
  ];
  if (passed) lines.push(["passed on by the residual stream", passed[index]], ["both together", branch + passed[index]]);
  return made(value, { lines, formula: passed ? "dx = dz + LN′(dy)" : "dx = (dx̂ − ⟨dx̂⟩ − x̂ ⟨dx̂ x̂⟩) / σ" });
}

function gradientOfProjection(net, stage, step, row, index, value) {
  const size = net.model.hidden / step.heads;
  const head = Math.floor(index / size);
  const name = step.out.replace(/\.(query|key|value)$/, "");
  const probs = stage.steps.find((other) => other.out === `${name}.probs`);
  const scale = step.role === "value" ? 1 : 1 / Math.sqrt(size);
  const tokens = net.partners(stage, probs, head, row);
  const terms = [];
  for (const token of tokens) {
    const from = step.role === "query" ? row : token;
    const found = net.attentionRow(stage, probs, head, from);
    const k = found ? found.tokens.indexOf(step.role === "query" ? token : row) : -1;
    const other =
      step.role === "query" ? net.value(`${name}.key`, token)
      : step.role === "key" ? net.value(`${name}.query`, token)
      : net.gradient(name, token);
    const factor = step.role === "value" ? found && found.probs[k] : found && found.dscores && found.dscores[k];
    if (!other || factor === null || factor === undefined) return missing(value, "What all tokens add to it");
    terms.push(product(placeName(net, stage.space, token), factor, other[index]));
  }
  const formula = { query: "dQᵢ = Σⱼ dSᵢⱼ Kⱼ / √d", key: "dKⱼ = Σᵢ dSᵢⱼ Qᵢ / √d", value: "dVⱼ = Σᵢ Pᵢⱼ dOᵢ" }[step.role];
  const factors = { query: "gradient × key", key: "gradient × query", value: "share × gradient" }[step.role];
  return made(value, { terms, scale, formula, factors });
}

function gradientOfLogits(net, index, value) {
  const { probabilities, label, labels } = net.data;
  return made(value, {
    lines: [
      [`p, the probability of “${labels[index]}”`, probabilities[index]],
      ["t, 1 for the class of the loss, else 0", index === label ? 1 : 0],
      ["p − t", probabilities[index] - (index === label ? 1 : 0)],
    ],
    formula: "dz = p − t",
  });
}

function gradientOfPooled(net, pool, stage, row, index, value) {
  const { count } = poolRows(net, stage, pool);
  const from = net.gradient(pool.out, stage.space === "frames" ? net.covers("frames", row).time : 0);
  const label = {
    token: value === 0 ? "the classifier does not look at this token" : "the classifier's gradient, for this is the CLS token",
    gap: "the classifier's gradient, shared by all tokens",
    gsp: "the classifier's gradient",
    gmp: value === 0 ? "another token has the largest number here" : "the classifier's gradient, for this is the largest",
  }[pool.method];
  const lines = from ? [["gradient of the pooled feature", from[index]], [label, value]] : [[label, value]];
  return made(value, { lines, formula: { token: "dy_CLS = dr", gap: `dyᵢ = dr / ${count}`, gsp: "dyᵢ = dr", gmp: "dyᵢ = dr at the largest" }[pool.method] });
}

function explainPixel(net, { row, index }, what) {
  const tubelet = what === "gradients" ? net.stored("gradient.tubelets", row) : net.stored("tubelets", row);
  if (!tubelet) return missing(null, "This tubelet");
  if (what === "values")
    return made(tubelet[index], { note: "A pixel of the clip, scaled as the model was trained with.", formula: "p" });
  const step = net.makers.get("vivit.embeddings.patch_embeddings");
  return throughLinear(net, [step], row, index, tubelet[index]);
}

function explainAnswer(net, step, { index }, what) {
  const logits = net.value("classifier", 0);
  const { label, labels, probabilities, loss } = net.data;
  if (step.role === "loss") {
    if (what === "gradients") return made(1, { note: "Here the way back begins: the loss changes by 1 when it changes by 1." });
    const p = softmax(logits)[label];
    return made(loss, { lines: [[`p, the probability of “${labels[label]}”`, p], ["−ln p", loss]], formula: "L = −ln p" });
  }
  if (what === "gradients") return gradientOfLogits(net, index, net.gradient("classifier", 0)[index]);
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (z) => Math.exp(z - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return made(probabilities[index], {
    lines: [
      [`z, the logit of “${labels[index]}”`, logits[index]],
      ["m, the largest logit", largest],
      ["e^(z − m)", powers[index]],
      [`Σ, the sum of e^(z − m) over ${powers.length} classes`, sum],
      ["e^(z − m) / Σ", powers[index] / sum],
    ],
    formula: "p = e^z / Σ e^z",
  });
}
