// "Why this number?": one part of a stage, down to a single number, its terms, and the lines of source that make it.

import { written } from "./numbers.js";
import { explain, pixelName, placeName, total } from "./terms.js";
import { bars, byId, clear, element, prepare, colours } from "./drawing.js";
import { headOf, nameOfToken, numbersOf, partsOf, titleOfStep } from "./flow.js";

const SHOWN = 8; // terms, before the rest is summed up

export function buildWhy(net, page) {
  const box = byId("why");
  let all = false; // whether all terms are shown
  let way = null; // the source that was chosen, "forward" or "backward"; null follows the switch

  const find = () => {
    const stage = net.stages[page.state.stage];
    const step = partsOf(net, stage).find((part) => part.out === page.state.part);
    return { stage, step };
  };

  function render(before) {
    const { state } = page;
    const { stage, step } = find();
    box.hidden = !step;
    clear(box);
    if (!step) return;
    if (before && (before.part !== state.part || before.what !== state.what)) {
      all = false;
      way = null;
    }
    const found = numbersOf(net, stage, step, state);
    const gradient = state.what === "gradients" ? "Gradient of " : "";
    const head = found.head === undefined ? "" : `, head ${found.head}`;
    const whose = ["one", "times"].includes(stage.space) ? "" : ` of ${nameOfToken(net, state)}`;
    const mark = whose ? element("span", { class: "mark", "aria-hidden": "true" }, " ◆") : null;
    box.append(
      element("div", { class: "why-head" }, element("h3", {}, `${gradient}${titleOfStep(step)}${head}${whose}`, mark), element("code", {}, `${state.what === "gradients" ? "gradient." : ""}${step.out}`)),
    );
    if (found.none) {
      box.append(element("p", {}, found.none), sourceBox(step));
      return;
    }
    const count = found.values.length;
    const number = Math.min(state.number, count - 1);
    box.append(chooser(step, found, number));
    const at = found.tokens
      ? { row: found.row, head: found.head, partner: found.tokens[number] }
      : { row: found.row, index: number };
    const reason = explain(net, stage, step, at, state.what);
    box.append(element("div", { class: "columns" }, reasonBox(stage, step, found, number, reason), sourceBox(step)));
  }

  function chooser(step, found, number) {
    const canvas = element("canvas", { class: "chooser", "aria-hidden": "true" });
    const draw = () => {
      const width = box.clientWidth - 2 * parseFloat(getComputedStyle(box).paddingLeft);
      const parts = step.heads && !found.tokens ? { parts: step.heads, part: headOf(net, page.state) } : {};
      bars(canvas, Array.from(found.values), Math.max(100, width), 96, { mark: number, ...parts });
    };
    draw();
    const choose = (event) => {
      const at = canvas.getBoundingClientRect();
      const place = Math.floor(((event.clientX - at.left) / at.width) * found.values.length);
      page.change({ number: Math.max(0, Math.min(found.values.length - 1, place)) });
    };
    canvas.addEventListener("click", choose);
    return canvas;
  }

  const nameOfNumber = (stage, step, found, number) => {
    if (found.tokens) return `for ${placeName(net, stage.space, found.tokens[number])}`;
    if (step.kind === "pixel") return pixelName(net, number);
    if (step.role === "logits" || step.role === "probabilities") return `“${net.data.labels[number]}”`;
    if (step.role === "loss") return "";
    const size = step.heads && step.role !== "attention output" ? found.values.length / step.heads : 0;
    return size ? `head ${Math.floor(number / size)}, its feature ${number % size}` : "";
  };

  function reasonBox(stage, step, found, number, reason) {
    const input = element("input", { type: "number", min: 0, max: found.values.length - 1, value: number, "aria-label": "Which number", id: "which" });
    input.addEventListener("change", () => page.change({ number: input.value }));
    const result = element("div", { class: "reason" });
    result.append(
      element("h3", {}, "Why this number?"),
      element(
        "div",
        { class: "number" },
        element("output", { "data-shown": "value" }, written(found.values[number])),
        element("span", { class: "of" }, "number", input, `(0 to ${found.values.length - 1})`, element("span", {}, nameOfNumber(stage, step, found, number))),
      ),
    );
    if (reason.formula) result.append(element("p", { class: "formula" }, reason.formula));
    if (reason.note) result.append(element("p", { class: "fine" }, reason.note));
    if (reason.lines.length) result.append(linesTable(reason.lines));
    if (reason.terms.length || reason.constants.length) result.append(termsTable(reason));
    return result;
  }

  const linesTable = (lines) =>
    element("table", {}, ...lines.map(([label, value], k) => element("tr", { class: k === lines.length - 1 && k ? "sum" : "" }, element("td", {}, label), element("td", k === lines.length - 1 ? { "data-shown": "sum" } : {}, written(value)))));

  function termsTable(reason) {
    const { scale } = reason;
    const sorted = [...reason.terms].sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
    const shown = all ? sorted : sorted.slice(0, SHOWN);
    const rest = sorted.slice(shown.length);
    const together = rest.reduce((a, b) => a + b.product, 0);
    const most = Math.max(1e-300, Math.abs(together), ...sorted.map((term) => Math.abs(term.product)), ...reason.constants.map((constant) => Math.abs(constant.value / scale)));
    const table = element("table", { class: "terms" });
    const barCell = (value) => {
      const canvas = element("canvas", { "aria-hidden": "true" });
      const context = prepare(canvas, 78, 9);
      const { plus, minus, line } = colours();
      const size = (Math.abs(value) / most) * 38;
      context.fillStyle = line;
      context.fillRect(39, 0, 1, 9);
      context.fillStyle = value < 0 ? minus : plus;
      context.fillRect(value < 0 ? 39 - size : 40, 1.5, size, 6);
      return element("td", { class: "bar" }, canvas);
    };
    if (shown.length) table.append(element("tr", {}, element("th", { scope: "col" }, "largest first"), element("th", { scope: "col" }, reason.factors), element("th", { scope: "col" }, "product"), element("th")));
    for (const term of shown) {
      const label = term.link && linkTo(term) ? element("button", { type: "button", class: "link", title: "Why this number?", onclick: linkTo(term) }, term.label) : term.label;
      table.append(element("tr", {}, element("td", {}, label), element("td", {}, `${written(term.a)} × ${written(term.b)}`), element("td", {}, written(term.product)), barCell(term.product)));
    }
    if (rest.length) {
      const button = element("button", { type: "button", class: "link", onclick: () => ((all = true), render()) }, `the ${rest.length} smaller ones together`);
      table.append(element("tr", { class: "rest" }, element("td", {}, button), element("td"), element("td", {}, written(together)), barCell(together)));
    }
    if (scale !== 1) {
      const sum = sorted.reduce((a, b) => a + b.product, 0);
      table.append(element("tr", { class: "sum" }, element("td", {}, "together, times 1/√d"), element("td", {}, `${written(sum)} × ${written(scale)}`), element("td", { "data-shown": "sum" }, written(sum * scale)), element("td")));
      return table;
    }
    for (const constant of reason.constants)
      table.append(element("tr", {}, element("td", {}, constant.label), element("td"), element("td", {}, written(constant.value)), barCell(constant.value)));
    table.append(element("tr", { class: "sum" }, element("td", {}, "together"), element("td"), element("td", { "data-shown": "sum" }, written(total(reason))), element("td")));
    return table;
  }

  // A term is a number of another array: open it there, when that array has a card.
  function linkTo(term) {
    const name = term.link.name === "tubelets" ? "pixels" : term.link.name;
    if (name === undefined) return null;
    const stage = net.stages.findIndex((candidate) => partsOf(net, candidate).some((part) => part.out === name));
    return stage < 0 ? null : () => page.change({ stage, part: name, number: term.link.index });
  }

  function sourceBox(step) {
    const { functions, places } = net.data.source;
    const marks = places[step.role];
    const chosen = way || (page.state.what === "gradients" ? "backward" : "forward");
    const result = element("div", { class: "source" });
    const choose = (value) => () => {
      way = value;
      render();
    };
    const button = (value, text) => element("button", { type: "button", "aria-pressed": String(chosen === value), onclick: choose(value) }, text);
    const [name, line] = marks[chosen];
    const source = functions[name];
    const code = element("pre", { tabindex: 0, "aria-label": `${source.name}, line ${line} makes this` });
    for (const [number, text] of source.lines) {
      const row = element("span", { class: number === line ? "marked" : "" }, element("span", { class: "n" }, `${number === line ? "▸ " : ""}${number}`), text);
      code.append(row);
    }
    result.append(
      element("div", { class: "row" }, element("h3", {}, "The line that makes it"), element("div", { class: "switch", role: "group", "aria-label": "Which source" }, button("forward", "the value"), button("backward", "its gradient"))),
      element("p", { class: "file" }, `${source.file}, ${source.name}`),
      code,
    );
    requestAnimationFrame(() => {
      const marked = code.querySelector(".marked");
      if (marked) code.scrollTop = Math.max(0, marked.offsetTop - code.offsetTop - 120);
    });
    return result;
  }

  return { render };
}
