//! How the net is computed, whatever computes it: its graph becomes a list of works on maps that are used again and again.
//!
//! A map is [height, width, channels] of one picture, so that a pixel's channels are neighbours. Three things make the list shorter and
//! quicker than the figure. Columns write straight into their slice of what the figure concatenates. 1x1 convolutions of one input are one
//! product with more outputs. An average pool and a 1x1 convolution after it change places, for both are linear and the convolution has
//! fewer outputs than inputs; its bias and ReLU wait for the pool. Nothing here computes: [`cpu`](crate::net::cpu) does.

use crate::net::inception::{Op, Step};

/// What is computed and kept in between, for one picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The first is the picture.
    pub maps: Vec<Map>,
    /// Values in each piece of memory that maps take in turn.
    pub slots: Vec<usize>,
    /// In this order.
    pub works: Vec<Work>,
}

/// [height, width, channels], row-major, at the start of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Map {
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    pub slot: usize,
}

impl Map {
    pub(crate) fn pixels(&self) -> usize {
        self.height * self.width
    }

    pub(crate) fn numbers(&self) -> usize {
        self.pixels() * self.channels
    }
}

/// Where an output's channels begin in a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub map: usize,
    pub channel: usize,
}

/// One pass over a whole map; the maps that it writes are not the one that it reads, and lie in other slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// Convolutions of one input side by side; more than one only where they are 1x1.
    Conv {
        from: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
        parts: Vec<Part>,
    },
    /// 3x3, stride 2, not padded.
    MaxPool { from: usize, to: Place },
    /// 3x3, stride 1, padded by 1; then the bias of that convolution and ReLU, where there is one.
    AvgPool {
        from: usize,
        bias: Option<usize>,
        to: Place,
    },
}

/// A convolution of the net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its number in the order of construction.
    pub conv: usize,
    pub channels: usize,
    /// Whether bias and ReLU are left to the pool that follows.
    pub bare: bool,
    pub to: Place,
}

impl Plan {
    /// The plan of a graph whose outputs, side by side, are `ends`; `input` is [height, width, channels].
    pub(crate) fn new(steps: &[Step], ends: &[usize], input: [usize; 3]) -> Plan {
        let mut sketch = Sketch {
            steps,
            lists: vec![vec![0]],
            shapes: vec![input],
            plan: Plan {
                maps: Vec::new(),
                slots: Vec::new(),
                works: Vec::new(),
            },
        };
        sketch.shapes();
        sketch.maps(ends);
        sketch.works();
        sketch.plan.share();
        sketch.plan
    }

    /// The map with the outputs of the whole.
    pub(crate) fn output(&self) -> usize {
        let last = self.works.last().map(Work::writes);
        last.and_then(|places| places.last().map(|place| place.map))
            .unwrap_or(0)
    }

    /// All convolutions, in the order of the works.
    pub(crate) fn convs(&self) -> impl Iterator<Item = &Part> {
        self.works.iter().flat_map(|work| match work {
            Work::Conv { parts, .. } => parts.as_slice(),
            _ => &[],
        })
    }

    /// A convolution by its number: its kernel's [height, width], its stride, its part of the work, and the map that it writes to.
    pub(crate) fn conv(&self, conv: usize) -> ([usize; 2], usize, Part, Map) {
        let found = self.works.iter().find_map(|work| match work {
            Work::Conv {
                kernel,
                stride,
                parts,
                ..
            } => {
                let part = parts.iter().find(|part| part.conv == conv)?;
                Some((*kernel, *stride, *part, self.maps[part.to.map]))
            }
            _ => None,
        });
        found.expect("no more convolutions than the graph has")
    }

    /// Gives each map a slot, from the work that first writes it to the one that last reads it.
    fn share(&mut self) {
        let reads: Vec<_> = self.works.iter().map(Work::reads).collect();
        let last_read = |map| reads.iter().rposition(|read| *read == map);
        let mut free: Vec<usize> = Vec::new();
        let mut placed = vec![false; self.maps.len()];
        let place = |map: &mut Map, slots: &mut Vec<usize>, free: &mut Vec<usize>| {
            let need = map.numbers();
            // The least that is large enough, or else the largest, which grows.
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
        place(&mut self.maps[0], &mut self.slots, &mut free);
        placed[0] = true;
        for (k, work) in self.works.iter().enumerate() {
            for Place { map, .. } in work.writes() {
                if !std::mem::replace(&mut placed[map], true) {
                    place(&mut self.maps[map], &mut self.slots, &mut free);
                }
            }
            let read = work.reads();
            if last_read(read) == Some(k) {
                free.push(self.maps[read].slot);
            }
        }
    }
}

impl Work {
    /// The map that is read.
    pub(crate) fn reads(&self) -> usize {
        match self {
            Work::Conv { from, .. } | Work::MaxPool { from, .. } | Work::AvgPool { from, .. } => {
                *from
            }
        }
    }

