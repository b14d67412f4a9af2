// What the page shows, as one small object that the address keeps: #layer=2&head=1&token=17
//
// Everything is counted from 0, as in the names of the trace, the notebooks and NumPy.

const DEFAULTS = {
  token: "cls", // a tubelet, or "cls"
  layer: 0, // an attention, in the order of execution
  head: "mean", // of all, or one of them
  look: "head", // "head", "rollout" or "cover"
  direction: "from", // "from": what the token reads; "to": who reads it
  what: "values", // or "gradients"
  stage: 0, // place in the way of the data
  part: "", // the output of a step that is open
  number: 0, // the feature, or the token for attention
  tour: 0, // a step of the tour, from 1; 0 is none
};

// limits says what each entry may be; link completes changes by what follows from them.
export function openState(limits, initial, link) {
  const state = { ...DEFAULTS, ...initial };
  const defaults = { ...state };
  const listeners = [];

  // Only what is known is taken, and only values that can be: an address may come from anywhere.
  function accept(given) {
    const changes = link(given, state);
    for (const [name, value] of Object.entries(changes)) {
      if (!(name in DEFAULTS)) continue;
      const allowed = limits[name];
      if (Array.isArray(allowed)) {
        const found = allowed.find((option) => String(option) === String(value));
        if (found !== undefined) state[name] = found;
      } else if (/^[0-9]{1,6}$/.test(String(value))) {
        state[name] = Math.max(allowed.least, Math.min(Number(value), allowed.most));
      }
    }
  }

  const address = () => {
    const parts = Object.keys(DEFAULTS).filter((name) => state[name] !== defaults[name]);
    return parts.length ? `#${parts.map((name) => `${name}=${encodeURIComponent(state[name])}`).join("&")}` : "#";
  };

  function tell(before, soon) {
    for (const listener of listeners) listener(state, before, soon);
  }

  // soon: what is not looked at while a slider is drawn may follow a little later.
  function change(changes, soon = false) {
    const before = { ...state };
    accept(changes);
    if (Object.keys(state).every((name) => state[name] === before[name])) return;
    history.replaceState(null, "", address());
    tell(before, soon);
  }

  // Everything anew, from the address, or as it was before.
  function restore(before = null) {
    Object.assign(state, defaults);
    accept(before || Object.fromEntries(new URLSearchParams(location.hash.slice(1))));
    if (before) history.replaceState(null, "", address());
    tell(null);
  }

  return { state, change, restore, address, listen: (listener) => listeners.push(listener) };
}
