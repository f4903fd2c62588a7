@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let area = layer.out_height * layer.out_width;
  let pixel = id.x / layer.channels;
  let channel = id.x % layer.channels;
  if (pixel >= area * pictures.x) { return; }
  let position = pixel % area;
  let corner = vec2u(position / layer.out_width, position % layer.out_width) * layer.stride;
  let first = pixel / area * layer.height;
  var largest = vec4f(-3.4e38);
  for (var y = 0u; y < layer.kernel_height; y++) {
    for (var x = 0u; x < layer.kernel_width; x++) {
      let at = (first + corner.x + y) * layer.width + corner.y + x;
      largest = max(largest, vec4f(maps[layer.source + at * layer.channels + channel]));
    }
  }
  put(layer.outputs[0].out + pixel * layer.outputs[0].stride + channel, largest);
}
