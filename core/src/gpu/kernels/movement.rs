//! Kernels that move elements and compute nothing: they see bits, so one shader serves all dtypes of a width.

use crate::dtype::DType;
use crate::gpu::kernel::{Launch, Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{INVOCATIONS, Source};

pub const PRINTERS: &[(&str, Printer)] = &[("dense", dense)];

/// The elements of a view in row-major order.
pub fn dense(request: &Request) -> Result<Recipe, Refusal> {
    let (from, to) = (request.input(0)?, request.output(0)?);
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let x = source.read_bits(Slot::Input(0), from.dtype);
    let y = source.write_bits(Slot::Output(0), to.dtype);
    let (index, groups) = source.for_each(to.elements())?;
    let offset = source.offset(from, &index);
    source.line(y.store(&index, &x.load(&offset)));
    Ok(Recipe::of(source.launch(groups)))
}

/// Copies bytes from an offset in `Input(0)` to one in `Output(0)`.
///
/// # Errors
/// More than 32 bits count.
pub fn copy_bytes(from: u64, to: u64, bytes: usize) -> Result<Launch, Refusal> {
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let x = source.read_bits(Slot::Input(0), DType::U8);
    let y = source.write_bits(Slot::Output(0), DType::U8);
    let (index, groups) = source.for_each(bytes)?;
    let [from, to] = [from, to].map(|offset| source.size(offset as i64));
    source.line(y.store(&format!("{to} + {index}"), &x.load(&format!("{from} + {index}"))));
    Ok(source.launch(groups))
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::dtype::DType;
    use crate::gpu::testing::{Draw, check};

    #[test]
    fn dense_of_every_width() {
        let mut draw = Draw::new(1);
        for dtype in [DType::Bool, DType::I8, DType::BF16, DType::F32, DType::I64, DType::F64] {
            for sizes in [&[][..], &[7], &[3, 5], &[0, 4], &[300, 11]] {
                check("dense", "{}", &[Some(draw.tensor(dtype, sizes, (0.0, 1.0)))], 0.0, false);
            }
        }
    }
}
