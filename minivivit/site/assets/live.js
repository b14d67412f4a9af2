// The live page: what the reader wants goes to Python in a worker, and what comes back is shown as any recording is.

import { nameOfAttention } from "./clip.js";
import { openNetwork } from "./network.js";
import { percent } from "./numbers.js";
import { byId, clear, colours, element } from "./drawing.js";
import { show } from "./main.js";

const LONGEST_STROKE = 60; // points
const MOST_STROKES = 12;
const IDLE = 400; // milliseconds without a change, after which every tubelet is covered once
const PAD_STEP = 1 / 16; // of the pad, with an arrow key

function openLive(settings) {
  let wanted = null; // what the reader has chosen: a minivivit.site.live.Wanted, from when Python is ready
  let good = null; // what is shown was made of it
  let data = null; // what is shown
  let busy = null; // what is being waited for: { what, since, then }
  let next = null; // what is to follow it: of changes the last is enough
  let covering = false;
  const set = (id, name) => byId(id).setAttribute("aria-pressed", String(name));

  // ------------------------------------------------------------------------------------------------ asking
  const start = URL.createObjectURL(new Blob([`importScripts(${JSON.stringify(settings.worker)});`], { type: "text/javascript" }));
  const worker = new Worker(start); // a worker from a blob is under this page's policy, one from a file would not be

  function say(text, waiting = false) {
    byId("live-says").textContent = text;
    byId("live-says").classList.toggle("busy", waiting);
  }

  function fail(text) {
    byId("live-error").hidden = !text;
    byId("live-error").textContent = text;
  }

  const seconds = () => (performance.now() - busy.since) / 1000;

  function tick() {
    if (!busy || busy.quiet) return;
    const passed = seconds();
    if (passed >= 0.3) say(`${busy.what} … ${passed < 10 ? passed.toFixed(1) : passed.toFixed(0)} s`, true);
  }

  // What is seen of covering takes as long as all else: it follows when there is time, unless it is looked at.
  const looksAtCovering = () => /look=cover/.test(location.hash);
  let idle = 0;

  // files: what goes with it; then: what to do when it has worked.
  function ask(request, what, then = null, files = [], since = performance.now()) {
    const task = { request: { do: "show", ...request }, what, then, files };
    clearTimeout(idle);
    fail("");
    if (busy) {
      if (!next || next.request.do === "show") next = { ...task, since };
      return;
    }
    const asked = { ...wanted, ...request.wanted };
    busy = { ...task, wanted: asked, since };
    worker.postMessage({ kind: "ask", request: { ...task.request, wanted: asked, whole: looksAtCovering() }, files });
  }

  function follow() {
    const task = next;
    next = null;
    if (task) ask(task.request, task.what, task.then, task.files, task.since);
  }

  worker.onmessage = ({ data: message }) => {
    if (message.kind === "says") busy.what = message.text;
    else if (message.kind === "ready") ready(message.options);
    else if (message.kind === "answer") answered(JSON.parse(message.text));
    else failed(message.text);
  };
  worker.onerror = (event) => failed(event.message || "the worker could not be started");

  function failed(text) {
    const starting = busy && busy.starting;
    busy = null;
    if (!next) wanted = good;
    say(starting ? "Python could not be loaded" : "That did not work");
    fail(text);
    update();
    follow();
  }

  function answered(reply) {
    const task = busy;
    if (reply.error) {
      failed(reply.error);
      return;
    }
    if ("occlusion" in reply) {
      busy = null;
      data = { ...data, occlusion: reply.occlusion };
      if (reply.occlusion && !next) show(data);
      follow();
      return;
    }
    const before = data;
    data = reply.data;
    good = task.wanted;
    wanted = { ...wanted, ...task.request.wanted };
    if (task.then) task.then(reply);
    document.documentElement.removeAttribute("data-waiting");
    show(data);
    update(reply);
    const passed = seconds();
    busy = null;
    const [answer, earlier] = [data, before].map((one) => one && bestOf(one));
    const was = earlier && (earlier.label !== answer.label || earlier.share !== answer.share) ? ` (before: ${earlier.label} ${earlier.share})` : "";
    const truth = reply.truth === null ? "" : reply.truth === data.probabilities.indexOf(Math.max(...data.probabilities)) ? " Right." : ` It is ${data.labels[reply.truth]}.`;
    say(`Answer: ${answer.label} ${answer.share}${was}.${truth} ${passed.toFixed(1)} s.`);
    document.documentElement.dataset.answers = String(Number(document.documentElement.dataset.answers || 0) + 1);
    follow();
    if (!busy && !data.occlusion && data.kept.whole) idle = setTimeout(cover, IDLE);
  }

  function cover() {
    if (busy) return;
    busy = { what: "", wanted: good, request: {}, quiet: true, since: performance.now() };
    worker.postMessage({ kind: "ask", request: { do: "occlude", label: data.label, wanted: good }, files: [] });
  }

  const bestOf = (one) => {
    const most = Math.max(...one.probabilities);
    return { label: one.labels[one.probabilities.indexOf(most)], share: percent(most) };
  };

  function change(changes, what) {
    wanted = { ...wanted, ...changes };
    update();
    ask({}, what);
  }

  // ------------------------------------------------------------------------------------------------ the clip
  function ready(options) {
    busy = null;
    wanted = good = options.wanted;
    clear(byId("glyph")).append(...options.glyphs.map((name, k) => element("option", { value: k }, name)), element("option", { value: "drawn" }, "what I draw"));
    clear(byId("motion")).append(...options.motions.map((name, k) => element("option", { value: k, selected: k === wanted.motion }, name)));
    ask({}, "The first clip goes through the network");
  }

  const toMotion = { source: "motion" };
  byId("glyph").onchange = ({ target }) => {
    if (target.value === "drawn") {
      byId("pad").focus();
      if (!pad.strokes.length) fail("Draw a shape on the pad: with the pointer, or with the arrow keys and Space.");
      else change({ ...toMotion, strokes: pad.strokes }, "Your shape goes through the network");
    } else change({ ...toMotion, glyph: Number(target.value), strokes: [] }, "Another shape");
  };
  byId("motion").onchange = ({ target }) => change({ ...toMotion, motion: Number(target.value) }, "Another motion");
  byId("pace").oninput = ({ target }) => change({ ...toMotion, speed: Number(target.value) }, "Another speed");
  byId("another").onclick = () => change({ ...toMotion, seed: wanted.seed + 1 }, "Another background");
  for (const button of byId("order").querySelectorAll("button"))
    button.onclick = () => change({ order: button.dataset.value, shuffle: wanted.shuffle + (button.dataset.value === "shuffled") }, "The frames in another order");
  const pad = openPad((strokes) => {
    byId("glyph").value = strokes.length ? "drawn" : String(wanted.glyph);
    change({ ...toMotion, strokes }, "Your shape goes through the network");
  });
  byId("wipe").onclick = () => pad.wipe();

  byId("cover").onclick = () => {
    covering = !covering;
    update();
    if (covering) byId("panels").scrollIntoView({ block: "nearest" });
  };
  byId("panels").addEventListener("tubelet", (event) => {
    if (!covering) return;
    event.preventDefault();
    const token = event.detail;
    const covered = wanted.covered.includes(token) ? wanted.covered.filter((other) => other !== token) : [...wanted.covered, token];
    change({ covered }, "Another cover");
  });
  byId("uncover").onclick = () => change({ covered: [] }, "Nothing is covered");

  // ------------------------------------------------------------------------------------------------ the network
  const has = (list, attention, head) => list.some(([a, h]) => a === attention && h === head);

  function partsTable() {
    const { heads } = data.model;
    const net = openNetwork(data);
    const layers = data.stages.filter((stage) => stage.steps.some((step) => step.role === "MLP output"));
    const box = clear(byId("parts"));
    box.style.gridTemplateColumns = `repeat(${heads + 2}, max-content)`;
    const head = element("span", { class: "lay" }, "Heads");
    head.style.gridColumn = `2 / span ${heads}`;
    box.append(element("span"), head, element("span"));
    const toggle = (id, name, label, flip) => element("button", { type: "button", "data-part": id, "aria-label": label, onclick: flip }, name);
    net.attentions.forEach(({ stage }, attention) => {
      const title = nameOfAttention(net, attention).replace(" layer", "");
      box.append(element("span", { class: "lay" }, title));
      for (let head = 0; head < heads; head++)
        box.append(toggle(`head ${attention} ${head}`, String(head), `${title}, head ${head}`, () => {
          const off = has(wanted.heads, attention, head) ? wanted.heads.filter(([a, h]) => a !== attention || h !== head) : [...wanted.heads, [attention, head]];
          change({ heads: off }, "A head is switched");
        }));
      const mlp = layers.indexOf(stage);
      const last = net.attentions.findLastIndex((other) => other.stage === stage) === attention;
      box.append(!last || mlp < 0 ? element("span") : toggle(`mlp ${mlp}`, "MLP", `${stage.title}, MLP`, () => {
        change({ mlps: wanted.mlps.includes(mlp) ? wanted.mlps.filter((other) => other !== mlp) : [...wanted.mlps, mlp] }, "An MLP is switched");
      }));
    });
  }
  byId("positions").onclick = () => change({ positions: !wanted.positions }, "The positions are switched");
  byId("all-on").onclick = () => change({ heads: [], mlps: [], positions: true }, "All is switched on");

  // ------------------------------------------------------------------------------------------------ training
  byId("label").onchange = ({ target }) => change({ label: target.value === "" ? null : Number(target.value) }, "Another loss");
  byId("step").onclick = () =>
    ask({ do: "step", rate: Number(byId("rate").value) }, "A step of training", ({ step, steps }) => {
      byId("step-says").textContent = `Step ${steps}: the loss went from ${step.before.toPrecision(3)} to ${step.after.toPrecision(3)}; the weights moved by ${(100 * step.moved).toPrecision(2)} % of their length.`;
    });
  byId("reset").onclick = () =>
    ask({ do: "reset" }, "The weights from before", () => {
      byId("step-says").textContent = "The weights are as they were before the steps.";
    });

  // ------------------------------------------------------------------------------------------------ one's own
  const afresh = { covered: [], heads: [], mlps: [], positions: true, label: null };

  async function take(list) {
    const files = await Promise.all([...list].map(async (file) => ({ name: file.name.replace(/[^\w.-]/g, "_").slice(-80), bytes: await file.arrayBuffer() })));
    const names = files.map((file) => file.name);
    if (names.some((name) => name.endsWith(".json") || name.endsWith(".safetensors"))) {
      if (!names.includes("config.json") || !names.some((name) => name.endsWith(".safetensors"))) fail("A model is config.json and model.safetensors: choose or drop both together.");
      else ask({ do: "model", wanted: afresh }, "Your model is read", fresh, files);
    } else if (files.length === 1) ask({ do: "clip", wanted: { source: "file", covered: [] } }, "Your clip is read", null, files);
    else if (files.length) fail("One clip at a time, please.");
  }

  function fresh() {
    byId("step-says").textContent = "";
    clear(byId("parts"));
    clear(byId("label"));
  }

  byId("files").onchange = async ({ target }) => {
    await take(target.files);
    target.value = "";
  };
  for (const kind of ["dragover", "dragleave", "drop"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.documentElement.toggleAttribute("data-dropping", kind === "dragover");
      if (kind === "drop" && data) take(event.dataTransfer.files);
    });
  byId("own-clip").onclick = () => ask({ do: "clip", file: null, wanted: { source: "file", covered: [] } }, "The sample clip");
  byId("own-model").onclick = () => ask({ do: "model", folder: null, wanted: afresh }, "The bundled model is read", fresh);

  // ------------------------------------------------------------------------------------------------ what is chosen
  function update(reply = null) {
    byId("live-form").inert = !data;
    if (!data) return;
    if (!byId("parts").childElementCount) partsTable();
    if (!byId("label").childElementCount)
      byId("label").append(element("option", { value: "" }, "what it says"), ...data.labels.map((name, k) => element("option", { value: k }, name)));
    for (const button of byId("parts").querySelectorAll("button")) {
      const [kind, first, second] = button.dataset.part.split(" ");
      const off = kind === "mlp" ? wanted.mlps.includes(Number(first)) : has(wanted.heads, Number(first), Number(second));
      button.setAttribute("aria-pressed", String(!off));
    }
    for (const button of byId("order").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.value === wanted.order));
    byId("glyph").value = wanted.strokes.length ? "drawn" : String(wanted.glyph);
    byId("motion").value = String(wanted.motion);
    byId("pace").value = String(wanted.speed);
    byId("label").value = wanted.label === null ? "" : String(wanted.label);
    set("positions", wanted.positions);
    set("cover", covering);
    set("own-clip", wanted.source === "file");
    byId("cover").textContent = covering ? "Click on tubelets below, or Enter" : "Cover by clicking";
    byId("uncover").disabled = !wanted.covered.length;
    byId("uncover").textContent = wanted.covered.length ? `Uncover all (${wanted.covered.length})` : "Uncover all";
    byId("all-on").disabled = wanted.positions && !wanted.heads.length && !wanted.mlps.length;
    if (reply) {
      byId("reset").disabled = !reply.steps;
      byId("own-model").disabled = data.about.model === "the bundled model";
    }
  }

  setInterval(tick, 100);
  busy = { what: "Python is loading", since: performance.now(), starting: true, request: {} };
  document.documentElement.dataset.waiting = "";
  worker.postMessage({ kind: "start", ...settings });
}

