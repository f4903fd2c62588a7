// A template. A line with #p is repeated for each pixel of the tile, a line with #g for each group of four channels. Lines tagged [split] are
// for tiles that are split among several invocations, lines tagged [whole] for the others.

[split] // Partial sums of all invocations.
[split] var<workgroup> sums: array<vec4f, #SUMS>;

@compute @workgroup_size(#COLUMNS, #SPLIT, #ROWS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) id: vec3u, @builtin(local_invocation_index) local: u32) {
  let group = workgroup.x * #COLUMNSu + id.x;
  let first = (workgroup.y * #ROWSu + id.z) * #PIXELSu;
  let area = layer.out_height * layer.out_width;
  let count = area * pictures.x;
  let live = first < count && group < layer.groups;
[whole]   if (!live) { return; }

  var output = layer.outputs[0];
  var before = 0u;
  for (var i = 1u; i < 4u; i++) {
    if (group >= output.end && group < layer.groups) {
      before = output.end;
      output = layer.outputs[i];
    }
  }
  let inner = group - before;
  let block = output.weights + inner / #PERu * output.block + inner % #PERu * #GROUPSu;
  let share = output.bias * f32(id.y == 0u);

  // The top left corner of each pixel's window. Pixels after the last one repeat it.
  let at_#p = min(first + #pu, count - 1u);
  let top_#p = at_#p % area / layer.out_width * layer.stride - layer.top;
  let left_#p = at_#p % area % layer.out_width * layer.stride - layer.left;
  let picture_#p = at_#p / area * layer.height;

  var sum_#p_#g = vec4f(weights[block + #gu]) * share;
  var k = block + 4u + id.y * 16u;
[split]   if (live) {
  for (var y = 0u; y < layer.kernel_height; y++) {
    for (var x = 0u; x < layer.kernel_width; x++) {
      // Coordinates before the border wrap around to large values. Padding reads the zeros at the start of the buffer.
      let in_#p = top_#p + y < layer.height && left_#p + x < layer.width;
      let from_#p = select(0u, layer.source + ((picture_#p + top_#p + y) * layer.width + left_#p + x) * layer.channels, in_#p);
      for (var c = id.y; c < layer.channels; c += #SPLITu) {
        let pixel_#p = vec4f(maps[from_#p + c]);
        let x_#g = vec4f(weights[k + #gu]);
        let y_#g = vec4f(weights[k + 4u + #gu]);
        let z_#g = vec4f(weights[k + 8u + #gu]);
        let w_#g = vec4f(weights[k + 12u + #gu]);
        // A single expression compiles to four fused multiply-adds.
        sum_#p_#g = pixel_#p.w * w_#g + (pixel_#p.z * z_#g + (pixel_#p.y * y_#g + (pixel_#p.x * x_#g + sum_#p_#g)));
        k += #SPLITu * 16u;
      }
    }
  }
[split]   }

[whole]   if (first + #pu < count) { put(output.out + (first + #pu) * output.stride + inner * #GROUPSu + #gu, max(sum_#p_#g, vec4f(output.floor))); }
[split]   sums[(#pu * #GROUPSu + #gu) * #THREADSu + local] = sum_#p_#g;
[split]   workgroupBarrier();
[split]   if (!live) { return; }
[split]   // Each invocation that shared the tile reduces some of its outputs.
[split]   for (var q = id.y; q < #PIXELSu * #GROUPSu; q += #SPLITu) {
[split]     var sum = vec4f();
[split]     for (var s = 0u; s < #SPLITu; s++) { sum += sums[q * #THREADSu + local - id.y * #COLUMNSu + s * #COLUMNSu]; }
[split]     let pixel = first + q / #GROUPSu;
[split]     if (pixel < count) { put(output.out + pixel * output.stride + inner * #GROUPSu + q % #GROUPSu, max(sum, vec4f(output.floor))); }
[split]   }
}
