//! Every op against the answers of NumPy that `tests/vectors/vectors.safetensors` holds; `write.py` beside it says what
//! is in it.

use super::properties::numbers;
use crate::support;
use caudal::json::{self, Json};
use caudal::run::Limits;
use caudal::run::eager::EagerOp;
use caudal::{Attrs, DType, Op, Tensor, ops};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/vectors.safetensors");

struct Vectors {
    header: Json,
    data: Vec<u8>,
}

impl Vectors {
    fn read() -> Vectors {
        let file = std::fs::read(FILE).unwrap_or_else(|error| panic!("{FILE}: {error}"));
        let (length, rest) = file.split_at(8);
        let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let header = json::parse(std::str::from_utf8(header).unwrap()).unwrap();
        Vectors { header, data: data.to_vec() }
    }

    fn tensor(&self, name: &str) -> Option<Tensor> {
        let entry = self.header.get(name)?;
        let integers = |key: &str| -> Vec<usize> {
            let list = entry[key].as_array().expect("a list");
            list.iter().map(|number| number.as_u64().expect("a number") as usize).collect()
        };
        let dtype = DType::parse(&dtype_name(entry["dtype"].as_str().expect("a dtype"))).unwrap();
        let range = integers("data_offsets");
        Some(Tensor::from_bytes(dtype, &integers("shape"), &self.data[range[0]..range[1]], None).unwrap())
    }
}

/// The name of a dtype of safetensors.
fn dtype_name(code: &str) -> String {
    match code.split_at(code.find(|c: char| c.is_ascii_digit()).unwrap_or(code.len())) {
        ("BF", _) => "bfloat16".into(),
        ("BOOL", _) => "bool".into(),
        ("F", bits) => format!("float{bits}"),
        ("I", bits) => format!("int{bits}"),
        (_, bits) => format!("uint{bits}"),
    }
}

/// What differs, of all cases; and how many cases there are.
pub fn check() -> (usize, Vec<String>) {
    let vectors = Vectors::read();
    let cases = json::parse(vectors.header["__metadata__"]["cases"].as_str().expect("text")).unwrap();
    let cases = cases.as_array().expect("a list");
    (cases.len(), cases.iter().filter_map(|case| run(&vectors, case).err()).collect())
}

fn run(vectors: &Vectors, case: &Json) -> Result<(), String> {
    let name = case["case"].as_str().expect("a name");
    let def = ops::find(case["op"].as_str().expect("an op")).map_err(|error| error.to_string())?;
    let attrs = Attrs::from_json(def, case["attrs"].as_object().expect("attrs"));
    let attrs = attrs.map_err(|error| format!("{name}: {error}"))?;
    let present = case["inputs"].as_array().expect("a list").iter().enumerate();
    let inputs = present.map(|(index, _)| vectors.tensor(&format!("{name}/input_{index}"))).collect::<Vec<_>>();
    let outputs = EagerOp::new(Op { def, attrs }).call(&inputs, &Limits::none());
    for (index, output) in outputs.map_err(|error| format!("{name}: {error}"))?.iter().enumerate() {
        let expected = vectors.tensor(&format!("{name}/output_{index}"));
        let expected = expected.ok_or_else(|| format!("{name}: output {index} has no answer"))?;
        let allowed = (case["ulp"].as_f64().unwrap_or(0.0), case["near"][index].as_f64().unwrap_or(0.0));
        if output.spec() != expected.spec() || !is_near(output, &expected, allowed) {
            return Err(format!("{name}: output {index} is {}, not {}", numbers(output), numbers(&expected)));
        }
    }
    Ok(())
}

/// Whether each element is within so many units in the last place, or differs by so little.
fn is_near(output: &Tensor, expected: &Tensor, (ulp, near): (f64, f64)) -> bool {
    let (digits, least) = match output.dtype() {
        DType::F16 => (11, -14),
        DType::BF16 => (8, -126),
        DType::F32 => (24, -126),
        DType::F64 => (53, -1022),
        // Numbers that float64 cannot hold must be the same too.
        _ => return output.bytes() == expected.bytes(),
    };
    let unit = |value: f64| {
        let exponent = if value == 0.0 { least } else { (value.abs().log2().floor() as i32).max(least) };
        2f64.powi(exponent + 1 - digits)
    };
    let pairs = support::numbers(output).into_iter().zip(support::numbers(expected));
    pairs.into_iter().all(|(a, b)| {
        a == b
            || (a.is_nan() && b.is_nan())
            || (a.is_finite() && b.is_finite() && (a - b).abs() <= near.max(ulp * unit(b)))
    })
}
