//! Random words: Threefry-2x32 of a key and an element's number, as in `cpu::random`.

use crate::cpu::call::Layout;
use crate::dtype::DType;
use crate::gpu::kernel::{Printer, Recipe, Refusal, Request, Slot};
use crate::gpu::wgsl::{Binding, INVOCATIONS, Source};
use crate::ops::integer_range;

pub const PRINTERS: &[(&str, Printer)] =
    &[("random_bits", random_bits), ("random_split", random_split), ("fold_in", fold_in), ("randint", randint)];

/// What is left of a number, of which `rest` is left so far and `word` comes next, divided by `span`.
const REMAINDER: &str = "fn remainder(rest: vec2<u32>, word: u32, span: vec2<u32>) -> vec2<u32> {
    var x = rest;
    for (var bit = 32u; bit > 0u; bit -= 1u) {
        let is_over = x.y >= 0x80000000u;
        x = vec2<u32>((x.x << 1u) | ((word >> (bit - 1u)) & 1u), (x.y << 1u) | (x.x >> 31u));
        if (is_over || !less_u64(x, span)) {
            x = vec2<u32>(x.x - span.x, (x.y - span.y) - select(0u, 1u, x.x < span.x));
        }
    }
    return x;
}";

/// Adds what loads a key; gives its name.
pub fn load_key(source: &mut Source, binding: &Binding, layout: &Layout) -> String {
    let [first, second] = ["0u", "1u"].map(|index| binding.load(&source.offset(layout, index)));
    source.value("key", format!("vec2<u32>({first}, {second})"))
}

/// The word of a dtype that a key makes of the element of that index.
pub fn word(source: &mut Source, key: &str, index: &str, dtype: DType) -> String {
    let function = if dtype == DType::U64 { "random_u64" } else { "random_u32" };
    source.import(function);
    format!("{function}({key}, {index})")
}

/// A shader that knows Threefry and has loaded the key, the first input; the key, and the body's index and workgroups.
fn keyed(request: &Request, count: usize) -> Result<(Source, String, String, [u32; 3]), Refusal> {
    let mut source = Source::new([INVOCATIONS, 1, 1]);
    source.import("threefry");
    let binding = source.read_bits(Slot::Input(0), DType::U32);
    let (index, groups) = source.for_each(count)?;
    let key = load_key(&mut source, &binding, request.input(0)?);
    Ok((source, key, index, groups))
}

fn random_bits(request: &Request) -> Result<Recipe, Refusal> {
    let output = request.output(0)?;
    let (mut source, key, index, groups) = keyed(request, output.elements())?;
    let y = source.write_bits(Slot::Output(0), output.dtype);
    let word = word(&mut source, &key, &index, output.dtype);
    source.line(y.store(&index, &word));
    Ok(Recipe::of(source.launch(groups)))
}

fn random_split(request: &Request) -> Result<Recipe, Refusal> {
    let output = request.output(0)?;
    let (mut source, key, index, groups) = keyed(request, output.elements() / 2)?;
    let y = source.write_bits(Slot::Output(0), output.dtype);
    source.line(format!("let words = threefry({key}, vec2<u32>(0u, {index}));"));
    source.line(y.store(&format!("2u * {index}"), "words.x"));
    source.line(y.store(&format!("(2u * {index}) + 1u"), "words.y"));
    Ok(Recipe::of(source.launch(groups)))
}

fn fold_in(request: &Request) -> Result<Recipe, Refusal> {
    let (data, output) = (request.input(1)?, request.output(0)?);
    let (mut source, key, _, groups) = keyed(request, 1)?;
    let number = source.read_bits(Slot::Input(1), data.dtype).load("0u");
    let y = source.write_bits(Slot::Output(0), output.dtype);
    let low = if data.dtype.size() == 8 { format!("{number}.x") } else { number };
    source.line(format!("let words = threefry({key}, vec2<u32>(0u, {low}));"));
    source.line(y.store("0u", "words.x"));
    source.line(y.store("1u", "words.y"));
    Ok(Recipe::of(source.launch(groups)))
}

fn randint(request: &Request) -> Result<Recipe, Refusal> {
    let output = request.output(0)?;
    let (mut source, key, index, groups) = keyed(request, output.elements())?;
    ["less_u64", "add_u64"].iter().for_each(|function| source.import(function));
    source.declare(REMAINDER);
    let y = source.write_bits(Slot::Output(0), output.dtype);
    let (low, span) = integer_range(request.attrs, output.dtype);
    let mut pair = |number: u64| {
        let (low, high) = (source.param(number as u32), source.param((number >> 32) as u32));
        format!("vec2<u32>({low}, {high})")
    };
    let (low, span) = (pair(low as u64), pair(span));
    source.line(format!("let span = {span};"));
    source.line("var rest = vec2<u32>(0u, 0u);");
    for draw in 0..2 {
        source.line(format!(
            "let words_{draw} = threefry(threefry({key}, vec2<u32>(0u, {draw}u)), vec2<u32>(0u, {index}));"
        ));
        let words = match output.dtype.size() {
            8 => vec![format!("words_{draw}.x"), format!("words_{draw}.y")],
            _ => vec![format!("words_{draw}.x ^ words_{draw}.y")],
        };
        words.iter().for_each(|word| source.line(format!("rest = remainder(rest, {word}, span);")));
    }
    let result = format!("add_u64({low}, rest)");
    source.line(y.store(&index, &if output.dtype.size() == 8 { result } else { format!("{result}.x") }));
    Ok(Recipe::of(source.launch(groups)))
}

#[cfg(all(test, feature = "gpu"))]
mod tests {
    use crate::dtype::DType;
    use crate::gpu::testing::{check, check_samples};
    use crate::tensor::Tensor;
    use std::slice::from_ref;

    #[test]
    fn words_are_those_of_the_cpu() {
        check_samples(&["random_bits", "random_split", "fold_in", "randint"], 0.0, false);
        let key = Some(Tensor::from_slice(DType::U32, &[2], &[0xdead_beef_u32, 0xffff_fff0]).unwrap());
        for attrs in [r#"{"shape": [1003]}"#, r#"{"shape": [1003], "dtype": "uint64"}"#] {
            check("random_bits", attrs, from_ref(&key), 0.0, false);
        }
        for attrs in [
            r#"{"shape": [500], "low": -1, "high": 2147483648, "dtype": "int32"}"#,
            r#"{"shape": [500], "low": 7, "high": 1099511627783, "dtype": "uint64"}"#,
            r#"{"shape": [500], "low": -9223372036854775808, "high": 9223372036854775806, "dtype": "int64"}"#,
        ] {
            check("randint", attrs, from_ref(&key), 0.0, false);
        }
        let number = Some(Tensor::from_slice(DType::I64, &[], &[-3i64]).unwrap());
        check("fold_in", "{}", &[key, number], 0.0, false);
    }
}
