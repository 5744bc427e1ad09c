// sharp and s3-thumbnail alternately, on one core: CPU, wall time, memory, and how good the pictures are.
//
//   node bench.mjs PHOTOS [--photos N] [--pairs N] [--rounds PART] [--classes WORD,…] [--sizes 300x200,…] [--prepare]
//                      [--colours PYTHON]
//
// `--colours` lets littlecms without its tables judge the colours of pictures with a profile, not sharp: see colours.py.
// `--prepare` makes the inputs and what thumbnails of them should be, and measures nothing.
// PHOTOS is a folder of photographs (see README.md). Larger inputs are photographs mirrored side by side, smaller ones
// are scaled down; each class is a format in which people upload.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import path from "node:path";
import sharp from "sharp";
import { compared, reference } from "./quality.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.resolve(here, "../../..");
const scratch = path.join(root, "target/bench/thumbnails");
const flag = (name, otherwise) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? otherwise : process.argv[at + 1];
};
const [photoCount, pairs, part] = [+flag("--photos", 8), +flag("--pairs", 5), +flag("--rounds", 1)];
const only = flag("--classes", "")?.split(",").filter(Boolean);
const sizes = flag("--sizes", "300x200").split(",");
const python = flag("--colours", "");
const ours = process.env.WORKER ?? path.join(root, "target/release/examples/thumbnails-bench");

// A photograph of `width` x `height` pixels: scaled down, or mirrored side by side.
const sized = async (photo, width, height) => {
  const { width: w, height: h } = await sharp(photo).metadata();
  if (w >= width && h >= height) return sharp(await sharp(photo).resize(width, height).removeAlpha().png().toBuffer());
  let raw = await sharp(photo).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  while (raw.info.width < width || raw.info.height < height) {
    const { width: rw, height: rh, channels } = raw.info;
    raw = await sharp(raw.data, { raw: { width: rw, height: rh, channels } })
      .extend({ right: Math.min(rw, Math.max(0, width - rw)), bottom: Math.min(rh, Math.max(0, height - rh)), extendWith: "mirror" })
      .raw().toBuffer({ resolveWithObject: true });
  }
  const { width: rw, height: rh, channels } = raw.info;
  return sharp(raw.data, { raw: { width: rw, height: rh, channels }, limitInputPixels: false }).extract({ left: 0, top: 0, width, height });
};

// Soft edges all around, for alpha.
const withAlpha = async (photo, width, height) => {
  const svg = `<svg width="${width}" height="${height}"><defs><radialGradient id="g"><stop offset="55%" stop-color="#fff"/>
    <stop offset="100%" stop-color="#000"/></radialGradient></defs><rect width="100%" height="100%" fill="url(#g)"/></svg>`;
  const mask = await sharp(Buffer.from(svg)).resize(width, height).extractChannel(0).raw().toBuffer();
  const base = await (await sized(photo, width, height)).removeAlpha().toColourspace("srgb").raw().toBuffer();
  const rgba = Buffer.alloc(width * height * 4);
  for (let at = 0; at < width * height; at += 1) {
    base.copy(rgba, at * 4, at * 3, at * 3 + 3);
    rgba[at * 4 + 3] = mask[at];
  }
  return sharp(rgba, { raw: { width, height, channels: 4 } });
};

const jpeg = (width, height, options = {}) => async (photo) =>
  (await sized(photo, width, height)).jpeg({ quality: 85, mozjpeg: false, ...options }).toBuffer();

