// Drives the pages of `minivivit explore`; tests/browser/explore.py says what for.
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";
import { excess } from "./width.mjs";

const [executablePath, list, pictures] = process.argv.slice(2);
const pages = JSON.parse(readFileSync(list, "utf8"));
const args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args });
const wrong = [];
let checks = 0;

const check = (holds, what) => {
  checks += 1;
  if (!holds) wrong.push(what);
};

// "−1.234·10⁻⁵" as a number, and half a unit of its last digit.
function read(text) {
  const found = /^(−?)([0-9.]+)(?:·10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?$/.exec(text);
  if (!found) return { value: NaN, half: 0 };
  const digits = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  const power = Number([...(found[3] || "⁰")].map((x) => (x === "⁻" ? "-" : digits.indexOf(x))).join(""));
  const decimals = (found[2].split(".")[1] || "").length;
  const sign = found[1] ? -1 : 1;
  return { value: sign * Number(`${found[2]}e${power}`), half: 0.5 * 10 ** (power - decimals) };
}

async function open(entry, options) {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.on("console", (message) => check(false, `${entry.name}: console: ${message.text()}`));
  page.on("pageerror", (error) => check(false, `${entry.name}: error: ${error.stack}`));
  page.on("request", (request) => check(/^(file|data):/.test(request.url()), `${entry.name}: asked for ${request.url()}`));
  await page.goto(`file://${entry.page}`);
  await page.waitForSelector("html[data-drawn]");
  return page;
}

// Go to each number by its address, and read it and its sum.
async function numbers(page, entry) {
  const shown = await page.evaluate((addresses) => {
    const found = [];
    for (const address of addresses) {
      history.replaceState(null, "", `#${new URLSearchParams(address)}`);
      window.onhashchange();
      const text = (name) => document.querySelector(`#why [data-shown="${name}"]`)?.textContent ?? null;
      found.push({ value: text("value"), sum: text("sum") });
    }
    return found;
  }, entry.cases.map((one) => one.address));
  entry.cases.forEach(({ address, expected, error, sum }, k) => {
    const where = `${entry.name} ${JSON.stringify(address)}`;
    for (const [name, bound] of [["value", error], ["sum", sum]]) {
      if (bound === undefined) continue;
      const { value, half } = read(shown[k][name] ?? "");
      check(Math.abs(value - expected) <= half * 1.0001 + bound, `${where}: ${name} ${shown[k][name]}, expected ${expected} within ${half + bound}`);
    }
    // where both are shown they are one number, to the digits shown and what the bits lose in a sum
    if (shown[k].sum !== null && sum === undefined) {
      const [a, b] = [read(shown[k].value), read(shown[k].sum)];
      check(Math.abs(a.value - b.value) <= 2 * (a.half + b.half) + 2e-3 * Math.abs(a.value) + 1e-9, `${where}: ${shown[k].value} is said to be the sum ${shown[k].sum}`);
    }
  });
}

// Use the page as a reader does.
async function use(page, name) {
  const state = () => page.evaluate(() => Object.fromEntries(new URLSearchParams(location.hash.slice(1))));
  const count = (selector) => page.locator(selector).count();
  await page.evaluate(() => ((location.hash = ""), window.onhashchange()));
  const closed = await page.evaluate(() => {
    const found = [];
    const nodes = document.querySelectorAll("#strip .node");
    nodes.forEach((node, stage) => {
      node.click();
      const cards = () => document.querySelectorAll("#stage .card");
      if (!cards().length && stage) found.push(`stage ${stage} opens no cards`);
      for (let card = 0; card < cards().length; card++) {
        if (cards()[card].getAttribute("aria-expanded") === "true") cards()[card].click();
        cards()[card].click();
        const why = document.getElementById("why");
        if (why.hidden || !why.offsetHeight) found.push(`card ${card} of stage ${stage} opens nothing`);
        if (why.querySelectorAll("pre .marked").length !== 1 && why.querySelector("pre")) found.push(`card ${card} of stage ${stage} marks no line`);
        if (!why.querySelector("pre") && !why.textContent.includes("CLS")) found.push(`card ${card} of stage ${stage} has no source`);
      }
    });
    return found;
  });
  check(closed.length === 0, `${name}: ${closed.slice(0, 5).join("; ")}`);
  // the chosen tubelet is followed
  await page.locator("#panels").focus();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowUp");
  const token = (await state()).token;
  check(token !== undefined, `${name}: the arrow keys choose no token`);
  const spoken = await page.locator("#panels").getAttribute("aria-label");
  const place = /Chosen: (.*?)\./.exec(spoken)[1];
  await page.locator("#strip .node").nth(1).click();
  await page.locator("#stage .card").last().click();
  check((await page.locator("#why h3").first().textContent()).includes(place), `${name}: the open part is not of ${place}`);
  check((await page.locator("#four-says").textContent()).includes(place), `${name}: the four models are not of ${place}`);
  // values and gradients
  const shown = () => page.locator('#why [data-shown="value"]').textContent();
  const value = await shown();
  await page.keyboard.press("g");
  check((await state()).what === "gradients" && (await shown()) !== value, `${name}: the switch changes nothing`);
  check((await page.locator("#why code").first().textContent()).startsWith("gradient."), `${name}: a gradient without its name`);
  await page.locator('#what [data-value="values"]').click();
  check((await shown()) === value, `${name}: back at the values they are others`);
  check((await count("#models article")) === 4, `${name}: there are not four models`);
  // layers, heads, directions
  const layer = Number((await page.locator("#layer").inputValue()));
  await page.locator("#views button").first().click();
  const says = await page.locator("#says").textContent();
  await page.locator('#direction [data-value="to"]').click();
  check((await page.locator("#says").textContent()) !== says, `${name}: the direction changes nothing`);
  await page.locator("#matrix .cell[aria-pressed]").first().click();
  check((await page.locator("#layer").inputValue()) === "0", `${name}: the first map is not of layer 0 but of ${layer}`);
  // what is counted is counted from 0, as the trace names it
  const counted = await page.evaluate(() => {
    const found = [];
    for (const node of document.querySelectorAll("#strip .node")) {
      const said = /layer ([0-9]+)/i.exec(node.textContent);
      if (!said) continue;
      node.click();
      const named = /[.]layer[.]([0-9]+)[.]/.exec(document.querySelector("#stage .card").dataset.part);
      if (named[1] !== said[1]) found.push(`${named[0]} is called ${said[0]}`);
    }
    const texts = (selector) => [...document.querySelectorAll(selector)].map((one) => one.textContent);
    const smallest = { head: texts("#matrix .col").find((text) => /[0-9]/.test(text)), time: texts("#panels figcaption")[0], model: texts("#models figcaption")[0] };
    for (const [name, text] of Object.entries(smallest)) if (!/ 0($|[^0-9])/.test(text)) found.push(`the first ${name} is called ${text}`);
    document.querySelector('#stage [data-part$=".query"]').click();
    const first = document.querySelector("#why .number .of").textContent;
    if (!first.includes("head 0, its feature 0")) found.push(`the first number of a query is called ${first}`);
    return found;
  });
  check(counted.length === 0, `${name}: ${counted.join("; ")}`);
  // the tour, to its end
  await page.locator("#tour-start").click();
  const titles = new Set();
  for (let step = 1; step <= 12; step++) {
    check((await page.locator("#tour .eyebrow").textContent()) === `Step ${step} of 12`, `${name}: step ${step} of the tour is another`);
    check((await page.locator("#tour .try").textContent()).length > 20, `${name}: step ${step} has nothing to try`);
    titles.add(await page.locator("#tour h2").textContent());
    await page.locator("#tour .primary").click();
  }
  check(titles.size === 12, `${name}: steps of the tour are alike`);
  check(!(await page.locator("#tour").isVisible()), `${name}: the tour does not end`);
  // an address restores what it was taken from, and one that lies does no harm
  await page.evaluate(() => ((location.hash = "#tour=7"), window.onhashchange()));
  const address = await page.evaluate(() => location.hash);
  const whole = () => page.evaluate(() => ["stage", "why", "says", "models", "look-title"].map((id) => document.getElementById(id).innerText).join("|"));
  const picture = await whole();
  await page.evaluate(() => ((location.hash = "#layer=1&token=1"), window.onhashchange()));
  check((await whole()) !== picture, `${name}: another address shows the same`);
  await page.evaluate((hash) => ((location.hash = hash), window.onhashchange()), address);
  check((await whole()) === picture, `${name}: the address ${address} does not restore the page`);
  await page.evaluate(() => ((location.hash = "#layer=999&head=-1&token=<b>&part=__proto__&number=1e9&what=x&stage=77&nonsense"), window.onhashchange()));
  check((await count("#strip .node[aria-selected=true]")) === 1, `${name}: a lying address breaks the page`);
}

// Names without markup, nothing wider than the window, everything with a name for who cannot see it.
async function look(page, name) {
  for (const width of [390, 1280, 1920]) {
    await page.setViewportSize({ width, height: 900 });
    const wider = await excess(page, width);
    check(wider <= 0, `${name}: ${wider} pixels too wide at ${width}`);
  }
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll("button, input, [role=img], [tabindex='0']")]
      .filter((node) => !(node.getAttribute("aria-label") || node.textContent.trim() || node.closest("label")))
      .map((node) => node.outerHTML.slice(0, 100)),
  );
  check(nameless.length === 0, `${name}: without a name: ${nameless}`);
}

