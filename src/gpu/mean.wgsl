@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let area = layer.height * layer.width;
  let picture = id.x / layer.channels;
  let channel = id.x % layer.channels;
  if (picture >= pictures.x) { return; }
  var sum = vec4f();
  for (var pixel = 0u; pixel < area; pixel++) {
    sum += maps[layer.source + (picture * area + pixel) * layer.channels + channel];
  }
  maps[layer.parts[0].out + picture * layer.parts[0].stride + channel] = sum / f32(area);
}
