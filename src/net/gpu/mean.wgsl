@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let area = layer.height * layer.width;
  let picture = id.x / layer.channels;
  let channel = id.x % layer.channels;
  if (picture >= pictures.x) { return; }
  var sum = vec4f();
  for (var pixel = 0u; pixel < area; pixel++) {
    sum += vec4f(maps[layer.source + (picture * area + pixel) * layer.channels + channel]);
  }
  results.latents[picture * layer.channels + channel] = sum / f32(area);
}
