//! The execution plan, shared by all backends: turns the graph into a list of ops on feature maps and assigns memory to the maps.
//!
//! A feature map is [height, width, channels] of one picture, so the channels of a pixel are contiguous. The plan optimises the graph in
//! three ways:
//! - Branches write directly into their channel range of the concatenated map; there is no concatenation op.
//! - 1x1 convolutions with the same input are merged into one matrix product.
//! - An average pool and the 1x1 convolution after it change places: both are linear, and the convolution has fewer outputs than inputs. Its
//!   bias and ReLU are applied after the pool.

use crate::net::inception::{Op, Step};

/// Ops and memory layout for one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The first map is the picture.
    pub maps: Vec<FeatureMap>,
    /// The length of each memory slot, in values. Maps with disjoint lifetimes share a slot.
    pub slots: Vec<usize>,
    /// In execution order.
    pub ops: Vec<PlanOp>,
}

/// A [height, width, channels] map, row-major, at the start of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FeatureMap {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub slot: usize,
}

impl FeatureMap {
    pub(crate) fn pixels(&self) -> usize {
        self.height * self.width
    }

    pub(crate) fn len(&self) -> usize {
        self.pixels() * self.channels
    }
}

/// The map that an op writes to, and its first channel there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Destination {
    pub map: usize,
    pub channel: usize,
}

/// One pass over a whole map. The output maps are in other slots than the input map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PlanOp {
    /// Convolutions with the same input; more than one output only for 1x1 kernels.
    Conv {
        from: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
        outputs: Vec<ConvOutput>,
    },
    /// 3x3, stride 2, not padded.
    MaxPool { from: usize, to: Destination },
    /// 3x3, stride 1, padded by 1; followed by the bias of convolution `bias` and ReLU, if there is one.
    AvgPool {
        from: usize,
        bias: Option<usize>,
        to: Destination,
    },
}

/// One convolution of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConvOutput {
    /// Index in [`kernels`](crate::net::inception::kernels).
    pub conv: usize,
    pub channels: usize,
    /// Without bias and ReLU; the average pool that follows applies them.
    pub raw: bool,
    pub to: Destination,
}

impl Plan {
    /// Plans a graph. The outputs of the steps `ends` are concatenated; steps are counted from 1, and 0 is the picture. `input` is
    /// [height, width, channels].
    pub(crate) fn new(steps: &[Step], ends: &[usize], input: [usize; 3]) -> Plan {
        let mut builder = PlanBuilder {
            steps,
            members: vec![vec![0]],
            shapes: vec![input],
            plan: Plan {
                maps: Vec::new(),
                slots: Vec::new(),
                ops: Vec::new(),
            },
        };
        builder.infer_shapes();
        builder.add_maps(ends);
        builder.add_ops();
        builder.plan.assign_slots();
        builder.plan
    }

    /// The map with the network's output.
    pub(crate) fn output(&self) -> usize {
        let last = self.ops.last().map(PlanOp::destinations);
        last.and_then(|destinations| destinations.last().map(|destination| destination.map))
            .unwrap_or(0)
    }

    /// All convolutions, in the order of execution.
    pub(crate) fn convs(&self) -> impl Iterator<Item = &ConvOutput> {
        self.ops.iter().flat_map(|op| match op {
            PlanOp::Conv { outputs, .. } => outputs.as_slice(),
            _ => &[],
        })
    }

    /// Looks up a convolution by its index: kernel [height, width], stride, output and the map that it writes to.
    pub(crate) fn conv(&self, conv: usize) -> ([usize; 2], usize, ConvOutput, FeatureMap) {
        let found = self.ops.iter().find_map(|op| match op {
            PlanOp::Conv {
                kernel,
                stride,
                outputs,
                ..
            } => {
                let output = outputs.iter().find(|output| output.conv == conv)?;
                Some((*kernel, *stride, *output, self.maps[output.to.map]))
            }
            _ => None,
        });
        found.expect("no more convolutions than the graph has")
    }