const CLASSES = {
  "as it is": { make: (photo) => readFile(photo), rounds: 10 },
  "JPEG 1 MP": { make: jpeg(1155, 866), rounds: 20 },
  "JPEG 2 MP": { make: jpeg(1633, 1225), rounds: 20 },
  "JPEG 12 MP": { make: jpeg(4000, 3000), rounds: 6 },
  "JPEG 12 MP progressive": { make: jpeg(4000, 3000, { progressive: true }), rounds: 2 },
  "JPEG 12 MP P3 Exif 6": {
    make: async (photo) =>
      (await sized(photo, 4000, 3000)).withIccProfile("p3").withMetadata({ orientation: 6 }).withIccProfile("p3").jpeg({ quality: 85 }).toBuffer(),
    rounds: 6,
  },
  "JPEG 24 MP": { make: jpeg(6000, 4000), rounds: 3 },
  "JPEG 24 MP q95 4:4:4": { make: jpeg(6000, 4000, { quality: 95, chromaSubsampling: "4:4:4" }), rounds: 2, large: true },
  "JPEG 48 MP": { make: jpeg(8000, 6000), rounds: 2, large: true },
  "JPEG 2 MP CMYK ICC": {
    make: async (photo) => (await sized(photo, 1633, 1225)).toColourspace("cmyk").withIccProfile("cmyk").jpeg({ quality: 85 }).toBuffer(),
    rounds: 10,
  },
  "PNG 2 MP": { make: async (photo) => (await sized(photo, 1633, 1225)).png({ compressionLevel: 6 }).toBuffer(), rounds: 6 },
  "PNG 9 MP": { make: async (photo) => (await sized(photo, 3464, 2598)).png({ compressionLevel: 6 }).toBuffer(), rounds: 2 },
  "PNG 3 MP alpha": { make: async (photo) => (await withAlpha(photo, 2000, 1500)).png({ compressionLevel: 6 }).toBuffer(), rounds: 4 },
  "WebP 2 MP": { make: async (photo) => (await sized(photo, 1633, 1225)).webp({ quality: 80 }).toBuffer(), rounds: 10 },
  "WebP 12 MP": { make: async (photo) => (await sized(photo, 4000, 3000)).webp({ quality: 80, effort: 2 }).toBuffer(), rounds: 2 },
  "WebP 2 MP alpha": { make: async (photo) => (await withAlpha(photo, 1633, 1225)).webp({ quality: 80 }).toBuffer(), rounds: 6 },
  "GIF 1 MP": { make: async (photo) => (await sized(photo, 1155, 866)).gif({ effort: 1 }).toBuffer(), rounds: 8 },
  "WebP 1 MP animated": {
    make: async (photo) => {
      const frames = [await (await sized(photo, 1155, 866)).png().toBuffer(), await (await sized(photo, 1155, 866)).negate().png().toBuffer()];
      return sharp(frames, { join: { animated: true } }).webp({ quality: 80, effort: 1 }).toBuffer();
    },
    rounds: 8,
  },
};

// The file of a class, and what its thumbnail should be: made once.
const inputOf = async (name, photo) => {
  const input = path.join(scratch, `${name}-${path.basename(photo)}`.replace(/[^\w.-]+/g, "-"));
  if (!existsSync(input)) await writeFile(input, await CLASSES[name].make(photo));
  return input;
};
const wantedOf = async (input, width, height) => {
  const file = `${input}-${width}x${height}${python ? "-lcms" : ""}.wanted`;
  if (!existsSync(file)) {
    const { data, ...form } = await reference(input, width, height, python);
    await writeFile(file, data);
    await writeFile(`${file}.json`, JSON.stringify(form));
  }
  const bytes = await readFile(file);
  return { ...JSON.parse(await readFile(`${file}.json`, "utf8")), data: new Float32Array(new Uint8Array(bytes).buffer) };
};

