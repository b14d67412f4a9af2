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
  const who = net.cls ? "The CLS token is where the answer is read" : "The answer is read from all tokens together";
  return [
    ["A clip is numbers", `You see a short clip. The network sees ${net.data.frames.count} frames of numbers, and is to say what moves how. Its answer stands on the left: “${label}”.`, "Stop the clip and go through it frame by frame. Could you tell the answer from one frame alone?", { stage: 0, part: "", look: "head", what: "values", token, layer: 0, head: "mean", direction: "from" }, "look"],
    ["Boxes in space and time", `The clip is cut into ${net.times * net.places} boxes, each ${net.model.tubelet[0]} frames deep: tubelets. A tubelet holds a small piece of movement. The green ◆ marks one; you will find it again in every picture below.`, "Click another tubelet on the frames, one where the shape moves, then one of the plain ground.", { stage: 0, part: "", token, look: "head", what: "values" }, "look"],
    ["A token is a row of numbers", `Each tubelet becomes a token: ${net.model.hidden} numbers. Every one of them is a sum of its pixels, each times a learned weight. Below, one such number is written out, the largest products first.`, "Choose another bar. Then click on a product: it leads to the pixel.", { stage: find("tubelets"), part: "vivit.embeddings.patch_embeddings", number: 0, token, what: "values" }, "why"],
    ["Where and when", "What comes next treats tokens as a heap without order. So each token is told its place: a learned vector for its row, column and time is added to it.", "Compare the two parts of the sum for a few numbers. Which is larger, the content or the place?", { stage: place, part: net.stages[place].steps[0].out, number: 0, token, what: "values" }, "why"],
    ["The stream, and what is added", "A layer never replaces a token. It reads it, works something out, and adds that to it. The token’s row of numbers runs through all layers as a stream, and the two “Residual sum” cards are where something is added.", "Open both Residual sum cards. Which of the two writes more into number 0?", { stage: layer, part: inLayer("attention residual"), number: 0, token, what: "values" }, "stage"],
    ["Query, key and value", "To read from others a token makes a query: what it looks for. Every token makes a key, what it offers, and a value, what it passes on. Each is a matrix times the token; the matrices are learned.", "Open Query, then Key: the same sum, with other weights.", { stage: layer, part: inLayer("query"), number: 0, token, what: "values" }, "why"],
    ["Scores become shares", "Query times key gives a score for each pair of tokens: large where they fit. Softmax turns one token’s scores into shares that sum to 1. What the token reads is the average of all values, weighted by these shares.", "In Softmax, choose the highest bar. Which token is it? Look for it on the frames above.", { stage: layer, part: inLayer("probs"), number: 0, token, head: net.data.kept.heads[0], layer: 0, look: "head", what: "values" }, "why"],
    ["Attention, where it belongs", `The same shares, drawn over the frames: the larger the square, the more is read from there. ${net.model.heads} heads do this side by side, each with its own idea of what fits. ${who}.`, "Go through the table of layers and heads. Which look at the shape, which at the other time?", { token: reader, layer: later, head: net.data.kept.heads[0], look: "head", direction: "from", what: "values" }, "look"],
    ["The MLP: each token by itself", "After reading, each token is worked on alone: widened to more features, each bent by a curve that lets positive numbers pass and holds negative ones back, and narrowed again. Here is most of what a layer has learned by heart.", "Open the Activation card. Find a number that came in negative: what is left of it?", { stage: layer, part: inLayer("activation"), number: 0, token, what: "values" }, "why"],
    ["From one row to an answer", `After the last layer one row is left to read. Each class has a row of weights; its product with what is read is the logit, and softmax makes probabilities. The bars below the maps of the heads show what each head has put into the logit of “${label}”.`, "Open Logits and compare two classes. Which head has written most for the answer, which against it?", { stage: find("head"), part: "classifier", number: net.data.label, what: "values" }, "why"],
    ["Backwards: gradients", "The loss says how wrong the answer is. The gradient of a number says how the loss would change if that number grew a little: training moves each weight against its gradient. It is worked out from the loss back to the pixels, step by step, by the lines of code beside it.", "Switch between Values and Gradients. Follow one number’s gradient back: what is it the sum of?", { stage: layer, part: inLayer("query"), number: 0, token, what: "gradients" }, "why"],
    ["Who may read whom", "When every token reads every token, the work grows with the square of their number. The paper’s other models let a token see less in each layer, and still everything in the end. And where has this clip’s answer come from? Rollout, above, follows attention back through all layers; Covering asks what is missed.", "Choose tubelets and watch the four models. Then compare Rollout with Covering: what is read most is not always what is missed most.", { look: net.data.rollout ? "rollout" : "head", what: "values", token }, "four"],
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
      element("p", {}, text),
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