    /// Assigns a memory slot to each map. The map occupies it from its first write to its last read.
    fn assign_slots(&mut self) {
        let reads: Vec<_> = self.ops.iter().map(PlanOp::input_map).collect();
        let last_read = |map| reads.iter().rposition(|read| *read == map);
        let mut free: Vec<usize> = Vec::new();
        let mut assigned = vec![false; self.maps.len()];
        let assign = |map: &mut FeatureMap, slots: &mut Vec<usize>, free: &mut Vec<usize>| {
            let need = map.len();
            // The smallest free slot that is large enough, or else the largest one, which grows.
            let fits = |slot: &usize| (slots[*slot] < need, slots[*slot].abs_diff(need));
            let best = (0..free.len()).min_by_key(|k| fits(&free[*k]));
            map.slot = match best {
                Some(k) => free.swap_remove(k),
                None => {
                    slots.push(0);
                    slots.len() - 1
                }
            };
            slots[map.slot] = slots[map.slot].max(need);
        };
        assign(&mut self.maps[0], &mut self.slots, &mut free);
        assigned[0] = true;
        for (k, op) in self.ops.iter().enumerate() {
            for Destination { map, .. } in op.destinations() {
                if !std::mem::replace(&mut assigned[map], true) {
                    assign(&mut self.maps[map], &mut self.slots, &mut free);
                }
            }
            let read = op.input_map();
            if last_read(read) == Some(k) {
                free.push(self.maps[read].slot);
            }
        }
    }
}

impl PlanOp {
    pub(crate) fn input_map(&self) -> usize {
        match self {
            PlanOp::Conv { from, .. }
            | PlanOp::MaxPool { from, .. }
            | PlanOp::AvgPool { from, .. } => *from,
        }
    }

    pub(crate) fn destinations(&self) -> Vec<Destination> {
        match self {
            PlanOp::Conv { outputs, .. } => outputs.iter().map(|output| output.to).collect(),
            PlanOp::MaxPool { to, .. } | PlanOp::AvgPool { to, .. } => vec![*to],
        }
    }
}

struct PlanBuilder<'a> {
    steps: &'a [Step],
    /// For each map, the steps whose outputs are concatenated in it.
    members: Vec<Vec<usize>>,
    /// [height, width, channels] of the picture and of each step's output.
    shapes: Vec<[usize; 3]>,
    plan: Plan,
}

