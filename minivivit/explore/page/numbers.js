// Numbers: unpacking them, the functions of the network, and how they are written.

function bytesOf(text) {
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let k = 0; k < letters.length; k++) bytes[k] = letters.charCodeAt(k);
  return bytes;
}

const halfToNumber = (bits) => {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits & 0x8000 ? -1 : 1;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
};

// The inverse of minivivit.explore.packing.pack.
export function unpack(packed) {
  const bytes = bytesOf(packed.data);
  if (packed.kind === "float32") return new Float32Array(bytes.buffer);
  if (packed.kind === "float24") {
    const bits = new Uint8Array((bytes.length / 3) * 4);
    for (let from = 0, to = 1; from < bytes.length; from += 3, to += 4) {
      bits[to] = bytes[from];
      bits[to + 1] = bytes[from + 1];
      bits[to + 2] = bytes[from + 2];
    }
    return new Float32Array(bits.buffer);
  }
  return Float32Array.from(new Uint16Array(bytes.buffer), (half) => halfToNumber(half) * packed.scale);
}

export function softmax(scores) {
  const largest = Math.max(...scores);
  const powers = Array.from(scores, (score) => Math.exp(score - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

export const dot = (a, b) => {
  let sum = 0;
  for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
  return sum;
};

export const meanOf = (values) => values.reduce((a, b) => a + b, 0) / values.length;

export function normOf(row, eps) {
  const mean = meanOf(row);
  const variance = meanOf(row.map((x) => (x - mean) ** 2));
  return { mean, std: Math.sqrt(variance + eps) };
}

// erf to 1e-15: its series near 0, and the continued fraction of erfc further out.
export function erf(x) {
  const a = Math.abs(x);
  if (a < 2.5) {
    let term = a;
    let sum = a;
    for (let n = 1; n < 80; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = a;
  for (let n = 60; n > 0; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (fraction * Math.sqrt(Math.PI)));
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const geluTanh = (c) => [
  (x) => (x / 2) * (1 + Math.tanh(c * (x + 0.044715 * x ** 3))),
  (x) => {
    const t = Math.tanh(c * (x + 0.044715 * x ** 3));
    return 0.5 * (1 + t + x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x));
  },
];
const swish = (b) => [(x) => x * sigmoid(b * x), (x) => sigmoid(b * x) * (1 + b * x * (1 - sigmoid(b * x)))];

// name: [the function, its derivative], as minivivit.ops.activation has them.
export const ACTIVATIONS = {
  gelu: [
    (x) => (x / 2) * (1 + erf(x / Math.SQRT2)),
    (x) => 0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI),
  ],
  gelu_fast: geluTanh(0.7978845608),
  gelu_new: geluTanh(Math.sqrt(2 / Math.PI)),
  gelu_pytorch_tanh: geluTanh(Math.sqrt(2 / Math.PI)),
  quick_gelu: swish(1.702),
  relu: [(x) => Math.max(0, x), (x) => (x > 0 ? 1 : 0)],
  silu: swish(1),
  tanh: [Math.tanh, (x) => 1 - Math.tanh(x) ** 2],
};

// Four significant digits, with a true minus sign; powers of ten where it would be long.
export function written(number) {
  if (number === null || number === undefined) return "–";
  if (Number.isNaN(number)) return "NaN";
  if (!Number.isFinite(number)) return number > 0 ? "∞" : "−∞";
  const size = Math.abs(number);
  let text = "0";
  if (size >= 1e5 || (size > 0 && size < 1e-3)) {
    const [digits, power] = size.toExponential(3).split("e");
    text = `${digits}·10${superscript(Number(power))}`;
  } else if (size > 0) {
    text = size.toPrecision(4);
  }
  return number < 0 ? `−${text}` : text;
}

const superscript = (power) =>
  String(power).replace(/[-0-9]/g, (letter) => (letter === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[letter]));

export const percent = (share) => {
  const value = 100 * share;
  if (value >= 99.95) return value >= 99.995 ? "100\u00a0%" : `${value.toFixed(2)}\u00a0%`;
  return value >= 10 || value === 0 ? `${value.toFixed(0)}\u00a0%` : `${value.toFixed(value < 0.1 ? 2 : 1)}\u00a0%`;
};

// 367 thousand, 24.1 million ...
export function counted(number) {
  const units = [[1e12, " trillion"], [1e9, " billion"], [1e6, " million"], [1e3, " thousand"]];
  for (const [size, name] of units) if (number >= size) return `${(number / size).toPrecision(3)}${name}`;
  return String(number);
}
