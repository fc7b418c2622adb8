//! Files of every release load in this one and train on with the losses that they promise.

use caudal::json::{Json, to_float};
use caudal::run::{Limits, Session};
use caudal::save;
use std::path::Path;
use std::sync::Arc;

#[test]
fn files_of_every_release_load_and_train_on() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "caudal") {
            continue;
        }
        files += 1;
        let program = save::open(&path, None).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let Json::Array(expected) = program.metadata.clone() else { panic!("{}: no losses", path.display()) };
        let session = Session::new(Arc::new(program), Limits::none());
        let batch = session.run("batch", &[]).unwrap();
        for expected in &expected {
            let loss = session.run("train_step", &batch).unwrap()[0].elements::<f32>().unwrap()[0];
            let expected = to_float(expected).unwrap() as f32;
            // Products round once or twice depending on the machine's fused multiply-add.
            assert!((loss - expected).abs() < 1e-5, "{}: {loss} {expected}", path.display());
        }
    }
    assert!(files > 0, "no fixture was found");
}
