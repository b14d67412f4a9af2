// The guided tour: twelve steps in plain words, each of which sets the page to what it speaks of.

import { byId, clear, element } from "./drawing.js";

// Of each step: title, text, something to try, the state that it sets, and what is scrolled into view.
function stepsOf(net) {
  const find = (kind) => net.stages.findIndex((stage) => stage.kind === kind);
  const layer = find("layer");
  const inLayer = (role) => (net.stages[layer]?.steps.find((step) => step.role === role) || { out: "" }).out;
  const token = (() => {
    const kept = net.data.kept.tubelets;
    if (!net.data.kept.whole) return kept[0];
    return net.best;
  })();
  const place = net.stages.findIndex((stage) => stage.kind === "place");
  const label = net.data.labels[net.data.label];
  const later = Math.max(0, Math.min(1, net.attentions.length - 1));
  const reader = net.cls ? "cls" : token;
  const answer = net.data.labels[net.data.probabilities.indexOf(Math.max(...net.data.probabilities))];
  const who = net.cls ? "CLS, a token that belongs to no place, is where the answer is read" : "The answer is read from all tokens together";
  return [
    ["A clip is numbers", `You see a short clip. The network sees ${net.data.frames.count} frames of numbers, and has to name what happens. Its answer stands under the clip: “${answer}”.`, "Stop the clip and go through it frame by frame. Could you tell the answer from one frame alone?", { stage: 0, part: "", look: "head", what: "values", token, layer: 0, head: "mean", direction: "from" }, "player"],
    ["Boxes in space and time", `The clip is cut into ${net.times * net.places} boxes, each ${net.model.tubelet[0]} frames deep: tubelets. A tubelet holds a small piece of movement. The green ◆ marks one; you will find it again in every picture below.`, "Click another tubelet on the frames, one where the shape moves, then one of the plain background.", { stage: 0, part: "", token, look: "head", what: "values" }, "look"],
    ["A token is a row of numbers", `Each tubelet becomes a token: ${net.model.hidden} numbers. Each of them is a sum: every pixel of the tubelet times a learned weight, all added up. Here one such number is written out, the largest products first.`, "Choose another bar. Then click on a product: it leads to the pixel.", { stage: find("tubelets"), part: "vivit.embeddings.patch_embeddings", number: 0, token, what: "values" }, "why"],
    ["Where and when", "What comes next treats the tokens as a heap. By itself it would give the same answer with the times, or the places, in any other order: it sees the movement inside each tubelet, but not when or where that was. So a learned vector for its time and place, the position embedding, is added to each token.", "Compare the two parts of the sum for a few numbers. Which is larger, the content or the place?", { stage: place, part: net.stages[place].steps[0].out, number: 0, token, what: "values" }, "why"],
    ["The stream, and what is added", "A layer never replaces a token. It reads it, works something out, and adds that to it. The token’s row of numbers runs through all layers as a stream, and the two “Residual sum” cards are where something is added.", "Open both Residual sum cards. Which of the two writes more into number 0?", { stage: layer, part: inLayer("attention residual"), number: 0, token, what: "values" }, "stage"],
    ["Query, key and value", "A token makes a query: what it looks for. A key: what it offers, by which others find it. And a value: what it passes on. Each is the token times a learned matrix of its own. Were query and key the same, two tokens would always fit each other equally well. And what a token is found by need not be what it has to tell.", "Open Query, then Key: the same sum, with other weights.", { stage: layer, part: inLayer("query"), number: 0, token, what: "values" }, "why"],
    ["Scores become shares", "Query times key gives a score for each pair of tokens: large where they fit. Softmax turns one token’s scores into shares that sum to 1: its row of the attention probabilities, a share for each token that it may read. What it reads is the average of their values, weighted by these shares.", "In Softmax, choose the highest bar. Which token is it? Look for it on the frames above.", { stage: layer, part: inLayer("probs"), number: 0, token, head: net.data.kept.heads[0], layer: 0, look: "head", what: "values" }, "why"],
    ["Attention, where it belongs", `The same shares, drawn over the frames: the larger the square, the more is read from there. ${net.model.heads} heads do this side by side, each with its own queries, keys and values. ${who}.`, "Go through the table of layers and heads. Which look at the shape, which at the other time?", { token: reader, layer: later, head: net.data.kept.heads[0], look: "head", direction: "from", what: "values" }, "look"],
    ["The MLP: each token by itself", "After reading, each token is worked on alone: widened to more features, each bent by a curve that lets positive numbers pass and holds negative ones back, and narrowed again. No other token plays a part.", "Open the Activation card. Find a number that came in negative: what is left of it?", { stage: layer, part: inLayer("activation"), number: 0, token, what: "values" }, "why"],
    ["From one row to an answer", `After the last layer one row is left to read. Each class has a row of weights; its product with what is read is the logit, and softmax makes probabilities. The bars under the maps of the heads, further up, show what each head has put into the logit of “${label}”.`, "Open Logits and compare two classes. Which head has written most for the answer, which against it?", { stage: find("head"), part: "classifier", number: net.data.label, what: "values" }, "why"],
    ["Backwards: gradients", "The loss says how wrong the answer is. A number’s gradient says how the loss changes when that number grows a little: above 0 it rises, below 0 it falls. It is found from the step after: the gradient of every number that this one goes into, times the weight on the way, all added up. So the way leads from the loss back to the pixels. Training moves each weight against its gradient.", "Click on a product: it leads to the gradient, one step later, that it is made of.", { stage: layer, part: inLayer("activation"), number: 0, token, what: "gradients" }, "why"],
    ["Who may read whom", "When every token reads every token, the work grows with the square of their number. The paper’s other models let a token read less in each layer, and still all of the clip reaches the answer. Which tubelets led to it here? Rollout, further up, follows attention back through all layers; Covering hides one tubelet after the other.", "Choose tubelets and watch the four models. Then compare Rollout with Covering: what is read most is not always missed most.", { look: net.data.rollout ? "rollout" : "head", what: "values", token }, "four"],
  ];
}