    /// Where outputs go.
    pub(crate) fn writes(&self) -> Vec<Place> {
        match self {
            Work::Conv { parts, .. } => parts.iter().map(|part| part.to).collect(),
            Work::MaxPool { to, .. } | Work::AvgPool { to, .. } => vec![*to],
        }
    }
}

/// A plan in the making.
struct Sketch<'a> {
    steps: &'a [Step],
    /// The steps that lie side by side in each map.
    lists: Vec<Vec<usize>>,
    /// [height, width, channels] of every step's output, the picture's first.
    shapes: Vec<[usize; 3]>,
    plan: Plan,
}

impl Sketch<'_> {
    fn shapes(&mut self) {
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

    /// A map for each list of steps that something reads, and for the outputs.
    fn maps(&mut self, ends: &[usize]) {
        let read = self.steps.iter().map(|step| &step.inputs[..]);
        for list in read.chain([ends]) {
            if !self.lists.iter().any(|known| known == list) {
                self.lists.push(list.to_vec());
            }
        }
        self.plan.maps = self.lists.iter().map(|list| self.map(list)).collect();
    }

    fn map(&self, list: &[usize]) -> Map {
        let [height, width, _] = self.shapes[list[0]];
        Map {
            height,
            width,
            channels: list.iter().map(|step| self.shapes[*step][2]).sum(),
            slot: 0,
        }
    }

    /// Where a step's output goes.
    fn place(&self, step: usize) -> Place {
        let found = self.lists.iter().enumerate().find_map(|(map, list)| {
            let at = list.iter().position(|known| *known == step)?;
            let before = list[..at].iter().map(|step| self.shapes[*step][2]);
            Some(Place {
                map,
                channel: before.sum(),
            })
        });
        found.expect("every step is read, or is an output")
    }

    fn list(&self, step: usize) -> usize {
        let inputs = &self.steps[step - 1].inputs;
        let found = self.lists.iter().position(|list| list == inputs);
        found.expect("`maps` made one for every list")
    }

    /// The one 1x1 convolution that reads an average pool, if that is all that does.
    fn after_pool(&self, pool: usize) -> Option<usize> {
        let mut readers =
            (1..=self.steps.len()).filter(|step| self.steps[*step - 1].inputs.contains(&pool));
        let reader = readers.next().filter(|_| readers.next().is_none())?;
        let alone = self.steps[reader - 1].inputs.len() == 1;
        (alone && self.is_point(reader)).then_some(reader)
    }

    fn is_point(&self, step: usize) -> bool {
        matches!(
            self.steps[step - 1].op,
            Op::Conv {
                kernel: [1, 1],
                stride: 1,
                ..
            }
        )
    }

    fn works(&mut self) {
        let convs: Vec<_> = (1..=self.steps.len())
            .filter(|step| matches!(self.steps[*step - 1].op, Op::Conv { .. }))
            .collect();
        let number = |step: usize| convs.iter().position(|conv| *conv == step);
        // The 1x1 convolutions that go with an average pool, by the pool's number.
        let swapped: Vec<_> = (1..=self.steps.len())
            .filter(|step| self.steps[*step - 1].op == Op::AvgPool)
            .filter_map(|pool| Some((pool, self.after_pool(pool)?)))
            .collect();
        let pool_of = |conv| swapped.iter().find(|(_, after)| *after == conv);
        let conv_of = |pool| swapped.iter().find(|(before, _)| *before == pool);
        // Pools that wait for the product that their convolution is part of.
        for step in 1..=self.steps.len() {
            let from = self.list(step);
            match &self.steps[step - 1].op {
                Op::MaxPool => {
                    let to = self.place(step);
                    self.plan.works.push(Work::MaxPool { from, to });
                }
                Op::AvgPool => match conv_of(step) {
                    None => {
                        let to = self.place(step);
                        let bias = None;
                        self.plan.works.push(Work::AvgPool { from, bias, to });
                    }
                    Some(&(_, conv)) => {
                        // What the pool would have written is the bare convolution's now, which is smaller.
                        let map = self.list(conv);
                        self.plan.maps[map].channels = self.shapes[conv][2];
                        let part = Part {
                            conv: number(conv).expect("it is one"),
                            channels: self.shapes[conv][2],
                            bare: true,
                            to: Place { map, channel: 0 },
                        };
                        self.beside(from, part);
                    }
                },
                Op::Conv {
                    out,
                    kernel,
                    stride,
                    padding,
                } => {
                    let to = self.place(step);
                    let conv = number(step).expect("it is one");
                    if pool_of(step).is_some() {
                        let bias = Some(conv);
                        self.plan.works.push(Work::AvgPool { from, bias, to });
                        continue;
                    }
                    let part = Part {
                        conv,
                        channels: *out,
                        bare: false,
                        to,
                    };
                    if self.is_point(step) {
                        self.beside(from, part);
                    } else {
                        self.plan.works.push(Work::Conv {
                            from,
                            kernel: *kernel,
                            stride: *stride,
                            padding: *padding,
                            parts: vec![part],
                        });
                    }
                }
            }
        }
    }

    /// Puts a 1x1 convolution beside those that read the same map already, or begins with it.
    fn beside(&mut self, map: usize, part: Part) {
        let found = self.plan.works.iter_mut().find_map(|work| match work {
            Work::Conv {
                from,
                kernel: [1, 1],
                stride: 1,
                parts,
                ..
            } if *from == map => Some(parts),
            _ => None,
        });
        match found {
            Some(parts) => parts.push(part),
            None => self.plan.works.push(Work::Conv {
                from: map,
                kernel: [1, 1],
                stride: 1,
                padding: [0, 0],
                parts: vec![part],
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
    fn every_convolution_is_done_once() {
        let plan = inception();
        let convs = plan.convs().map(|part| (part.conv, part.channels));
        let mut done: Vec<_> = convs.collect();
        done.sort_unstable();
        let kernels = kernels().into_iter().enumerate();
        let all: Vec<_> = kernels.map(|(k, (_, [out, ..]))| (k, out)).collect();
        assert_eq!(done, all);
    }

    #[test]
    fn siblings_are_one_product_and_pools_come_after() {
        let plan = inception();
        let count = |is: fn(&Work) -> bool| plan.works.iter().filter(|work| is(work)).count();
        // 94 convolutions: seven blocks have three or four 1x1 ones of one input, mixed9 and mixed10 four, mixed8 two.
        assert_eq!(
            count(|work| matches!(work, Work::Conv { .. })),
            94 - 3 * 9 - 1
        );
        assert_eq!(count(|work| matches!(work, Work::MaxPool { .. })), 4);
        let biased = |work: &Work| matches!(work, Work::AvgPool { bias: Some(_), .. });
        assert_eq!(count(biased), 9);
        assert_eq!(plan.works.len(), 66 + 4 + 9);
    }

    /// Follows who has written which channels of what slot, as whoever computes the plan would.
    #[test]
    fn nothing_is_overwritten_before_it_is_read() {
        let plan = inception();
        let mut holds = vec![None; plan.slots.len()];
        let mut written: Vec<Vec<bool>> = plan
            .maps
            .iter()
            .map(|map| vec![false; map.channels])
            .collect();
        holds[plan.maps[0].slot] = Some(0);
        written[0].fill(true);
        for work in &plan.works {
            let from = work.reads();
            assert_eq!(holds[plan.maps[from].slot], Some(from));
            assert!(
                written[from].iter().all(|done| *done),
                "map {from} is whole"
            );
            let widths: Vec<_> = match work {
                Work::Conv { parts, .. } => parts.iter().map(|part| part.channels).collect(),
                _ => vec![match work {
                    Work::AvgPool { .. } | Work::MaxPool { .. } => plan.maps[from].channels,
                    Work::Conv { .. } => unreachable!("above"),
                }],
            };
            for (Place { map, channel }, width) in work.writes().into_iter().zip(widths) {
                let slot = plan.maps[map].slot;
                assert_ne!(slot, plan.maps[from].slot);
                if holds[slot] != Some(map) {
                    assert!(written[map].iter().all(|done| !done), "map {map} is lost");
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
            assert!(map.numbers() <= plan.slots[map.slot]);
        }
    }
}
