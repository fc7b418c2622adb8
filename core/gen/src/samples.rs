//! The ops' samples as JSON: what the tests of every language run.

use caudal::json::{Json, Map, parse, write};
use caudal::op::{Accepts, Arity, OpDef};
use caudal::ops;

fn object(entries: impl IntoIterator<Item = (&'static str, Json)>) -> Json {
    Json::Object(entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect::<Map<_, _>>())
}

fn op(def: &OpDef) -> Json {
    let dtypes: Json = def.dtypes.iter().map(|dtype| dtype.name()).collect();
    let inputs = def.inputs.iter().map(|input| {
        let arity = match input.arity {
            Arity::One => "one",
            Arity::Optional => "optional",
            Arity::Variadic(_) => "variadic",
        };
        let takes_t = input.accepts == Accepts::T;
        object([("name", input.name.into()), ("arity", arity.into()), ("t", takes_t.into())])
    });
    let samples = def.samples.iter().map(|sample| {
        let attrs = parse(sample.attrs).unwrap_or_else(|error| panic!("{}: sample attrs: {error}", def.name));
        object([("inputs", sample.inputs.to_vec().into()), ("attrs", attrs)])
    });
    let gradient = !matches!(def.vjp, caudal::op::Vjp::NotDifferentiable(_));
    object([
        ("name", def.name.into()),
        ("version", def.version.into()),
        ("dtypes", dtypes),
        ("inputs", inputs.collect()),
        ("outputs", def.outputs.to_vec().into()),
        ("differentiable", gradient.into()),
        ("samples", samples.collect()),
    ])
}

/// The samples of every op, a line each.
pub fn json() -> String {
    let lines: Vec<_> = ops::all().map(|def| write(&op(def))).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}
