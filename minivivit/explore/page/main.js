// Puts the page together: one network, one state, and the parts that draw it.

import { percent, unpack } from "./numbers.js";
import { openNetwork } from "./network.js";
import { openState } from "./state.js";
import { byId, clear, element, forgetColours } from "./drawing.js";
import { buildClip } from "./clip.js";
import { buildFlow, partsOf } from "./flow.js";
import { buildWhy } from "./why.js";
import { buildModels } from "./models.js";
import { buildTour } from "./tour.js";

let shown = null; // what show has put up last
const scheme = matchMedia("(prefers-color-scheme: dark)");

// Show a recording: `data` is what minivivit.explore.page.page_data returns. May be called again with another: what was
// looked at stays so, where the network has it.
export function show(data) {
  const before = shown && { state: shown.state, clip: shown.clip.now() };
  if (shown) shown.leave();
  const focused = document.activeElement && document.activeElement.id;
  const net = openNetwork(data);
  const rollout = data.rollout ? Array.from(unpack(data.rollout)) : data.kept.tubelets.map(() => 0);
  const best = rollout.indexOf(Math.max(...rollout));
  net.best = net.keepsToken(best) ? best : data.kept.tubelets[0];
  const count = net.times * net.places;
  const tokens = [...(net.cls ? ["cls"] : []), ...Array.from({ length: count }, (_, k) => k)].filter((token) => token === "cls" || net.keepsToken(token));
  const whole = (least, most) => ({ least, most });
  const looks = ["head", ...(data.rollout ? ["rollout"] : []), ...(data.occlusion ? ["cover"] : [])];
  const parts = ["", ...net.stages.flatMap((stage) => partsOf(net, stage).map((part) => part.out))];
  const page = openState(
    {
      token: tokens, look: looks, direction: ["from", "to"], what: ["values", "gradients"], part: parts,
      layer: whole(0, Math.max(0, net.attentions.length - 1)), head: ["mean", ...data.kept.heads],
      stage: whole(0, net.stages.length - 1), number: whole(0, 999999), tour: whole(0, 12),
    },
    beginning(net, looks),
    (changes, state) => linked(net, parts, changes, state),
  );
  describe(net);
  const built = [buildClip(net, page, before && before.clip), buildFlow(net, page), buildWhy(net, page), buildModels(net, page), buildTour(net, page)];
  const [clip, ...others] = built;
  const tour = built[4];

  let later = 0; // a timer, while parts have yet to be drawn
  let since = null; // the state that they show; null where all is to be drawn

  function render(before = null, soon = false) {
    for (const button of byId("what").querySelectorAll("button")) button.setAttribute("aria-pressed", String(button.dataset.value === page.state.what));
    document.documentElement.dataset.what = page.state.what;
    clip.render(before);
    if (!before) since = null;
    else if (!later) since = before;
    clearTimeout(later);
    later = soon ? setTimeout(renderOthers, 90) : 0;
    if (!soon) renderOthers();
  }

  function renderOthers() {
    later = 0;
    for (const part of others) part.render(since);
  }

  page.listen((_, before, soon) => render(before, soon));
  for (const button of byId("what").querySelectorAll("button")) button.onclick = () => page.change({ what: button.dataset.value });
  window.onhashchange = () => (page.restore(), tour.enter());
  let width = 0;
  window.onresize = () => {
    if (width !== window.innerWidth) render();
    width = window.innerWidth;
  };
  const again = () => {
    forgetColours();
    render();
  };
  scheme.onchange = again;
  window.onbeforeprint = () => {
    clip.pause();
    document.documentElement.dataset.print = "yes";
    again();
  };
  window.onafterprint = () => {
    delete document.documentElement.dataset.print;
    again();
  };
  document.onkeydown = (event) => key(event, net, page, clip);
  page.restore(before && before.state);
  if (!before) tour.enter();
  if (focused && byId(focused) && document.activeElement.id !== focused) byId(focused).focus({ preventScroll: true });
  shown = { clip, state: page.state, leave: () => (clearTimeout(later), clip.leave()) };
}

