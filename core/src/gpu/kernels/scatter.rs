//! Updates of elements by index. Each element of the result looks for its updates and joins them in order, so sums are
//! those of the CPU, whatever runs first. Of a few updates it looks at all; more are sorted by place before.

use super::fold::Fold;
use super::places::Places;
use super::sort::sort_words;
use crate::dtype::DType;
use crate::gpu::command::Access;
use crate::gpu::kernel::{Launch, Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{INVOCATIONS, Source};

pub const PRINTERS: &[(&str, Printer)] = &[("scatter", scatter), ("scatter_add", scatter_add)];

/// Updates that an element looks at, or joins, in one launch.
const SHARE: usize = 16_000;

/// Updates, and pairs of an element and an update, that are looked at without sorting.
const FEW: usize = 16;
const PAIRS: usize = 1 << 20;

fn scatter(request: &Request) -> Result<Recipe, Refusal> {
    let (x, mode) = (request.input(0)?, request.attrs.text("mode")?);
    let places = Places::of_tuples(request.attrs, x, request.input(1)?)?;
    let fold = match &*mode {
        "set" => Fold::last(x.dtype),
        // The sum of two bools is whether either is true.
        "add" if x.dtype != DType::Bool => Fold::rounded_sum(x.dtype)?,
        mode => Fold::extreme(x.dtype, mode == "min"),
    };
    joined(request, &places, &fold)
}

fn scatter_add(request: &Request) -> Result<Recipe, Refusal> {
    let x = request.input(0)?;
    let places = Places::along_axis(request.attrs, x, request.input(1)?)?;
    joined(request, &places, &Fold::rounded_sum(x.dtype)?)
}

/// The updates of each place: all numbers, or those that follow each other in workspaces.
#[derive(Clone, Copy)]
enum Order {
    AsGiven,
    Sorted { places: Slot, numbers: Slot },
}

fn joined(request: &Request, places: &Places, fold: &Fold) -> Result<Recipe, Refusal> {
    let mut recipe = Recipe::default();
    let elements = request.output(0)?.elements();
    let is_little = places.count.saturating_mul(elements) <= PAIRS;
    let order = match places.count <= FEW || (places.count <= SHARE && is_little) {
        true => Order::AsGiven,
        false => sorted(&mut recipe, places)?,
    };
    // What is there so far moves from one workspace to the other.
    let launches = places.count.div_ceil(SHARE).max(1);
    let room: Vec<_> = (1..launches.min(3)).map(|_| recipe.work((elements * fold.bytes()) as u64)).collect();
    for number in 0..launches {
        let from = if number == 0 { Slot::Input(0) } else { room[(number - 1) % room.len()] };
        let to = if number + 1 == launches { Slot::Output(0) } else { room[number % room.len()] };
        recipe.launches.push(share(request, places, fold, order, number * SHARE, (from, to))?);
    }
    Ok(recipe)
}

/// Sorts the updates of each group by place.
fn sorted(recipe: &mut Recipe, places: &Places) -> Result<Order, Refusal> {
    let rows = if places.is_shared { 1 } else { places.groups };
    let count = rows * places.count;
    let work = recipe.work(4 * count as u64);
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    places.declare(&mut source, Slot::Input(1))?;
    let y = source.raw(work, Access::Write, "array<u32>");
    let (index, groups) = source.for_each(count)?;
    source.line(format!("{}[{index}] = place_of({index});", y.name));
    recipe.launches.push(source.launch(groups));
    let (places, numbers) = sort_words(recipe, work, rows, places.count)?;
    Ok(Order::Sorted { places, numbers })
}

/// Joins updates from that number on: of all, or of those of each place.
fn share(
    request: &Request,
    places: &Places,
    fold: &Fold,
    order: Order,
    first: usize,
    (from, to): (Slot, Slot),
) -> Result<Launch, Refusal> {
    let output = request.output(0)?;
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    let (is_first, is_last) = (from == Slot::Input(0), to == Slot::Output(0));
    let read = |source: &mut Source, slot| match fold.reads_bits {
        true => Ok(source.read_bits(slot, output.dtype)),
        false => source.read(slot, output.dtype),
    };
    let x = match is_first {
        true => read(&mut source, from)?,
        false => source.raw(from, Access::Read, fold.array()),
    };
    let updates = read(&mut source, Slot::Input(2))?;
    let y = match is_last {
        true if fold.reads_bits => source.write_bits(to, output.dtype),
        true => source.write(to, output.dtype)?,
        false => source.raw(to, Access::Write, fold.array()),
    };
    fold.declare(&mut source, true, is_last);
    let sorted = match order {
        Order::AsGiven => {
            places.declare(&mut source, Slot::Input(1))?;
            None
        }
        Order::Sorted { places, numbers } => Some((
            source.raw(places, Access::Read, "array<u32>").name,
            source.raw(numbers, Access::Read, "array<u32>").name,
        )),
    };
    let (index, groups) = source.for_each(output.elements())?;
    let (count, inner) = (source.size(places.count as i64), source.size(places.inner as i64));
    let (size, first) = (source.size(places.places() as i64), source.size(first as i64));
    source.line(format!("let column = {index} % {inner};"));
    source.line(format!("let place = ({index} / {inner}) % {size};"));
    source.line(format!("let of_group = {index} / ({inner} * {size});"));
    source.line(format!("let row = {};", if places.is_shared { "0u".into() } else { format!("of_group * {count}") }));
    let load = |index: &str| (fold.element)(&x.load(index), "0u");
    source.line(format!("var total = {};", if is_first { load(&index) } else { format!("{}[{index}]", x.name) }));
    let begin = match &sorted {
        None => first,
        Some((places, _)) => {
            source.line("var low = 0u;");
            source.line(format!("var high = {count};"));
            source.line("while (low < high) {");
            source.line("let middle = (low + high) / 2u;");
            source.line(format!(
                "if ({places}[row + middle] < place) {{ low = middle + 1u; }} else {{ high = middle; }}"
            ));
            source.line("}");
            format!("(low + {first})")
        }
    };
    source.line(format!("let end = min({count}, {begin} + {SHARE}u);"));
    source.line(format!("for (var at = {begin}; at < end; at += 1u) {{"));
    let number = match &sorted {
        None => {
            source.line("if (place_of(row + at) != place) { continue; }");
            "at".into()
        }
        Some((places, numbers)) => {
            source.line(format!("if ({places}[row + at] != place) {{ break; }}"));
            format!("{numbers}[row + at]")
        }
    };
    let update = updates.load(&format!("(((of_group * {count}) + {number}) * {inner}) + column"));
    source.line(format!("total = join(total, {});", (fold.element)(&update, "0u")));
    source.line("}");
    source.line(match is_last {
        true => y.store(&index, &(fold.result)("total")),
        false => format!("{}[{index}] = total;", y.name),
    });
    Ok(source.launch(groups))
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::dtype::DType;
    use crate::gpu::testing::{Draw, check, check_samples};
    use crate::tensor::Tensor;

    const MODES: [&str; 4] = ["set", "add", "max", "min"];

    #[test]
    fn samples_are_scattered_as_on_the_cpu() {
        check_samples(&["scatter", "scatter_add"], 0.0, false);
    }

    /// Sums are in the order of the CPU, so they are equal to the bit.
    #[test]
    fn sorted_updates_keep_their_order() {
        let mut draw = Draw::new(11);
        let indices = Some(draw.tensor(DType::I32, &[900], (-350.0, 350.0)));
        let tuples = Some(draw.tensor(DType::I64, &[2, 700, 2], (-12.0, 12.0)));
        for dtype in [DType::F32, DType::F16, DType::I8, DType::I64, DType::BF16] {
            let x = Some(draw.tensor(dtype, &[300, 5], (-9.0, 9.0)));
            let updates = Some(draw.tensor(dtype, &[900, 5], (-9.0, 9.0)));
            check("scatter_add", "{}", &[x, indices.clone(), updates], 0.0, false);
            let x = Some(draw.tensor(dtype, &[2, 10, 11, 9], (-9.0, 9.0)));
            let updates = Some(draw.tensor(dtype, &[2, 700, 9], (-9.0, 9.0)));
            for mode in MODES {
                let attrs = format!(r#"{{"mode": "{mode}", "batch_dims": 1}}"#);
                check("scatter", &attrs, &[x.clone(), tuples.clone(), updates.clone()], 0.0, false);
            }
        }
    }

    #[test]
    fn more_updates_of_a_place_than_a_loop_takes_are_joined() {
        let mut draw = Draw::new(12);
        let indices = Some(draw.tensor(DType::I32, &[40_000, 1], (0.0, 2.9)));
        for (dtype, modes) in [(DType::F32, &MODES[..]), (DType::F16, &["add"]), (DType::U64, &["add", "max"])] {
            let x = Some(draw.tensor(dtype, &[3], (0.0, 0.5)));
            let updates = Some(draw.tensor(dtype, &[40_000], (0.0, 0.5)));
            for mode in modes {
                let attrs = format!(r#"{{"mode": "{mode}"}}"#);
                check("scatter", &attrs, &[x.clone(), indices.clone(), updates.clone()], 0.0, false);
            }
        }
    }

    #[test]
    fn nan_is_taken_and_extreme_indices_are_dropped() {
        let x = Tensor::from_slice(DType::F32, &[4], &[1.0f32, f32::NAN, -0.0, f32::INFINITY]).unwrap();
        let at = Tensor::from_slice(DType::I64, &[6, 1], &[0i64, 1, i64::MIN, 1 << 32, -1, 3]).unwrap();
        let updates =
            Tensor::from_slice(DType::F32, &[6], &[f32::NAN, 2.0, 3.0, 4.0, -5.0, f32::NEG_INFINITY]).unwrap();
        for mode in MODES {
            let inputs = [Some(x.clone()), Some(at.clone()), Some(updates.clone())];
            check("scatter", &format!(r#"{{"mode": "{mode}"}}"#), &inputs, 0.0, false);
        }
    }
}
