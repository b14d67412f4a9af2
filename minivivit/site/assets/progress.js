// A line at the foot of a notebook that says what it waits for: Python that starts, cells that run.
'use strict';

const line = document.createElement('div');
line.id = 'minivivit-progress';
line.setAttribute('role', 'status');
line.style.cssText =
    'position:fixed;left:0;right:0;bottom:0;z-index:9999;padding:.5rem 1rem;font:14px/1.4 system-ui,sans-serif;' +
    'background:#123a5e;color:#fff;transition:opacity .6s';
document.addEventListener('DOMContentLoaded', () => document.body.append(line));

const opened = performance.now();
let stage = 'The notebook is opening';
let readyAt = Infinity;
new BroadcastChannel('minivivit').onmessage = (event) => {
    if (event.data === 'ready') readyAt = performance.now();
    else stage = event.data;
};

// What the notebook does now: null where there is nothing to wait for.
const state = () => {
    const now = performance.now();
    const notebook = window.jupyterapp?.shell?.currentWidget?.content;
    const cells = [...(notebook?.widgets ?? [])].filter((cell) => cell.model.type === 'code');
    const waiting = cells.filter((cell) => cell.model.executionState === 'running').length;
    if (now < readyAt && !cells.some((cell) => cell.model.executionCount)) {
        return `${stage} ... ${Math.round((now - opened) / 1000)} s. The first time takes about half a minute.`;
    }
    if (waiting) return waiting === 1 ? 'A cell is running' : `A cell is running, ${waiting - 1} are waiting`;
    return now < readyAt + 10000 ? 'Python is ready: Shift and Enter run a cell' : null;
};

setInterval(() => {
    const text = state();
    line.style.opacity = text === null ? 0 : 1;
    line.style.pointerEvents = text === null ? 'none' : 'auto';
    if (text !== null && line.textContent !== text) line.textContent = text;
}, 500);
