/** Runs in the page of one runtime: `?runtime=ours&device=cpu&pictures=rocket,cat`. Times the first result since navigation, and further runs. */

const query = new URL(location.href).searchParams;
const options = { device: query.get("device"), names: query.get("pictures").split(",") };

let runtime;

/** The latents of all pictures, and the milliseconds since navigation. */
export const first = firstRun();
first.catch(() => {}); // the importer handles the error

async function firstRun() {
  const { start } = await import(`./${query.get("runtime")}.js`);
  runtime = await start(options);
  const latents = await runtime.run();
  return { milliseconds: performance.now(), latents: Array.from(latents), name: runtime.name };
}

/** Decodes the pictures before timing. */
export const prepare = () => runtime.decode?.();

/** Runs several times; returns the time of each run, and the last latents. */
export async function repeat(runs) {
  const times = [];
  let latents;
  for (let run = 0; run < runs; run += 1) {
    const start = performance.now();
    latents = await runtime.run();
    times.push(performance.now() - start);
  }
  return { times, latents: Array.from(latents) };
}
