/** Runs in the page of one runtime: `?runtime=ours&device=cpu&pictures=rocket,cat`. From navigation to a first answer, then again and again. */

const query = new URL(location.href).searchParams;
const wish = { device: query.get("device"), names: query.get("pictures").split(",") };

let side;

/** Milliseconds from navigation to the latents of all pictures, and these. */
export const first = begin();
first.catch(() => {}); // whoever asks for it hears of it

async function begin() {
  const { start } = await import(`./${query.get("runtime")}.js`);
  side = await start(wish);
  const latents = await side.run();
  return { milliseconds: performance.now(), latents: Array.from(latents), name: side.name };
}

/** Ready for what is timed: the pictures are decoded. */
export const settle = () => side.decode?.();

/** The time of each run, and the latents of the last. */
export async function again(runs) {
  const times = [];
  let latents;
  for (let run = 0; run < runs; run += 1) {
    const start = performance.now();
    latents = await side.run();
    times.push(performance.now() - start);
  }
  return { times, latents: Array.from(latents) };
}