// The states that are worth looking at, in three widths, light and dark; and the two pictures of the README.
async function picture(entry) {
  const part = "vivit.encoder.layer.2.attention.attention.scores";
  const states = { start: "", gradients: "#what=gradients", pixels: "#what=gradients&look=rollout", covering: "#look=cover", number: `#part=${part}&number=27`, backward: `#part=${part}&number=27&what=gradients`, answer: "#tour=10", models: "#tour=12" };
  for (const [scheme, width] of [["light", 390], ["light", 1280], ["dark", 1280], ["light", 1920]])
    for (const [name, hash] of Object.entries(states)) {
      const page = await open({ ...entry, page: `${entry.page}${hash}` }, { viewport: { width, height: 900 }, colorScheme: scheme });
      await page.screenshot({ path: `${pictures}/${name}_${width}_${scheme}.png`, fullPage: !hash.includes("tour") });
      await page.context().close();
    }
  for (const [name, hash, where, width, colorScheme] of [["attention", "", "#look", 1920, "light"], ["number", states.number, "#why", 1280, "dark"]]) {
    const page = await open({ ...entry, page: `${entry.page}${hash}` }, { viewport: { width, height: 1000 }, colorScheme });
    await page.locator(where).screenshot({ path: `${pictures}/explore_${name}.png` });
    await page.context().close();
  }
}

if (pictures) await picture(pages[0]);
for (const entry of pages) {
  const page = await open(entry, { viewport: { width: 1280, height: 900 } });
  const first = await page.evaluate(() => document.documentElement.dataset.drawn);
  await numbers(page, entry);
  await use(page, entry.name);
  await look(page, entry.name);
  const frames = await page.evaluate(() => {
    const start = performance.now();
    const layers = Number(document.getElementById("layer").max) + 1;
    for (let k = 0; k < 60; k++) {
      const slider = document.getElementById("layer");
      slider.value = k % layers;
      slider.oninput({ target: slider });
      slider.getBoundingClientRect();
    }
    return 60000 / (performance.now() - start);
  });
  console.log(`${entry.name}: first picture after ${first} ms; ${frames.toFixed(0)} pictures a second while layers are scrubbed; ${entry.cases.length} numbers`);
  await page.context().close();
}
await browser.close();
for (const line of wrong.slice(0, 40)) console.log(line);
console.log(`${checks} checks, ${wrong.length} of them failed`);
process.exit(wrong.length ? 1 : 0);
