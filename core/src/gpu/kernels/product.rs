//! dot_general.

use super::gemm::Product;
use super::operand::Matrix;
use crate::cpu::call::Layout;
use crate::gpu::kernel::{Launch, Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{INVOCATIONS, Source};
use crate::ops::linear::{Matrices, Products};

pub const PRINTERS: &[(&str, Printer)] = &[("dot_general", dot_general)];

fn dot_general(request: &Request) -> Result<Recipe, Refusal> {
    let (x, y) = (request.input(0)?, request.input(1)?);
    let refuse = || Refusal("the axes do not fit".into());
    let products = Products::new(request.attrs, x, y).ok_or_else(refuse)?;
    let mut recipe = Recipe::default();
    let x_slot = lay_out(&mut recipe, &products.x, 0)?;
    let y_slot = lay_out(&mut recipe, &products.y, 1)?;
    let matrix = |slot, matrices: &Matrices, free, inner| {
        let (sizes, strides) = (products.batch.clone(), matrices.batch.clone());
        let batch = Layout { dtype: x.dtype, sizes, strides, offset: matrices.offset };
        Matrix { slot, batch, free, inner: (products.k, inner), outer: None }
    };
    let (m, n) = (products.m, products.n);
    let product = Product {
        dtype: x.dtype,
        batch: products.batch.iter().product(),
        sizes: [m, n],
        outer: None,
        inner: products.k,
        operands: [
            &matrix(x_slot, &products.x, (m, products.x.row), products.x.column),
            &matrix(y_slot, &products.y, (n, products.y.column), products.y.row),
        ],
        strides: [m * n, n],
    };
    product.print(request, &mut recipe)?;
    Ok(recipe)
}

/// The memory in which an input's axes are those of matrices: its own, or a workspace that it is copied to.
fn lay_out(recipe: &mut Recipe, matrices: &Matrices, index: usize) -> Result<Slot, Refusal> {
    if !matrices.copied {
        return Ok(Slot::Input(index));
    }
    let work = recipe.work(matrices.layout.bytes() as u64);
    recipe.launches.push(copy(&matrices.layout, Slot::Input(index), work)?);
    Ok(work)
}

/// The elements of a view in row-major order.
fn copy(layout: &Layout, from: Slot, to: Slot) -> Result<Launch, Refusal> {
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let (x, y) = (source.read_bits(from, layout.dtype), source.write_bits(to, layout.dtype));
    let (index, groups) = source.for_each(layout.elements())?;
    let offset = source.offset(layout, &index);
    source.line(y.store(&index, &x.load(&offset)));
    Ok(source.launch(groups))
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::cpu::call::Layout;
    use crate::cpu::memory::cast_slice;
    use crate::cpu::single::compute;
    use crate::dtype::DType;
    use crate::gpu::testing::{Draw, adapters, assert_close, check, check_as_any, check_samples, op, run_on};
    use crate::tensor::Tensor;

    const MATMUL: &str = r#"{"x_contract": [1], "y_contract": [0]}"#;
    const BATCHED: &str = r#"{"x_batch": [0], "y_batch": [0], "x_contract": [2], "y_contract": [1]}"#;

    #[test]
    fn every_sample() {
        check_samples(&["dot_general"], 8.0, true);
    }

    #[test]
    fn sizes_that_fill_no_block() {
        let mut draw = Draw::new(3);
        for [m, k, n] in [
            [1, 1, 1],
            [1, 64, 33],
            [65, 64, 1],
            [5, 7, 6],
            [4, 4, 4],
            [12, 20, 8],
            [70, 33, 66],
            [64, 64, 64],
            [130, 12, 36],
            [0, 3, 2],
            [3, 0, 40],
            [33, 0, 70],
            [3, 5, 0],
        ] {
            let inputs = [&[m, k], &[k, n]].map(|sizes| Some(draw.tensor(DType::F32, sizes, (-1.0, 1.0))));
            check_as_any("dot_general", MATMUL, &inputs, 16.0);
            let inputs = [&[3, m, k], &[3, k, n]].map(|sizes| Some(draw.tensor(DType::F32, sizes, (-1.0, 1.0))));
            check_as_any("dot_general", BATCHED, &inputs, 16.0);
        }
        check(
            "dot_general",
            BATCHED,
            &[&[0, 2, 3], &[0, 3, 2]].map(|s| Some(draw.tensor(DType::F32, s, (0.0, 1.0)))),
            0.0,
            false,
        );
    }

    #[test]
    fn operands_lie_in_any_order() {
        let mut draw = Draw::new(4);
        for (x, y) in [(0, 0), (0, 1), (1, 1)] {
            let attrs = format!(r#"{{"x_contract": [{x}], "y_contract": [{y}]}}"#);
            for dtype in [DType::F32, DType::BF16] {
                let inputs = [(); 2].map(|()| Some(draw.tensor(dtype, &[36, 36], (-9.0, 9.0))));
                check_as_any("dot_general", &attrs, &inputs, 8.0);
            }
        }
        let inputs = [(); 2].map(|()| Some(draw.tensor(DType::F16, &[36, 36], (-9.0, 9.0))));
        check_as_any("dot_general", MATMUL, &inputs, 8.0);
    }

    #[test]
    fn integers_wrap() {
        for dtype in [DType::I8, DType::U16, DType::I32, DType::U32, DType::I64, DType::U64] {
            let bytes = |seed: u8, count: usize| -> Vec<u8> {
                (0..count * dtype.size()).map(|i| (i as u8).wrapping_mul(91).wrapping_add(seed)).collect()
            };
            let tensor = |seed| Some(Tensor::from_bytes(dtype, &[20, 20], &bytes(seed, 400), None).unwrap());
            check_as_any("dot_general", MATMUL, &[tensor(1), tensor(200)], 0.0);
        }
    }

    #[test]
    fn long_sums_are_cut() {
        let mut draw = Draw::new(5);
        // Sums of small whole numbers are exact in any order.
        for (m, k, n) in [(2, 100_000, 3), (9, 40_001, 16), (1, 300_000, 1)] {
            let inputs = [&[m, k], &[k, n]].map(|sizes| Some(draw.whole(DType::F32, sizes)));
            check_as_any("dot_general", MATMUL, &inputs, 0.0);
        }
        let inputs = [&[2, 70_000], &[70_000, 2]].map(|sizes| Some(draw.tensor(DType::I64, sizes, (-9.0, 9.0))));
        check_as_any("dot_general", MATMUL, &inputs, 0.0);
    }

    /// What a view shows, as a tensor of its own.
    fn shown(root: &Tensor, view: &Layout) -> Tensor {
        let root = cast_slice::<f32>(root.bytes());
        let element = |index: usize| {
            let mut rest = index as isize;
            let axes = view.sizes.iter().zip(&view.strides).rev();
            let at = axes.fold(view.offset as isize, |at, (&size, &stride)| {
                let at = at + rest % size as isize * stride;
                rest /= size as isize;
                at
            });
            root[at as usize].to_le_bytes()
        };
        let bytes: Vec<u8> = (0..view.elements()).flat_map(element).collect();
        Tensor::from_bytes(DType::F32, &view.sizes, &bytes, None).unwrap()
    }

    #[test]
    fn views_are_read_in_place() {
        let mut draw = Draw::new(6);
        let roots = [(); 2].map(|()| draw.tensor(DType::F32, &[6000], (-1.0, 1.0)));
        let view = |sizes: &[usize], strides: &[isize], offset| Layout {
            dtype: DType::F32,
            sizes: sizes.into(),
            strides: strides.into(),
            offset,
        };
        let table = [
            // Transposed, with an offset, every other row, reversed, repeated.
            (MATMUL, view(&[40, 36], &[1, 40], 0), view(&[36, 44], &[1, 36], 4)),
            (MATMUL, view(&[40, 36], &[72, 1], 8), view(&[36, 44], &[44, 1], 3)),
            (MATMUL, view(&[40, 36], &[-36, 1], 36 * 39), view(&[36, 44], &[-1, 36], 50)),
            (MATMUL, view(&[40, 36], &[0, 1], 0), view(&[36, 44], &[44, 0], 0)),
            (BATCHED, view(&[3, 40, 36], &[0, 36, 1], 0), view(&[3, 36, 44], &[44, 132, 1], 0)),
            // Axes that make no matrix.
            (
                r#"{"x_contract": [0, 2], "y_contract": [1, 0]}"#,
                view(&[3, 40, 8], &[320, 8, 1], 5),
                view(&[8, 3, 36], &[108, 36, 1], 0),
            ),
        ];
        for (attrs, x, y) in table {
            let op = op("dot_general", attrs);
            let expected = compute(&op, &[Some(shown(&roots[0], &x)), Some(shown(&roots[1], &y))]).unwrap();
            let inputs = roots.clone().map(Some);
            for adapter in adapters() {
                let given = run_on(&op, &inputs, &[Some(&x), Some(&y)], &adapter).unwrap();
                let what = format!("{attrs} {x:?} {y:?}, software {}", adapter.is_software);
                assert_close(&what, &given[0], &expected[0], 16.0, true);
            }
        }
    }
}
