//! A product and the element-wise ops behind it in one step: each part of the product goes through a tape as soon as it is
//! final, in the task that made it. The product is computed in the memory of one of the step's outputs, which the tape
//! then writes over, unless that output is the product itself.

use super::call::{Call, Layout, List, Target, View};
use super::gemm::Part;
use super::tape::{Ends, Tape};
use super::work::{Stop, Work};
use crate::attrs::Attrs;
use crate::op::Kernel;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicBool, Ordering};

/// A product with what follows it.
#[derive(Debug, Clone)]
pub struct Epilogue {
    /// The product's kernel.
    pub kernel: Kernel,
    /// Which of the step's inputs it takes.
    pub operands: Vec<usize>,
    /// What follows: its inputs are the step's, then the product.
    pub tape: Tape,
    /// The output in whose memory the product is computed; it has the product's shape and dtype.
    pub target: usize,
}

impl Epilogue {
    /// A bound of the bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Epilogue>() + self.tape.bytes() + self.operands.capacity() * size_of::<usize>()
    }

    /// Bytes of workspace for the layouts of the step's inputs and outputs, and the product's attrs.
    pub fn workspace(&self, attrs: &Attrs, inputs: &[Layout], outputs: &[Layout]) -> u64 {
        let operands: List<_> = self.operands.iter().map(|&index| inputs[index].clone()).collect();
        (self.kernel.workspace)(attrs, &operands, std::slice::from_ref(&outputs[self.target]))
    }

    /// Computes the outputs, which overlap no input.
    ///
    /// # Errors
    /// What stopped the work; `OutOfMemory` if a thread gets no scratch memory.
    ///
    /// # Panics
    /// If number, dtypes or shapes are not those of the region.
    pub fn run(
        &self,
        attrs: &Attrs,
        inputs: &[View],
        outputs: &mut [Target],
        workspace: &mut [u8],
        mut work: Work,
    ) -> Result<(), Stop> {
        let (data, layout) = (outputs[self.target].pointer(), outputs[self.target].layout());
        if layout.elements() == 0 {
            return work.parallel(0, |_| ());
        }
        let mut views: SmallVec<[View; 16]> = SmallVec::new();
        views.try_reserve(inputs.len() + 1).map_err(|_| Stop::OutOfMemory)?;
        views.extend(inputs.iter().copied());
        // SAFETY: an output's memory, which the tape reads at the places alone that it then writes.
        views.push(unsafe { View::new(data, layout.bytes(), layout) });
        let ends = Ends::new(&self.tape, &views, outputs)?;
        let address = data.addr();
        let is_short = AtomicBool::new(false);
        let finish = |first: *mut u8, part: Part| {
            // The kernel has the memory for itself meanwhile, and lends it by this pointer.
            let ends = ends.moved(address, first);
            let enough = ends.run(&self.tape).with_scratch(part.elements(), |worker| {
                worker.in_order = false;
                for run in part.runs() {
                    // SAFETY: the kernel hands each element to one thread, when it is final.
                    unsafe { worker.range(run.start, run.end, &mut |_, _| ()) };
                }
            });
            if !enough {
                is_short.store(true, Ordering::Relaxed);
            }
        };
        let operands: SmallVec<[Option<View>; 2]> = self.operands.iter().map(|&index| Some(inputs[index])).collect();
        // SAFETY: the output's memory; the tape uses it only while the kernel lends it.
        let mut target = [unsafe { Target::new(data, layout) }];
        let mut call = Call { attrs, inputs: &operands, outputs: &mut target, workspace, work, finish: Some(&finish) };
        let done = (self.kernel.run)(&mut call);
        if is_short.into_inner() { Err(Stop::OutOfMemory) } else { done }
    }
}
