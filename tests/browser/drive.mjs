// node drive.mjs PLAYWRIGHT SITE JOBS.json FOLDER: drives Chromium over the site, and prints one line of JSON for each job.
// A job is {"kind": "picture", page, width}; {"kind": "run", notebook, answers: {task: code}}, where an answer replaces the
// cell of the task before all cells run; {"kind": "code", notebook, code}, which runs code in place of the first cell; or
// {"kind": "live", ...}, the live page (live.mjs).
// FOLDER takes pictures, and notebooks as a reader would download them.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { live } from './live.mjs';
import { excess } from './width.mjs';

const [playwright, site, jobs, folder] = process.argv.slice(2);
const { chromium } = await import(pathToFileURL(path.join(playwright, 'index.mjs')));
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'];
const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'chromium-'));
const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS, acceptDownloads: true,
});
const asked = new Set();
const outside = new Set();
context.on('request', (request) => {
    const address = request.url();
    asked.add(address);
    if (!address.startsWith(site) && !/^(data|blob|about):/.test(address)) outside.add(address);
});

const opened = async (address, first = () => {}) => {
    const page = await context.newPage();
    await page.addInitScript(first);
    const errors = [];
    page.on('console', (message) => {
        if (message.type() === 'error') errors.push(`${message.text()} (${message.location().url})`);
    });
    page.on('pageerror', (error) => errors.push(String(error)));
    page.on('response', (response) => {
        if (response.status() >= 400) errors.push(`${response.status()} ${response.url()}`);
    });
    await page.goto(site + address, { waitUntil: 'load', timeout: 120000 });
    return [page, errors];
};

const picture = async ({ page: address, width, name }) => {
    const [page, errors] = await opened(address);
    await page.setViewportSize({ width, height: width < 500 ? 844 : 900 });
    await page.evaluate(() => document.querySelectorAll('img').forEach((image) => (image.loading = 'eager')));
    await page.waitForTimeout(4500); // the clip has been seen to its end
    await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
    const wider = await excess(page, width);
    if (wider > 0) errors.push(`the page is ${wider} pixels wider than the window`);
    await page.close();
    return { errors };
};

// In the page: the notebook's cells of code, with what went wrong in them.
const look = () => {
    const widget = window.jupyterapp.shell.currentWidget;
    const cells = [...widget.context.model.cells].filter((cell) => cell.type === 'code');
    const outputs = cells.map((cell) => cell.outputs.toJSON());
    const failed = (output) => output.output_type === 'error' || output.name === 'stderr';
    const words = (output) => `${output.ename ?? output.name}: ${output.evalue ?? output.text}`.slice(0, 600);
    return {
        cells: cells.length,
        ran: cells.filter((cell) => cell.executionCount).length,
        first: outputs.some((list) => list.length > 0),
        failures: outputs.flatMap((list, k) => list.filter(failed).map((output) => `cell ${k + 1}: ${words(output)}`)),
        done: window.runDone ?? false,
        line: document.getElementById('minivivit-progress')?.textContent ?? '',
    };
};

const openedNotebook = async (notebook) => {
    const [page, errors] = await opened(`run/notebooks/index.html?path=${encodeURIComponent(notebook)}`);
    await page.setViewportSize({ width: 1280, height: 1400 });
    await page.waitForFunction(() => window.jupyterapp?.shell?.currentWidget?.sessionContext, null, { timeout: 120000 });
    await page.evaluate(async () => {
        const widget = window.jupyterapp.shell.currentWidget;
        await widget.context.ready;
        await widget.sessionContext.ready;
    });
    return [page, errors];
};

// End the kernel and close the page; the errors until then. 100 ms after a kernel has ended, JupyterLite shuts its session
// once more, finds none, and says so: on a slow machine before the page is gone. No reader comes that far.
const closed = async (page, errors) => {
    const before = [...errors];
    await page.evaluate(() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown());
    await page.close();
    return before;
};

const code = async ({ notebook, code: text, seconds: limit }) => {
    const [page, errors] = await openedNotebook(notebook);
    page.setDefaultTimeout(limit * 1000);
    await page.evaluate(async (given) => {
        const widget = window.jupyterapp.shell.currentWidget;
        const at = [...widget.context.model.cells].findIndex((cell) => cell.type === 'code');
        widget.context.model.cells.get(at).sharedModel.setSource(given);
        widget.content.activeCellIndex = at;
        await window.jupyterapp.commands.execute('notebook:run-cell');
    }, text);
    const output = await page.evaluate(() => {
        const cells = [...window.jupyterapp.shell.currentWidget.context.model.cells];
        return cells.find((cell) => cell.type === 'code').outputs.toJSON().map((o) => o.text ?? o.evalue ?? '').join('');
    });
    return { errors: await closed(page, errors), text: output };
};

const run = async ({ notebook, answers = {}, seconds: limit }) => {
    const began = Date.now();
    const seconds = () => (Date.now() - began) / 1000;
    const [page, errors] = await openedNotebook(notebook);
    await page.evaluate((given) => {
        const widget = window.jupyterapp.shell.currentWidget;
        for (const [task, code] of Object.entries(given)) {
            const cells = [...widget.context.model.cells];
            const cell = cells.find(
                ({ sharedModel: { source } }) => source.includes(`def ${task}(`) && source.includes('YOUR CODE HERE'),
            );
            if (!cell) throw new Error(`no cell for the answer ${task}`);
            cell.sharedModel.setSource(code);
        }
        window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => (window.runDone = true));
    }, answers);
    const lines = {}; // what the progress line said, and when it began to
    let first = null;
    let state = await page.evaluate(look);
    while (!state.done && !state.failures.length && seconds() < limit) {
        await page.waitForTimeout(250);
        state = await page.evaluate(look);
        const line = state.line.split(' ...')[0];
        if (!(line in lines)) lines[line] = Math.round(seconds());
        if (state.first && first === null) first = seconds();
    }
    const total = seconds();
    await page.waitForTimeout(500); // for the last outputs
    state = await page.evaluate(look);
    if (Object.keys(answers).length) await take(page, notebook);
    await page.screenshot({ path: path.join(folder, `${path.basename(notebook, '.ipynb')}.png`) });
    return { ...state, errors: await closed(page, errors), first: first ?? total, total, lines };
};

// Save and download, as the menu does.
const take = async (page, notebook) => {
    await page.evaluate(() => window.jupyterapp.commands.execute('docmanager:save'));
    const waiting = page.waitForEvent('download', { timeout: 30000 });
    await page.evaluate(() => window.jupyterapp.commands.execute('docmanager:download'));
    await (await waiting).saveAs(path.join(folder, path.basename(notebook)));
};

for (const job of JSON.parse(fs.readFileSync(jobs, 'utf8'))) {
    let result;
    try {
        result = await { run, code, picture, live: (given) => live(given, opened, folder) }[job.kind](job);
    } catch (error) {
        result = { errors: [`the test itself: ${error.message}`] };
    }
    console.log(JSON.stringify({ ...job, ...result, answers: undefined, code: undefined, outside: [...outside] }));
    outside.clear();
}
if (process.env.ASKED) fs.writeFileSync(process.env.ASKED, [...asked].join('\n'));
await context.close();
fs.rmSync(profile, { recursive: true, force: true });
