// sharp, told and answering like worker.rs. `how` is `each` (a pipeline for each variant) or `clone` (one input, cloned).
import { readFile, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import sharp from "sharp";

sharp.cache(false);
sharp.concurrency(1);

const parse = (text) =>
  text.split(";").map((part) => {
    const [, width, height, words = ""] = part.match(/^[^=]+=(\d+)x(\d+)(.*)$/);
    const fit = ["contain", "inside"].find((fit) => words.includes(fit)) ?? "cover";
    const format = ["jpeg", "png"].find((format) => words.includes(format)) ?? "webp";
    return { width: +width, height: +height, fit, format };
  });

const finish = (pipeline, { width, height, fit, format }) =>
  pipeline.resize(width, height, { fit, withoutEnlargement: true }).toFormat(format, { quality: 80 }).toBuffer();

const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

const peak = () => +readFileSync("/proc/self/status", "utf8").match(/VmHWM:\s+(\d+)/)[1];

for await (const line of createInterface({ input: process.stdin })) {
  const { input, variants, rounds, output, how } = JSON.parse(line);
  const bytes = await readFile(input);
  const wanted = parse(variants);
  const [cpuBefore, wallBefore] = [cpu(), performance.now()];
  let made;
  for (let round = 0; round < rounds; round += 1) {
    const whole = sharp(bytes, { autoOrient: true });
    const pipelines = wanted.map(() => (how === "clone" ? whole.clone() : sharp(bytes, { autoOrient: true })));
    made = await Promise.all(wanted.map((variant, place) => finish(pipelines[place], variant)));
  }
  const [cpuTaken, wall] = [cpu() - cpuBefore, performance.now() - wallBefore];
  if (output) await writeFile(output, made[0]);
  const answer = { cpu_ms: cpuTaken / rounds, wall_ms: wall / rounds, rss_kb: peak(), bytes: made.map((m) => m.length) };
  console.log(JSON.stringify(answer));
}
