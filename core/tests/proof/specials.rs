//! Values that need care: what NaN, infinities, zeros of both signs and indices outside give, by definition.

use crate::support::{self, numbers, tensor};
use caudal::DType;
use caudal::run::Limits;
use caudal::run::eager::EagerOp;

const NAN: f64 = f64::NAN;
const INFINITY: f64 = f64::INFINITY;

/// An op, its attrs, its inputs (dtype, elements), and its first output.
type Row = (&'static str, &'static str, &'static [(DType, &'static [f64])], &'static [f64]);

const ROWS: &[Row] = &[
    ("max", "{}", &[(DType::F32, &[1.0, NAN, 2.0])], &[NAN]),
    ("max", "{}", &[(DType::F64, &[NAN, 1.0])], &[NAN]),
    ("max", "{}", &[(DType::F16, &[-INFINITY, -INFINITY])], &[-INFINITY]),
    ("min", "{}", &[(DType::F32, &[1.0, NAN, -2.0])], &[NAN]),
    ("argmax", "{}", &[(DType::F32, &[1.0, NAN, 2.0, NAN])], &[1.0]),
    ("argmin", "{}", &[(DType::F64, &[3.0, -0.0, 0.0])], &[1.0]),
    ("maximum", "{}", &[(DType::F32, &[NAN, 1.0, 2.0]), (DType::F32, &[1.0, NAN, 1.0])], &[NAN, NAN, 2.0]),
    ("minimum", "{}", &[(DType::F64, &[NAN, 1.0, 2.0]), (DType::F64, &[1.0, NAN, 1.0])], &[NAN, NAN, 1.0]),
    ("relu", "{}", &[(DType::F32, &[NAN, -INFINITY, INFINITY])], &[NAN, 0.0, INFINITY]),
    (
        "cast",
        r#"{"dtype": "int32"}"#,
        &[(DType::F64, &[NAN, INFINITY, -1e30, 1.9, -1.9])],
        &[0.0, 2147483647.0, -2147483648.0, 1.0, -1.0],
    ),
    ("cast", r#"{"dtype": "bool"}"#, &[(DType::F32, &[NAN, -0.0, 0.5])], &[1.0, 0.0, 1.0]),
    ("take", "{}", &[(DType::F32, &[1.0, 2.0, 3.0]), (DType::I64, &[-1.0, -3.0, 3.0, -4.0])], &[3.0, 1.0, NAN, NAN]),
    ("take", "{}", &[(DType::I32, &[1.0, 2.0]), (DType::I32, &[-2.0, 2.0])], &[1.0, 0.0]),
    ("equal", "{}", &[(DType::F32, &[NAN, 0.0]), (DType::F32, &[NAN, -0.0])], &[0.0, 1.0]),
    ("softmax", "{}", &[(DType::F64, &[0.0, INFINITY])], &[NAN, NAN]),
    ("logsumexp", "{}", &[(DType::F64, &[-INFINITY, -INFINITY])], &[-INFINITY]),
    ("sum", "{}", &[(DType::F32, &[INFINITY, -INFINITY])], &[NAN]),
    ("where", "{}", &[(DType::Bool, &[0.0, 1.0]), (DType::F32, &[NAN, 1.0]), (DType::F32, &[2.0, NAN])], &[2.0, 1.0]),
];

/// What is not as it is defined.
pub fn check() -> Vec<String> {
    let wrong = |(name, attrs, inputs, expected): &Row| {
        let operands: Vec<_> =
            inputs.iter().map(|(dtype, elements)| Some(tensor(*dtype, &[elements.len()], elements))).collect();
        let op = support::op(name, attrs).map_err(|error| error.to_string())?;
        let outputs = EagerOp::new(op).call(&operands, &Limits::none()).map_err(|error| error.to_string())?;
        let given = numbers(&outputs[0]);
        let same = |(a, b): (&f64, &f64)| a == b || (a.is_nan() && b.is_nan());
        if given.len() == expected.len() && given.iter().zip(*expected).all(same) {
            return Ok(());
        }
        Err(format!("{name} of {inputs:?} is {given:?}, not {expected:?}"))
    };
    ROWS.iter().filter_map(|row| wrong(row).err()).collect()
}