// Where a shape is drawn: lines of points from 0 to 1. `done` is told when a line is.
function openPad(done) {
  const canvas = byId("pad");
  let strokes = [];
  let line = null; // that is being drawn
  let cross = null; // where the keys are: [x, y]

  function draw() {
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    const { ink, chosen } = colours();
    context.clearRect(0, 0, width, height);
    context.strokeStyle = ink;
    context.lineWidth = 0.16 * width;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of line ? [...strokes, line] : strokes) {
      context.beginPath();
      stroke.forEach(([x, y], k) => (k ? context.lineTo(x * width, y * height) : context.moveTo(x * width, y * height)));
      if (stroke.length === 1) context.lineTo(stroke[0][0] * width + 1, stroke[0][1] * height);
      context.stroke();
    }
    if (!cross) return;
    context.strokeStyle = chosen;
    context.lineWidth = 3;
    const [x, y] = [cross[0] * width, cross[1] * height];
    context.strokeRect(x - 6, y - 6, 12, 12);
  }

  const round = (x) => Math.round(1000 * Math.max(0, Math.min(1, x))) / 1000;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [round((event.clientX - box.left) / box.width), round((event.clientY - box.top) / box.height)];
  };

  function add([x, y]) {
    const [lastX, lastY] = line[line.length - 1];
    if (line.length < LONGEST_STROKE && Math.hypot(x - lastX, y - lastY) > 0.03) line.push([x, y]);
    draw();
  }

  function end() {
    if (!line) return;
    strokes = [...strokes, line].slice(-MOST_STROKES);
    line = null;
    draw();
    done(strokes);
  }

  canvas.onpointerdown = (event) => {
    canvas.setPointerCapture(event.pointerId);
    line = [at(event)];
    cross = null;
    draw();
  };
  canvas.onpointermove = (event) => line && !cross && add(at(event));
  canvas.onpointerup = canvas.onpointercancel = end;
  canvas.onfocus = () => canvas.matches(":focus-visible") && ((cross = cross || [0.5, 0.5]), draw());
  canvas.onblur = () => (end(), (cross = null), draw());
  canvas.onkeydown = (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    event.stopPropagation();
    cross = cross || [0.5, 0.5];
    if (move) cross = [round(cross[0] + move[0] * PAD_STEP), round(cross[1] + move[1] * PAD_STEP)];
    if (move && line) add(cross);
    else if (!move && line) end();
    else if (!move) line = [cross];
    draw();
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  return {
    get strokes() {
      return strokes;
    },
    wipe() {
      strokes = [];
      line = null;
      draw();
      done(strokes);
    },
  };
}

// A worker from a blob has no folder: it needs whole addresses.
const whole = (address) => new URL(address, location.href).href;
const { worker, pyodide, packages, wheels } = given.live;
openLive({ worker: whole(worker), pyodide: whole(pyodide), packages, wheels: wheels.map(whole) });
