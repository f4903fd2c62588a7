/** Runs in the page: inception-web, including decoding and resizing. */

export async function start({ device, names }) {
  const { createEngine } = await import("/site/engine.js");
  const [engine, files] = await Promise.all([createEngine({ device }), Promise.all(names.map(async (name) => (await fetch(`/golden/${name}.png`)).blob()))]);
  if (engine.device !== device) throw new Error(engine.notice);
  let pictures = files;
  return {
    name: `inception-web, ${engine.deviceName}`,
    async run() {
      const latents = await engine.latents(pictures);
      const all = new Float32Array(latents.length * latents[0].length);
      latents.forEach((row, at) => all.set(row, at * row.length));
      return all;
    },
    /** Decodes the pictures in advance; later runs still include resizing. */
    async decode() {
      pictures = await Promise.all(files.map(async (file) => {
        const bitmap = await createImageBitmap(file);
        const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
        context.drawImage(bitmap, 0, 0);
        return context.getImageData(0, 0, bitmap.width, bitmap.height);
      }));
    },
  };
}