export function buildTour(net, page) {
  const steps = stepsOf(net);
  const box = byId("tour");

  byId("tour-start").onclick = () => go(1);

  function go(number) {
    if (number < 1 || number > steps.length) {
      page.change({ tour: 0 });
      byId("tour-start").focus();
      return;
    }
    page.change({ look: "head", direction: "from", ...steps[number - 1][3], tour: number });
  }

  function render(before) {
    const { tour } = page.state;
    byId("tour-start").textContent = tour ? "Leave the tour" : "Take the tour";
    byId("tour-start").onclick = () => go(tour ? 0 : 1);
    box.hidden = !tour;
    if (!tour || (before && before.tour === tour && box.childElementCount)) return;
    const [title, text, exercise] = steps[tour - 1];
    const button = (name, to, primary) => element("button", { type: "button", class: primary ? "primary" : "", onclick: () => go(to) }, name);
    clear(box).append(
      element("p", { class: "eyebrow" }, `Step ${tour} of ${steps.length}`),
      element("h2", {}, title),
      element("p", {}, ...text.split(/(◆)/).map((part) => (part === "◆" ? element("span", { class: "mark" }, part) : part))),
      element("p", { class: "try" }, element("strong", {}, "Try: "), exercise),
      element("div", { class: "buttons" }, tour > 1 ? button("Back", tour - 1) : button("Close", 0), tour > 1 ? button("Close", 0) : null, tour < steps.length ? button("Next", tour + 1, true) : button("Finish", 0, true)),
    );
    box.scrollTop = 0;
    if (before) {
      box.focus({ preventScroll: true });
      reveal(tour);
    }
  }

  // An address that names a step, and nothing else, means all that the step shows.
  function enter() {
    const found = /^#tour=([0-9]{1,2})$/.exec(location.hash);
    if (!found) return;
    go(Number(found[1]));
    reveal(page.state.tour);
  }

  function reveal(number) {
    if (number) byId(steps[number - 1][4]).scrollIntoView({ block: "start" });
  }

  box.onkeydown = (event) => {
    if (event.key === "Escape") go(0);
  };

  return { render, enter };
}
