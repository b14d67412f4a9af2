// Stands in for pyodide.js in the kernel's worker: loads the real one, then all packages at once, the site's own wheels
// among them, and says on the channel 'minivivit' how far it is. Nothing is asked of a package index.
'use strict';

// matplotlib announces, as a warning, that it looks at its fonts; in a browser it does so every time.
const QUIET = "import logging; logging.getLogger('matplotlib.font_manager').setLevel(logging.ERROR)";

self.loadPyodide = async ({ liteURL, wheels, files, packages, ...options }) => {
    const channel = new BroadcastChannel('minivivit');
    const say = (text) => channel.postMessage(text);
    try {
        say('Python is loading (10 MB)');
        importScripts(`${options.indexURL}pyodide.js`); // takes this function's place
        const pyodide = await self.loadPyodide({ ...options, packages: [] });
        say('NumPy, SciPy and matplotlib are loading (30 MB)');
        const addresses = packages.map((name) => (name in wheels ? liteURL + wheels[name] : name));
        const problems = [];
        await pyodide.loadPackage(addresses, {
            messageCallback: () => {},
            errorCallback: (text) => problems.push(text),
        });
        if (problems.length) throw new Error(problems[0]);
        for (const name of files) { // for browsers that give workers no view of the notebooks' folder
            const file = await fetch(`${liteURL}files/${name}`);
            pyodide.FS.writeFile(name, new Uint8Array(await file.arrayBuffer()));
        }
        pyodide.runPython(QUIET);
        say('ready');
        return pyodide;
    } catch (error) {
        say(`Python could not be loaded: ${error.message}`);
        throw error;
    }
};