// Where the page opens: at the head that writes most for the class of the loss.
function beginning(net, looks) {
  const { parts, classes } = net.data.shares;
  const place = classes.indexOf(net.data.label);
  const heads = parts.filter((part) => part.part === "head" && net.data.kept.heads.includes(part.head));
  const most = heads.reduce((a, b) => (a && a.logits[place] >= b.logits[place] ? a : b), null);
  const layer = Math.max(0, most ? net.attentions.findIndex(({ step }) => step.in[0] === `${most.attention}.scores`) : 0);
  const there = net.attentions[layer];
  return {
    token: net.best,
    layer,
    head: most ? most.head : "mean",
    stage: there ? net.stages.indexOf(there.stage) : 0,
    part: there ? there.step.in[0].replace(/scores$/, "query") : "",
    look: there ? "head" : looks[looks.length - 1],
  };
}

// A part lies in one stage, and the layer above is the one that is open below.
function linked(net, parts, changes, state) {
  const result = { ...changes };
  const stageOf = (part) => net.stages.findIndex((stage) => partsOf(net, stage).some((step) => step.out === part));
  const open = net.stages[state.stage];
  if (result.part && !("stage" in result)) result.stage = Math.max(0, stageOf(result.part));
  const next = net.attentions[Number(result.layer)];
  if ("layer" in result && next && !("stage" in result) && open.kind === "layer" && next.stage !== open) {
    result.stage = net.stages.indexOf(next.stage);
    const part = state.part.replace(open.id, next.stage.id);
    result.part = parts.includes(part) ? part : "";
  }
  const layer = net.attentions.findIndex((entry) => entry.stage === net.stages[Number(result.stage)]);
  const named = "layer" in result ? net.attentions[Number(result.layer)] : null;
  if ("stage" in result && layer >= 0 && (!named || named.stage !== net.stages[Number(result.stage)])) result.layer = layer;
  return result;
}

function key(event, net, page, clip) {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const { state } = page;
  const by = event.shiftKey ? -1 : 1;
  const letter = event.key.toLowerCase();
  if (letter === "l") page.change({ layer: Math.max(0, state.layer + by), look: "head" });
  else if (letter === "h") {
    const heads = ["mean", ...net.data.kept.heads];
    page.change({ head: heads[(heads.indexOf(state.head) + by + heads.length) % heads.length], look: "head" });
  } else if (letter === "g") page.change({ what: state.what === "values" ? "gradients" : "values" });
  else if (event.key === " " && event.target.tagName !== "BUTTON") {
    event.preventDefault();
    clip.toggle();
  }
}

// What does not change: the clip, the model, the answer, what was kept.
function describe(net) {
  const { data } = net;
  byId("about").textContent = `${data.about.clip} · ${data.about.model}`;
  const order = data.probabilities.map((p, k) => [p, k]).sort((a, b) => b[0] - a[0]).slice(0, 5);
  const list = clear(byId("classes"));
  order.forEach(([probability, index], place) => {
    const bar = element("i");
    bar.style.width = `${100 * probability}%`;
    const name = element("span", { class: "name", title: data.labels[index] }, data.labels[index]);
    list.append(element("li", { class: place ? "" : "best" }, name, element("span", {}, percent(probability)), element("span", { class: "meter", "aria-hidden": "true" }, bar)));
  });
  byId("loss-says").textContent = `Loss for “${data.labels[data.label]}”: ${data.loss.toPrecision(3)}`;
  byId("kept").textContent = data.kept.sentence;
  const notes = clear(byId("notes"));
  for (const note of data.notes) notes.append(element("li", {}, note));
}

const given = JSON.parse(byId("data").textContent);
if (given.format) show(given); // a page that computes has nothing to show yet