class Worker {
  constructor(command, args) {
    this.child = spawn("taskset", ["-c", "1", command, ...args], { stdio: ["pipe", "pipe", "inherit"], cwd: here });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    this.ended = new Promise((resolve) => this.child.once("close", resolve));
  }
  async ask(job) {
    this.child.stdin.write(`${JSON.stringify(job)}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`a worker died of ${JSON.stringify(job)}`);
    return JSON.parse(value);
  }
  end() {
    this.child.stdin.end();
    return this.ended;
  }
}
const starts = [() => new Worker(ours, []), () => new Worker("node", ["worker.mjs"])];
const workers = () => starts.map((start) => start());
// From the start of the process to the first answer.
const once = async (place, job) => {
  const began = performance.now();
  const worker = starts[place]();
  const answer = await worker.ask({ ...job, rounds: 1 });
  const start_ms = performance.now() - began;
  await worker.end();
  return { ...answer, start_ms };
};

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const number = (value, digits) => value.toFixed(digits);

const photos = [];
const look = (folder) => {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) look(file);
    else if (/\.jpe?g$/i.test(entry.name) && statSync(file).size > 150_000) photos.push(file);
  }
};
look(process.argv[2]);
photos.sort();
photos.splice(photoCount);
mkdirSync(scratch, { recursive: true });
const chosen = Object.entries(CLASSES).filter(([name]) => !only?.length || only.some((word) => name.includes(word)));
const photosOf = (large) => (large ? photos.slice(0, Math.ceil(photos.length / 2)) : photos);
if (process.argv.includes("--prepare")) {
  for (const [name, { large }] of chosen)
    for (const photo of photosOf(large))
      for (const size of sizes) await wantedOf(await inputOf(name, photo), ...size.split("x").map(Number));
  process.exit();
}
console.log(`${photos.length} photographs: ${photos.map((photo) => path.basename(photo)).join(", ")}`);
console.log(`sharp ${sharp.versions.sharp}, libvips ${sharp.versions.vips}; ${pairs} pairs; medians over photographs\n`);

const summary = [];
for (const size of chosen.length ? sizes : []) {
  const [width, height] = size.split("x").map(Number);
  console.log(`### ${size}, WebP quality 80\n`);
  console.log("| class | CPU ms, ours | sharp | ratio (range) | wall ratio | peak MB, ours | sharp | PSNR, ours | sharp | worst Δ | SSIM, ours | sharp | worst Δ | bytes ratio |");
  console.log("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
  for (const [name, { rounds: most, large }] of chosen) {
    const rounds = Math.max(1, Math.round(most * part));
    const rows = [];
    const [we, they] = workers();
    for (const photo of photosOf(large)) {
      const input = await inputOf(name, photo);
      const job = { input, variants: `v=${size}`, rounds };
      const outputs = [0, 1].map((place) => path.join(scratch, `out-${place}.webp`));
      const firsts = [await once(0, { ...job, output: outputs[0] }), await once(1, { ...job, output: outputs[1] })];
      const wanted = await wantedOf(input, width, height);
      const [quality, theirs] = [await compared(outputs[0], wanted), await compared(outputs[1], wanted)];
      await we.ask({ ...job, rounds: 1 });
      await they.ask({ ...job, rounds: 1 });
      const measured = [];
      for (let pair = 0; pair < pairs; pair += 1) measured.push([await we.ask(job), await they.ask(job)]);
      const of = (place, what) => median(measured.map((pair) => pair[place][what]));
      rows.push({
        cpu: of(0, "cpu_ms"), theirCpu: of(1, "cpu_ms"), wall: of(0, "wall_ms"), theirWall: of(1, "wall_ms"),
        rss: firsts[0].rss_kb / 1024, theirRss: firsts[1].rss_kb / 1024, quality, theirs,
        start: firsts[0].start_ms, theirStart: firsts[1].start_ms,
        bytes: firsts[0].bytes[0] / firsts[1].bytes[0],
      });
    }
    await Promise.all([we.end(), they.end()]);
    const of = (what) => median(rows.map(what));
    const ratios = rows.map((row) => row.theirCpu / row.cpu);
    const worst = (what) => Math.min(...rows.map((row) => row.quality[what] - row.theirs[what]));
    const cells = [
      name, number(of((row) => row.cpu), 1), number(of((row) => row.theirCpu), 1),
      `${number(median(ratios), 2)} (${number(Math.min(...ratios), 2)}-${number(Math.max(...ratios), 2)})`,
      number(of((row) => row.theirWall / row.wall), 2), number(Math.max(...rows.map((row) => row.rss)), 0), number(Math.max(...rows.map((row) => row.theirRss)), 0),
      number(of((row) => row.quality.psnr), 2), number(of((row) => row.theirs.psnr), 2), number(worst("psnr"), 2),
      number(of((row) => row.quality.ssim), 4), number(of((row) => row.theirs.ssim), 4), number(worst("ssim"), 4), number(of((row) => row.bytes), 2),
    ];
    console.log(`| ${cells.join(" | ")} |`);
    summary.push({ size, name, ratio: median(ratios), psnr: worst("psnr"), ssim: worst("ssim"), start: of((row) => row.theirStart / row.start) });
  }
  console.log();
}
if (summary.length) {
  console.log(`Median class: ${number(median(summary.map((row) => row.ratio)), 2)} times less CPU than sharp.`);
  console.log(`Process start to the first thumbnail, times faster: ${summary.map((row) => `${row.name} ${number(row.start, 1)}`).join(", ")}.\n`);
}

// Four variants from one decode: a page's usual ones, and with a banner that is almost all of a small picture.
const FOURS = {
  "96, 160, 300, 480 pixels wide": "a=300x200;b=160x160;c=480x320;d=96x96",
  "with a banner of 1,200": "a=300x200;b=160x160;c=600x400;d=1200x400",
};
console.log("| four variants | CPU ms, ours | sharp, a pipeline each | ratio | sharp, cloned | ratio |\n|---|---|---|---|---|---|");
for (const [what, four] of Object.entries(only?.length && !only.includes("four") ? {} : FOURS))
  for (const name of ["JPEG 2 MP", "JPEG 12 MP", "PNG 2 MP", "WebP 2 MP"]) {
    const [we, they] = workers();
    const rows = [];
    for (const photo of photos.slice(0, 4)) {
      const job = { input: await inputOf(name, photo), variants: four, rounds: Math.max(1, Math.round(3 * part)) };
      const turns = [[], [], []];
      for (let pair = 0; pair <= pairs; pair += 1) {
        const answers = [await we.ask(job), await they.ask({ ...job, how: "each" }), await they.ask({ ...job, how: "clone" })];
        if (pair > 0) answers.forEach((answer, place) => turns[place].push(answer.cpu_ms));
      }
      rows.push(turns.map(median));
    }
    await Promise.all([we.end(), they.end()]);
    const [own, each, cloned] = [0, 1, 2].map((place) => median(rows.map((row) => row[place])));
    console.log(`| ${name}, ${what} | ${number(own, 1)} | ${number(each, 1)} | ${number(each / own, 2)} | ${number(cloned, 1)} | ${number(cloned / own, 2)} |`);
  }
