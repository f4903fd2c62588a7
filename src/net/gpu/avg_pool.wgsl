@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let area = layer.out_height * layer.out_width;
  let pixel = id.x / layer.channels;
  let channel = id.x % layer.channels;
  if (pixel >= area * pictures.x) { return; }
  let position = pixel % area;
  let centre = vec2u(position / layer.out_width, position % layer.out_width);
  let first = pixel / area * layer.height;
  var sum = vec4f();
  var count = 0u;
  for (var y = 0u; y < layer.kernel_height; y++) {
    for (var x = 0u; x < layer.kernel_width; x++) {
      // Coordinates before the border wrap around to large values, so one comparison covers both sides.
      let v = centre.x + y - layer.top;
      let h = centre.y + x - layer.left;
      if (v < layer.height && h < layer.width) {
        sum += vec4f(maps[layer.source + ((first + v) * layer.width + h) * layer.channels + channel]);
        count++;
      }
    }
  }
  let output = layer.outputs[0];
  let bias = vec4f(weights[output.weights + channel / 4u * output.block + channel % 4u]) * output.bias;
  let mean = sum / f32(select(layer.divisor, count, layer.divisor == 0u)) + bias;
  put(output.out + pixel * output.stride + channel, max(mean, vec4f(output.floor)));
}
