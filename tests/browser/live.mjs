// The live page, driven for drive.mjs: what a reader does on it, and what it then says.
import fs from 'node:fs';
import path from 'node:path';

import { excess } from './width.mjs';

const SECONDS = 240; // until the first answer
const CHANGE = 60; // until another

const answers = () => Number(document.documentElement.dataset.answers ?? 0);

// Before the page's own scripts: keep what Python answers, as the page is told it.
const listen = () => {
    window.Worker = class extends Worker {
        constructor(...given) {
            super(...given);
            this.addEventListener('message', ({ data }) => {
                const reply = data.kind === 'answer' ? JSON.parse(data.text) : {};
                if (reply.data) window.shownData = reply.data;
            });
        }
    };
};

// In the page: the logits of what is shown, in all their digits.
const logits = () => {
    const bytes = Uint8Array.from(atob(window.shownData.tensors.classifier.data), (letter) => letter.charCodeAt(0));
    return [...new Float32Array(bytes.buffer)];
};

// In the page: what it shows.
const look = () => {
    const words = (id) => document.getElementById(id).textContent;
    const pressed = (button) => button.getAttribute('aria-pressed') === 'true';
    return {
        says: words('live-says'), error: document.getElementById('live-error').hidden ? '' : words('live-error'), step: words('step-says'),
        loss: words('loss-says'), off: [...document.querySelectorAll('#parts button')].filter((one) => !pressed(one)).map((one) => one.dataset.part),
        classes: [...document.querySelectorAll('#classes li .name')].map((one) => one.textContent), drawn: document.getElementById('glyph').value,
    };
};

// opened is drive.mjs's: a page of the site, and the errors in it. Returns a record of each deed, with its seconds.
export const live = async ({ widths, model, clip }, opened, folder) => {
    const [page, errors] = await opened('live/index.html', listen);
    const began = Date.now();
    const deeds = [];
    const after = async (name, act) => {
        const count = await page.evaluate(answers);
        await page.evaluate(() => (document.getElementById('live-error').hidden = true)); // that of an earlier deed
        const since = Date.now();
        await act();
        const done = (k) => Number(document.documentElement.dataset.answers ?? 0) > k || !document.getElementById('live-error').hidden;
        await page.waitForFunction(done, count, { timeout: CHANGE * 1000 });
        const seconds = (Date.now() - since) / 1000;
        deeds.push({ name, seconds, ...(await page.evaluate(look)), logits: await page.evaluate(logits) });
    };
    const click = (selector) => () => page.click(selector);

    await page.setViewportSize({ width: 1280, height: 900 });
    await page.waitForFunction(() => document.documentElement.dataset.answers || !document.getElementById('live-error').hidden, null, { timeout: SECONDS * 1000 });
    deeds.push({ name: 'first', seconds: (Date.now() - began) / 1000, ...(await page.evaluate(look)), logits: await page.evaluate(logits) });
    await after('reversed', click('#order [data-value=reversed]'));
    await after('forward', click('#order [data-value=forward]'));
    await page.click('#cover');
    for (const place of [5, 6, 9, 10]) {
        for (const time of [0, 1]) { // the middle of the clip, where the shape is
            const at = page.locator('.panel canvas').nth(time);
            const { width, height } = await at.boundingBox();
            const position = { x: ((place % 4) + 0.4) * (width / 4.2), y: height - (3.5 - Math.floor(place / 4)) * (height / 4.2) };
            await after('covered', () => at.click({ position }));
        }
    }
    await page.click('#cover');
    await after('uncovered', click('#uncover'));
    await after('head off', async () => {
        await page.focus('[data-part="head 3 2"]');
        await page.keyboard.press('Enter');
    });
    await after('MLP off', click('[data-part="mlp 2"]'));
    await after('positions off', click('#positions'));
    await after('all on', click('#all-on'));
    await after('other answer', () => page.selectOption('#label', '5'));
    await after('step', click('#step'));
    await after('step', click('#step'));
    await after('forgotten', click('#reset'));
    await after('drawn', async () => { // by keys: a line to the right, then up
        await page.focus('#pad');
        for (const key of ['ArrowLeft', 'ArrowLeft', 'ArrowLeft', ' ', ...Array(6).fill('ArrowRight'), ...Array(3).fill('ArrowUp'), ' ']) await page.keyboard.press(key);
    });
    await after('no clip', () => page.setInputFiles('#files', { name: 'x.gif', mimeType: 'image/gif', buffer: Buffer.from('GIF89a, it says') }));
    await after('own clip', () => page.setInputFiles('#files', clip));
    await after('no model', () => page.setInputFiles('#files', [{ name: 'config.json', mimeType: 'application/json', buffer: fs.readFileSync(model[0]) }, { name: 'model.safetensors', mimeType: 'application/octet-stream', buffer: Buffer.alloc(64, 255) }]));
    await after('own model', () => page.setInputFiles('#files', model));
    await after('bundled model', click('#own-model'));
    await page.waitForTimeout(2000); // what is seen of covering has followed
    for (const colorScheme of ['light', 'dark'])
        for (const width of widths) {
            await page.emulateMedia({ colorScheme });
            await page.setViewportSize({ width, height: width < 500 ? 844 : 900 });
            await page.evaluate(() => window.scrollTo(0, 0));
            await page.waitForTimeout(500);
            const wider = await excess(page, width);
            if (wider > 0) errors.push(`the page is ${wider} pixels wider than a window of ${width}`);
            await page.screenshot({ path: path.join(folder, `live-${width}-${colorScheme}.png`), fullPage: true });
        }
    const nameless = await page.evaluate(() => [...document.querySelectorAll('#live :is(button, select, input, canvas)')]
        .filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim() || one.labels?.length)).map((one) => one.id));
    for (const id of nameless) errors.push(`#${id} has no name`);
    await page.close();
    return { errors, deeds };
};
