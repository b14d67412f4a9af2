// What the page shows, as one small object that the address keeps: #layer=2&head=1&token=17

const DEFAULTS = {
  token: "cls", // a tubelet counted from 1, or "cls"
  layer: 1, // an attention, counted from 1
  head: 0, // counted from 1; 0 is the mean of all
  look: "head", // "head", "rollout" or "cover"
  direction: "from", // "from": what the token reads; "to": who reads it
  what: "values", // or "gradients"
  stage: 0, // place in the way of the data
  part: "", // the output of a step that is open
  number: 1, // the feature, or the token for attention, counted from 1
  tour: 0, // a step of the tour; 0 is none
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
