// Python in a worker: loads Pyodide and the package, then answers what the live page asks. Nothing is asked of a
// package index.
"use strict";

const say = (text) => postMessage({ kind: "says", text });
let python = null;
let live = null; // a minivivit.site.live.Live

async function start({ pyodide, packages, wheels }) {
  say("Python is loading (10 MB)");
  importScripts(`${pyodide}pyodide.js`);
  python = await self.loadPyodide({ indexURL: pyodide, packages: [] });
  say("NumPy and SciPy are loading (25 MB)");
  const problems = [];
  await python.loadPackage([...packages, ...wheels], { messageCallback: () => {}, errorCallback: (text) => problems.push(text) });
  if (problems.length) throw new Error(problems[0]);
  say("minivivit is starting");
  live = python.runPython("from minivivit.site.live import Live; Live()");
  postMessage({ kind: "ready", options: JSON.parse(python.runPython("from minivivit.site.live import options; options()")) });
}

// Files that were dropped, where Python finds them; each time in a folder of its own.
let drops = 0;
function put(files) {
  const folder = `/dropped/${++drops}`;
  python.FS.mkdirTree(folder);
  for (const { name, bytes } of files) python.FS.writeFile(`${folder}/${name}`, new Uint8Array(bytes));
  return folder;
}

function forget(folder) {
  for (const name of python.FS.readdir(folder)) if (name !== "." && name !== "..") python.FS.unlink(`${folder}/${name}`);
  python.FS.rmdir(folder);
}

let clipFolder = null;

function answer({ request, files = [] }) {
  const folder = files.length ? put(files) : null;
  const asked = { ...request };
  if (folder && asked.do === "model") asked.folder = folder;
  if (folder && asked.do === "clip") asked.file = `${folder}/${files[0].name}`;
  let text = live.answer(JSON.stringify(asked));
  if (folder && text.startsWith('{"error"')) text = text.replaceAll(`${folder}/`, "").replaceAll(folder, "what you gave");
  const taken = asked.do === "clip" && !text.startsWith('{"error"');
  if (taken && clipFolder) forget(clipFolder);
  if (taken) clipFolder = folder;
  else if (folder) forget(folder); // a model is in memory now, and what was refused is not needed
  return text;
}

onmessage = async ({ data }) => {
  try {
    if (data.kind === "start") await start(data);
    else postMessage({ kind: "answer", text: answer(data) });
  } catch (error) {
    const lines = String(error.message || error).trim().split("\n");
    postMessage({ kind: "failed", text: lines[lines.length - 1].slice(0, 600) });
  }
};
