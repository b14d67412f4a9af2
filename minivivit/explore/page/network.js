// The network as the page knows it: values and gradients by name, stored or computed from those that are.

import { ACTIVATIONS, dot, normOf, softmax, unpack } from "./numbers.js";

export function openNetwork(data) {
  const { tensors, model } = data;
  const unpacked = new Map();
  const computed = new Map();
  const [times, rows, columns] = model.grid;
  const places = rows * columns;
  const cls = model.cls;

  function tensor(name) {
    let entry = tensors[name];
    if (!entry) return null;
    if (entry.same) return tensor(entry.same);
    if (!unpacked.has(name)) {
      const width = entry.shape.length > 1 ? entry.shape.slice(1).reduce((a, b) => a * b, 1) : 1;
      const places = entry.rows ? new Map(entry.rows.map((row, place) => [row, place])) : null;
      unpacked.set(name, { numbers: unpack(entry), width, shape: entry.shape, places });
    }
    return unpacked.get(name);
  }

  // One row along the first axis, or null where it was not kept.
  function stored(name, row) {
    const found = tensor(name);
    if (!found) return null;
    const place = found.places ? found.places.get(row) : row;
    if (place === undefined || (place + 1) * found.width > found.numbers.length) return null;
    return found.numbers.subarray(place * found.width, (place + 1) * found.width);
  }

  function vector(name) {
    const found = tensor(name);
    return found ? found.numbers : null;
  }

  const stages = data.stages;
  const makers = new Map(); // name of an array -> the stage and step that make it
  for (const stage of stages) for (const step of stage.steps) makers.set(step.out, { stage, step });
  const attentions = stages.flatMap((stage) =>
    stage.steps.filter((step) => step.role === "probs").map((step) => ({ stage, step })),
  );

  const rowCount = (space) =>
    ({ clip: cls + times * places, frames: times * (places + cls), moments: cls + times, times, tubelets: times * places, one: 1 })[space];

  // Which row of a space stands for a token: a tubelet from 0, or -1 for the CLS token. Null where none does.
  function rowOf(space, token, time = 0) {
    const [t, p] = token < 0 ? [time, -1] : [Math.floor(token / places), token % places];
    if (space === "one") return 0;
    if (space === "tubelets") return token < 0 ? null : token;
    if (token < 0 && !cls) return null;
    if (space === "clip") return token < 0 ? 0 : cls + token;
    if (space === "frames") return t * (places + cls) + (token < 0 ? 0 : cls + p);
    if (space === "moments") return token < 0 ? 0 : cls + t;
    return t; // "times"
  }

  // What a row of a space covers: {time, place}, either of them null where it covers all.
  function covers(space, row) {
    if (space === "clip" || space === "tubelets") {
      const token = space === "clip" ? row - cls : row;
      return token < 0 ? { cls: true } : { time: Math.floor(token / places), place: token % places };
    }
    if (space === "frames") {
      const inside = (row % (places + cls)) - cls;
      const time = Math.floor(row / (places + cls));
      return inside < 0 ? { cls: true, time } : { time, place: inside };
    }
    if (space === "moments") return row < cls ? { cls: true } : { time: row - cls, place: null };
    return { time: row, place: null };
  }

  const axisOf = (step, head) =>
    step.axis === "halves" ? (head < step.heads / 2 ? "temporal" : "spatial") : step.axis;

  // The rows that a row attends to.
  function partners(stage, step, head, row) {
    const axis = axisOf(step, head);
    const range = (count, from = 0, by = 1) => Array.from({ length: count }, (_, k) => from + k * by);
    if (stage.space === "frames") return range(places + cls, Math.floor(row / (places + cls)) * (places + cls));
    if (axis === "temporal") return range(times, row % places, places);
    if (axis === "spatial") return range(places, Math.floor(row / places) * places);
    return range(rowCount(stage.space));
  }

  const headPart = (array, step, head) => {
    const size = array.length / step.heads;
    return array.subarray(head * size, (head + 1) * size);
  };

  function remember(key, compute) {
    if (!computed.has(key)) computed.set(key, compute());
    return computed.get(key);
  }

  // The value of an array at a row: stored, or made as its step makes it.
  function value(name, row) {
    const found = stored(name, row);
    if (found || !makers.has(name)) return found;
    return remember(`v ${name} ${row}`, () => {
      const { step } = makers.get(name);
      const x = value(step.in[0], row);
      if (!x) return null;
      if (step.kind === "norm") {
        const { mean, std } = normOf(x, step.eps);
        const [weight, bias] = [vector(step.weight), vector(step.bias)];
        return Float64Array.from(x, (number, k) => ((number - mean) / std) * weight[k] + bias[k]);
      }
      if (step.kind === "activation") return Float64Array.from(x, ACTIVATIONS[step.function][0]);
      return null;
    });
  }

  // The gradient of the loss to it.
  function gradient(name, row) {
    const found = stored(`gradient.${name}`, row);
    if (found) return found;
    const after = stages.flatMap((stage) => stage.steps).find((step) => step.in.includes(name));
    if (!after || after.kind !== "linear") return null;
    return remember(`g ${name} ${row}`, () => {
      const dy = gradient(after.out, row);
      const weight = tensor(after.weight);
      if (!dy || !weight || weight.places) return null;
      const dx = new Float64Array(weight.width);
      for (let j = 0; j < dy.length; j++)
        for (let k = 0; k < dx.length; k++) dx[k] += dy[j] * weight.numbers[j * weight.width + k];
      return dx;
    });
  }

  const inner = (step) => step.out.replace(/\.(probs|scores)$/, "");

  // Scores, probabilities and their gradients of one head at one row, over its partners.
  function attentionRow(stage, step, head, row) {
    return remember(`a ${step.out.replace(/scores$/, "probs")} ${head} ${row}`, () => {
      const tokens = partners(stage, step, head, row);
      const name = inner(step);
      const query = value(`${name}.query`, row);
      const kept = tensor(`${name}.probs.from`);
      if (kept) return keptAttention(kept, `gradient.${name}.probs.from`, head, row, tokens);
      if (!query) return null;
      const q = headPart(query, step, head);
      const keys = tokens.map((token) => headPart(value(`${name}.key`, token), step, head));
      const scores = keys.map((key) => dot(q, key) / Math.sqrt(q.length));
      const probs = softmax(scores);
      const dout = gradient(name, row);
      let dprobs = null;
      let dscores = null;
      if (dout) {
        const d = headPart(dout, step, head);
        dprobs = tokens.map((token) => dot(d, headPart(value(`${name}.value`, token), step, head)));
        const mean = dot(dprobs, probs);
        dscores = probs.map((p, k) => p * (dprobs[k] - mean));
      }
      return { tokens, scores, probs, dprobs, dscores };
    });
  }

  function keptAttention(kept, gradientName, head, row, tokens) {
    const headPlace = data.kept.heads.indexOf(head);
    const place = kept.places.get(row);
    if (headPlace < 0 || place === undefined) return null;
    const [, rowsKept, count] = kept.shape;
    const start = (headPlace * rowsKept + place) * count;
    const probs = tokens.map((token) => kept.numbers[start + token]);
    const gradients = tensor(gradientName);
    const dprobs = gradients ? tokens.map((token) => gradients.numbers[start + token]) : null;
    return { tokens, scores: null, probs, dprobs, dscores: null };
  }

  // What the rows that attend to a row give it: the column of the probabilities.
  function attentionColumn(stage, step, head, row) {
    return remember(`c ${step.out} ${head} ${row}`, () => {
      const tokens = partners(stage, step, head, row);
      const kept = tensor(`${inner(step)}.probs.to`);
      if (kept) return keptAttention(kept, "", head, row, tokens);
      const from = tokens.map((token) => attentionRow(stage, step, head, token));
      if (from.some((entry) => !entry)) return null;
      const at = (entry, part) => (entry[part] ? entry[part][entry.tokens.indexOf(row)] : null);
      const dprobs = from.map((entry) => at(entry, "dprobs"));
      return { tokens, probs: from.map((entry) => at(entry, "probs")), dprobs: dprobs.includes(null) ? null : dprobs };
    });
  }

  // The attention of a head, or the mean of all that there are: what is read, or who reads.
  function attention(stage, step, head, row, direction) {
    const one = direction === "to" ? attentionColumn : attentionRow;
    if (head >= 0) return one(stage, step, head, row);
    const all = data.kept.heads.map((number) => one(stage, step, number, row)).filter((entry) => entry);
    if (!all.length) return null;
    const sums = new Map();
    for (const entry of all)
      entry.tokens.forEach((token, k) => {
        const sum = sums.get(token) || [0, 0];
        sums.set(token, [sum[0] + entry.probs[k] / all.length, sum[1] + (entry.dprobs ? entry.dprobs[k] / all.length : 0)]);
      });
    const tokens = [...sums.keys()].sort((a, b) => a - b);
    const withGradient = all.every((entry) => entry.dprobs);
    return {
      tokens,
      probs: tokens.map((token) => sums.get(token)[0]),
      dprobs: withGradient ? tokens.map((token) => sums.get(token)[1]) : null,
    };
  }

  return {
    data, model, stages, makers, attentions, times, rows, columns, places, cls,
    tensor, stored, vector, value, gradient, rowOf, rowCount, covers, axisOf, partners, headPart,
    attention, attentionRow, attentionColumn,
    keepsToken: (token) => token < 0 || data.kept.whole || data.kept.tubelets.includes(token),
  };
}
