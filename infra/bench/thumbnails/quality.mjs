// How far a thumbnail is from what it should be: the whole picture decoded, Lanczos3 in floating point, cut as sharp cuts.
import { execFileSync } from "node:child_process";
import { readFileSync, unlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import sharp from "sharp";

// Files are written over: what was once read must not be remembered.
sharp.cache(false);

// Premultiplied, so that what cannot be seen does not count.
const pixels = async (input) => {
  const image = sharp(input, { autoOrient: true, limitInputPixels: false }).toColourspace("srgb");
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  if (channels === 3) return { data, width, height, channels };
  const colours = new Float32Array(width * height * 4);
  for (let at = 0; at < width * height; at += 1) {
    const gray = channels < 3;
    const alpha = channels % 2 === 0 ? data[at * channels + channels - 1] : 255;
    for (let c = 0; c < 3; c += 1) colours[at * 4 + c] = (data[at * channels + (gray ? 0 : c)] * alpha) / 255;
    colours[at * 4 + 3] = alpha;
  }
  return { data: colours, width, height, channels: 4 };
};

const lanczos = (x) => {
  if (x === 0) return 1;
  if (Math.abs(x) >= 3) return 0;
  const p = Math.PI * x;
  return (3 * Math.sin(p) * Math.sin(p / 3)) / (p * p);
};

// Weights of each new column or row.
const weights = (from, to) => {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  return Array.from({ length: to }, (_, place) => {
    const middle = (place + 0.5) * scale;
    const first = Math.max(0, Math.floor(middle - 3 * stretch));
    const last = Math.min(from - 1, Math.ceil(middle + 3 * stretch));
    const raw = [];
    for (let at = first; at <= last; at += 1) raw.push(lanczos((at + 0.5 - middle) / stretch));
    const sum = raw.reduce((a, b) => a + b, 0);
    return { first, raw: raw.map((weight) => weight / sum) };
  });
};

const resized = ({ data, width, height, channels }, to) => {
  const across = new Float32Array(to.width * height * channels);
  const columns = weights(width, to.width);
  for (let y = 0; y < height; y += 1)
    for (let x = 0; x < to.width; x += 1) {
      const { first, raw } = columns[x];
      for (let c = 0; c < channels; c += 1) {
        let sum = 0;
        let at = (y * width + first) * channels + c;
        for (let tap = 0; tap < raw.length; tap += 1, at += channels) sum += raw[tap] * data[at];
        across[(y * to.width + x) * channels + c] = sum;
      }
    }
  const down = new Float32Array(to.width * to.height * channels);
  const rows = weights(height, to.height);
  const step = to.width * channels;
  for (let y = 0; y < to.height; y += 1)
    for (let at = 0; at < step; at += 1) {
      const { first, raw } = rows[y];
      let sum = 0;
      for (let tap = 0; tap < raw.length; tap += 1) sum += raw[tap] * across[(first + tap) * step + at];
      down[y * step + at] = Math.min(255, Math.max(0, sum));
    }
  return { data: down, width: to.width, height: to.height, channels };
};

// The same by another judge of colours than sharp, where there is a profile: see colours.py.
const judged = (input, python) => {
  const file = `${input}.rgb`;
  const size = execFileSync(python, [fileURLToPath(new URL("colours.py", import.meta.url)), input, file], { encoding: "utf8" });
  const [width, height] = size.trim().split(" ").map(Number);
  const data = readFileSync(file);
  unlinkSync(file);
  return { data, width, height, channels: 3 };
};

// The picture as `cover` has it in a box, in sharp's colours or in those of `python`.
export const reference = async (input, width, height, python) => {
  const { icc } = await sharp(input).metadata();
  const whole = python && icc ? judged(input, python) : await pixels(input);
  const shrink = Math.max(1, Math.min(whole.width / width, whole.height / height));
  const size = { width: Math.round(whole.width / shrink), height: Math.round(whole.height / shrink) };
  const scaled = resized(whole, size);
  const kept = { width: Math.min(width, size.width), height: Math.min(height, size.height) };
  const [left, top] = [Math.floor((size.width - kept.width + 1) / 2), Math.floor((size.height - kept.height + 1) / 2)];
  const { channels } = scaled;
  const data = new Float32Array(kept.width * kept.height * channels);
  for (let y = 0; y < kept.height; y += 1) {
    const from = ((y + top) * size.width + left) * channels;
    data.set(scaled.data.subarray(from, from + kept.width * channels), y * kept.width * channels);
  }
  return { data, ...kept, channels };
};

const luma = ({ data, channels }, at) =>
  0.299 * data[at * channels] + 0.587 * data[at * channels + 1] + 0.114 * data[at * channels + 2];

// PSNR over all channels, SSIM of luma in windows of 8 x 8, four pixels apart.
export const compared = async (thumbnail, wanted) => {
  let found = await pixels(thumbnail);
  if (found.width !== wanted.width || found.height !== wanted.height) throw new Error("another size");
  const { width, height } = wanted;
  const channels = Math.min(found.channels, wanted.channels);
  let squares = 0;
  for (let at = 0; at < width * height; at += 1)
    for (let c = 0; c < channels; c += 1)
      squares += (found.data[at * found.channels + c] - wanted.data[at * wanted.channels + c]) ** 2;
  const psnr = 10 * Math.log10((255 * 255) / (squares / (width * height * channels)));
  let [sum, windows] = [0, 0];
  for (let y = 0; y + 8 <= height; y += 4)
    for (let x = 0; x + 8 <= width; x += 4) {
      let [a, b, aa, bb, ab] = [0, 0, 0, 0, 0];
      for (let dy = 0; dy < 8; dy += 1)
        for (let dx = 0; dx < 8; dx += 1) {
          const at = (y + dy) * width + x + dx;
          const [p, q] = [luma(found, at), luma(wanted, at)];
          a += p; b += q; aa += p * p; bb += q * q; ab += p * q;
        }
      const [ma, mb] = [a / 64, b / 64];
      const [va, vb, cov] = [aa / 64 - ma * ma, bb / 64 - mb * mb, ab / 64 - ma * mb];
      const [c1, c2] = [(0.01 * 255) ** 2, (0.03 * 255) ** 2];
      sum += ((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
      windows += 1;
    }
  return { psnr, ssim: sum / windows };
};
