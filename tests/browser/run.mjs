// node run.mjs PYODIDE WHEELS TREE.zip SCRIPT.py ARGUMENTS...: runs a Python file in Pyodide, without a network.
// PYODIDE is a folder with Pyodide and its packages, WHEELS one with pure wheels; the tree is unpacked into /tree, where
// the script runs. The exit code is the script's.
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [pyodideFolder, wheels, tree, script, ...rest] = process.argv.slice(2).map((word, at) => (at < 4 ? path.resolve(word) : word));
const { loadPyodide } = await import(pathToFileURL(path.join(pyodideFolder, 'pyodide.mjs')));
const pyodide = await loadPyodide({ indexURL: pyodideFolder + path.sep, args: [script, ...rest] });
await pyodide.loadPackage(['numpy', 'scipy', 'pillow', 'matplotlib', 'threadpoolctl', 'packaging'], { messageCallback: () => {} });
const sitePackages = pyodide.runPython('import site; site.getsitepackages()[0]');
const unpack = (file, folder) =>
    pyodide.unpackArchive(new Uint8Array(fs.readFileSync(file)), 'zip', { extractDir: folder });
for (const name of fs.readdirSync(wheels).filter((name) => name.endsWith('-py3-none-any.whl'))) {
    unpack(path.join(wheels, name), sitePackages); // not installed by micropip, which would ask a network
}
pyodide.FS.mkdirTree('/tree');
unpack(tree, '/tree');
pyodide.FS.chdir('/tree');
let code = 1;
try {
    code = await pyodide.runPythonAsync(fs.readFileSync(script, 'utf8'));
} catch (error) {
    console.error(error.message);
}
process.exit(code);
