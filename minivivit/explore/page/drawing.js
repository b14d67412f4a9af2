// Elements and canvases. Text from the data becomes text nodes, never markup.

export function element(kind, attributes = {}, ...children) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const byId = (id) => document.getElementById(id);

let palette = null;

export function colours() {
  if (!palette) {
    const style = getComputedStyle(document.documentElement);
    const names = ["paper", "card", "ink", "muted", "line", "chosen", "gaze", "plus", "minus"];
    palette = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }
  return palette;
}

export const forgetColours = () => {
  palette = null;
};

// A canvas of a size in CSS pixels, sharp on every screen; returns its context, cleared.
export function prepare(canvas, width, height) {
  const ratio = Math.min(window.devicePixelRatio || 1, 3);
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// A diamond: the mark of the chosen token, everywhere.
export function diamond(context, x, y, size) {
  const { chosen, card } = colours();
  context.beginPath();
  context.moveTo(x, y - size);
  context.lineTo(x + size, y);
  context.lineTo(x, y + size);
  context.lineTo(x - size, y);
  context.closePath();
  context.fillStyle = chosen;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = card;
  context.stroke();
}

// A share as a square whose area is its size; what is below zero is hollow, with a bar through it.
export function square(context, x, y, cell, share, most, maximum = 0.92) {
  if (!(Math.abs(share) > 0) || !(most > 0)) return;
  const { gaze, minus } = colours();
  const side = Math.max(1, maximum * cell * Math.sqrt(Math.min(1, Math.abs(share) / most)));
  const [left, top] = [x - side / 2, y - side / 2];
  if (share > 0) {
    context.fillStyle = context.gazeColour || gaze;
    context.globalAlpha = side > 12 ? 0.5 : 0.9;
    context.fillRect(left, top, side, side);
    context.globalAlpha = 1;
    if (side > 12) {
      context.strokeStyle = context.fillStyle;
      context.lineWidth = 2;
      context.strokeRect(left + 1, top + 1, side - 2, side - 2);
    }
  } else {
    context.lineWidth = Math.max(1, Math.min(2.5, side / 6));
    context.strokeStyle = minus;
    context.strokeRect(left + 0.5, top + 0.5, Math.max(0.5, side - 1), Math.max(0.5, side - 1));
    if (side > 6) {
      context.beginPath();
      context.moveTo(left + side * 0.25, y);
      context.lineTo(left + side * 0.75, y);
      context.stroke();
    }
  }
}

// Numbers as bars from a line in the middle: up is above 0, down below.
export function bars(canvas, values, width, height, options = {}) {
  const context = prepare(canvas, width, height);
  const { line, plus, minus, chosen, muted } = colours();
  const top = options.mark === undefined || options.mark === null ? 1 : 8;
  const foot = 1;
  const most = options.most || values.reduce((largest, number) => (Number.isFinite(number) ? Math.max(largest, Math.abs(number)) : largest), 0) || 1;
  const signed = values.some((number) => number < 0);
  const base = signed ? top + (height - top - foot) / 2 : height - foot;
  const reach = signed ? (height - top - foot) / 2 : height - top - foot;
  const step = width / values.length;
  const gap = step > 4 ? 1 : 0;
  if (options.parts) {
    const part = width / options.parts;
    if (options.part >= 0) {
      context.fillStyle = chosen;
      context.globalAlpha = 0.12;
      context.fillRect(options.part * part, 0, part, height);
      context.globalAlpha = 1;
    }
    context.fillStyle = line;
    for (let k = 1; k < options.parts; k++) context.fillRect(Math.round(k * part), 0, 1, height);
  }
  values.forEach((number, k) => {
    if (!Number.isFinite(number)) return;
    const size = Math.min(reach, (Math.abs(number) / most) * reach);
    context.fillStyle = number < 0 ? minus : plus;
    context.fillRect(k * step, number < 0 ? base : base - size, Math.max(0.6, step - gap), size);
  });
  context.fillStyle = muted;
  context.fillRect(0, Math.round(base), width, 1);
  if (options.mark !== undefined && options.mark !== null) {
    const x = (options.mark + 0.5) * step;
    context.fillStyle = chosen;
    context.fillRect(x - 0.5, top, 1, height - top);
    context.beginPath();
    context.moveTo(x - 5, 0);
    context.lineTo(x + 5, 0);
    context.lineTo(x, 7);
    context.fill();
  }
}

export const clear = (node) => {
  node.replaceChildren();
  return node;
};