impl PlanBuilder<'_> {
    fn infer_shapes(&mut self) {
        for step in self.steps {
            let [h, w, _] = self.shapes[step.inputs[0]];
            let channels = step.inputs.iter().map(|input| self.shapes[*input][2]).sum();
            self.shapes.push(match step.op {
                Op::Conv {
                    out,
                    kernel: [kh, kw],
                    stride,
                    padding: [ph, pw],
                } => [
                    (h + 2 * ph - kh) / stride + 1,
                    (w + 2 * pw - kw) / stride + 1,
                    out,
                ],
                Op::MaxPool => [(h - 3) / 2 + 1, (w - 3) / 2 + 1, channels],
                Op::AvgPool => [h, w, channels],
            });
        }
    }

    /// Adds a map for each distinct list of inputs, and one for the network's output.
    fn add_maps(&mut self, ends: &[usize]) {
        let read = self.steps.iter().map(|step| &step.inputs[..]);
        for list in read.chain([ends]) {
            if !self.members.iter().any(|known| known == list) {
                self.members.push(list.to_vec());
            }
        }
        self.plan.maps = self.members.iter().map(|list| self.map(list)).collect();
    }

    fn map(&self, list: &[usize]) -> FeatureMap {
        let [height, width, _] = self.shapes[list[0]];
        FeatureMap {
            height,
            width,
            channels: list.iter().map(|step| self.shapes[*step][2]).sum(),
            slot: 0,
        }
    }

    fn destination(&self, step: usize) -> Destination {
        let found = self.members.iter().enumerate().find_map(|(map, list)| {
            let at = list.iter().position(|known| *known == step)?;
            let before = list[..at].iter().map(|step| self.shapes[*step][2]);
            Some(Destination {
                map,
                channel: before.sum(),
            })
        });
        found.expect("every step is read, or is an output")
    }

    fn input_of(&self, step: usize) -> usize {
        let inputs = &self.steps[step - 1].inputs;
        let found = self.members.iter().position(|list| list == inputs);
        found.expect("add_maps added a map for every list of inputs")
    }

    /// The 1x1 convolution after an average pool, if it is the pool's only reader and reads nothing else.
    fn after_pool(&self, pool: usize) -> Option<usize> {
        let mut readers =
            (1..=self.steps.len()).filter(|step| self.steps[*step - 1].inputs.contains(&pool));
        let reader = readers.next().filter(|_| readers.next().is_none())?;
        let alone = self.steps[reader - 1].inputs.len() == 1;
        (alone && self.is_1x1(reader)).then_some(reader)
    }

    fn is_1x1(&self, step: usize) -> bool {
        matches!(
            self.steps[step - 1].op,
            Op::Conv {
                kernel: [1, 1],
                stride: 1,
                ..
            }
        )
    }

    fn add_ops(&mut self) {
        let convs: Vec<_> = (1..=self.steps.len())
            .filter(|step| matches!(self.steps[*step - 1].op, Op::Conv { .. }))
            .collect();
        let conv_index = |step: usize| convs.iter().position(|conv| *conv == step);
        // (average pool, 1x1 convolution) pairs to swap.
        let swapped: Vec<_> = (1..=self.steps.len())
            .filter(|step| self.steps[*step - 1].op == Op::AvgPool)
            .filter_map(|pool| Some((pool, self.after_pool(pool)?)))
            .collect();
        let pool_of = |conv| swapped.iter().find(|(_, after)| *after == conv);
        let conv_of = |pool| swapped.iter().find(|(before, _)| *before == pool);
        for step in 1..=self.steps.len() {
            let from = self.input_of(step);
            match &self.steps[step - 1].op {
                Op::MaxPool => {
                    let to = self.destination(step);
                    self.plan.ops.push(PlanOp::MaxPool { from, to });
                }
                Op::AvgPool => match conv_of(step) {
                    None => {
                        let to = self.destination(step);
                        let bias = None;
                        self.plan.ops.push(PlanOp::AvgPool { from, bias, to });
                    }
                    Some(&(_, conv)) => {
                        // The pool's former output map now holds the raw output of the convolution, which has fewer channels.
                        let map = self.input_of(conv);
                        self.plan.maps[map].channels = self.shapes[conv][2];
                        let output = ConvOutput {
                            conv: conv_index(conv).expect("a convolution"),
                            channels: self.shapes[conv][2],
                            raw: true,
                            to: Destination { map, channel: 0 },
                        };
                        self.add_1x1(from, output);
                    }
                },
                Op::Conv {
                    out,
                    kernel,
                    stride,
                    padding,
                } => {
                    let to = self.destination(step);
                    let conv = conv_index(step).expect("a convolution");
                    if pool_of(step).is_some() {
                        let bias = Some(conv);
                        self.plan.ops.push(PlanOp::AvgPool { from, bias, to });
                        continue;
                    }
                    let output = ConvOutput {
                        conv,
                        channels: *out,
                        raw: false,
                        to,
                    };
                    if self.is_1x1(step) {
                        self.add_1x1(from, output);
                    } else {
                        self.plan.ops.push(PlanOp::Conv {
                            from,
                            kernel: *kernel,
                            stride: *stride,
                            padding: *padding,
                            outputs: vec![output],
                        });
                    }
                }
            }
        }
    }

    /// Merges a 1x1 convolution into the op that already applies 1x1 convolutions to this map, or adds an op.
    fn add_1x1(&mut self, map: usize, output: ConvOutput) {
        let found = self.plan.ops.iter_mut().find_map(|op| match op {
            PlanOp::Conv {
                from,
                kernel: [1, 1],
                stride: 1,
                outputs,
                ..
            } if *from == map => Some(outputs),
            _ => None,
        });
        match found {
            Some(outputs) => outputs.push(output),
            None => self.plan.ops.push(PlanOp::Conv {
                from: map,
                kernel: [1, 1],
                stride: 1,
                padding: [0, 0],
                outputs: vec![output],
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::inception::{INPUT, graph, kernels};

    fn inception() -> Plan {
        let (steps, ends) = graph();
        Plan::new(&steps, &ends, [INPUT, INPUT, 3])
    }

    #[test]
    fn every_convolution_is_planned_once() {
        let plan = inception();
        let convs = plan.convs().map(|output| (output.conv, output.channels));
        let mut done: Vec<_> = convs.collect();
        done.sort_unstable();
        let kernels = kernels().into_iter().enumerate();
        let all: Vec<_> = kernels.map(|(k, (_, [out, ..]))| (k, out)).collect();
        assert_eq!(done, all);
    }

    #[test]
    fn parallel_1x1_convolutions_are_merged_and_pools_follow_the_convolutions() {
        let plan = inception();
        let count = |is: fn(&PlanOp) -> bool| plan.ops.iter().filter(|op| is(op)).count();
        // 94 convolutions; the 1x1 convolutions that read a block's input are merged: 4 -> 1 in nine blocks, 2 -> 1 in mixed8.
        assert_eq!(
            count(|op| matches!(op, PlanOp::Conv { .. })),
            94 - 3 * 9 - 1
        );
        assert_eq!(count(|op| matches!(op, PlanOp::MaxPool { .. })), 4);
        let biased = |op: &PlanOp| matches!(op, PlanOp::AvgPool { bias: Some(_), .. });
        assert_eq!(count(biased), 9);
        assert_eq!(plan.ops.len(), 66 + 4 + 9);
    }

    /// Simulates the plan and tracks which channels of each slot have been written.
    #[test]
    fn no_map_is_overwritten_before_its_last_read() {
        let plan = inception();
        let mut holds = vec![None; plan.slots.len()];
        let mut written: Vec<Vec<bool>> = plan
            .maps
            .iter()
            .map(|map| vec![false; map.channels])
            .collect();
        holds[plan.maps[0].slot] = Some(0);
        written[0].fill(true);
        for op in &plan.ops {
            let from = op.input_map();
            assert_eq!(holds[plan.maps[from].slot], Some(from));
            assert!(
                written[from].iter().all(|done| *done),
                "map {from} is read before it is complete"
            );
            let widths: Vec<_> = match op {
                PlanOp::Conv { outputs, .. } => {
                    outputs.iter().map(|output| output.channels).collect()
                }
                PlanOp::AvgPool { .. } | PlanOp::MaxPool { .. } => vec![plan.maps[from].channels],
            };
            for (Destination { map, channel }, width) in op.destinations().into_iter().zip(widths) {
                let slot = plan.maps[map].slot;
                assert_ne!(slot, plan.maps[from].slot);
                if holds[slot] != Some(map) {
                    assert!(
                        written[map].iter().all(|done| !done),
                        "map {map} was overwritten"
                    );
                    holds[slot] = Some(map);
                }
                for done in &mut written[map][channel..channel + width] {
                    assert!(!std::mem::replace(done, true), "written twice");
                }
            }
        }
        let end = plan.output();
        assert_eq!(plan.maps[end].channels, 2048);
        assert_eq!(holds[plan.maps[end].slot], Some(end));
        assert!(written[end].iter().all(|done| *done));
        for map in &plan.maps {
            assert!(map.len() <= plan.slots[map.slot]);
        }
    }
}
