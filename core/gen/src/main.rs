//! `make gen`: writes every generated file from the op records and the C API's source.

mod go;
mod header;
mod python;
mod record;
mod reference;
mod samples;
mod typescript;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

/// A generated file: its path in the repository, and its text.
type Generated = (&'static str, String);

fn generate(root: &Path) -> Result<Vec<Generated>, String> {
    let header = header::caudal_h(&root.join("c_api"))?;
    let symbols = header::symbols(&header);
    Ok(vec![
        ("go/internal/engine/functions.go", go::functions_go(&symbols)),
        ("go/internal/native/call.h", go::call_h(&symbols)),
        ("c_api/symbols.txt", symbols),
        ("c_api/include/caudal.h", header),
        ("python/caudal/ops.py", python::ops()),
        ("go/ops/ops.go", go::ops()),
        ("js/src/ops.ts", typescript::ops()),
        ("docs/ops.md", reference::ops()),
        ("tests/vectors/samples.json", samples::json()),
    ])
}

fn main() -> ExitCode {
    let check = match env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(_) => {
            println!(
                "usage: caudal-gen [--check]\n\nWrites the generated files; with --check only says which would change."
            );
            return ExitCode::SUCCESS;
        }
    };
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    match generate(&root).and_then(|files| write(&root, files, check)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) if !check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Writes what has changed; gives how many files that are.
fn write(root: &Path, files: Vec<Generated>, check: bool) -> Result<usize, String> {
    let mut changed = 0;
    for (name, text) in files {
        let path = root.join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == text) {
            continue;
        }
        changed += 1;
        println!("{} {name}", if check { "would change" } else { "wrote" });
        if !check {
            let folder = path.parent().unwrap_or(root);
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&path, text))
                .map_err(|error| format!("{name}: {error}"))?;
        }
    }
    Ok(changed)
}
