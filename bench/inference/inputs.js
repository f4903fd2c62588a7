/** Runs in the page: the input of the other runtimes, [N, 299, 299, 3] float32 in 0 to 1, resized by TensorFlow in advance. */
export const SHAPE = [299, 299, 3];

export async function inputs(names) {
  const size = SHAPE.reduce((product, side) => product * side);
  const values = new Float32Array(names.length * size);
  const pixels = Object.fromEntries(await Promise.all([...new Set(names)].map(async (name) => [name, new Float32Array(await (await fetch(`/models/${name}.f32`)).arrayBuffer())])));
  names.forEach((name, at) => values.set(pixels[name], at * size));
  return values;
}
