//! The files of tests/attacks: each does what `attacks.json` says, within its limits.

use crate::{OVERHEAD, allocator};
use caudal::json::{self, Json};
use caudal::run::{Limits, Session};
use caudal::{Result, save};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/attacks")
}

fn call(path: &Path, limits: &Limits) -> Result<()> {
    let program = save::open(path, Some(limits))?;
    let session = Session::new(Arc::new(program), limits.clone());
    session.run("f", &[]).map(drop)
}

#[test]
fn every_attack_ends_as_it_is_written() {
    let attacks = json::parse(&std::fs::read_to_string(folder().join("attacks.json")).unwrap()).unwrap();
    let (mut names, mut failures) = (Vec::new(), Vec::new());
    for (name, attack) in attacks.as_object().unwrap() {
        let path = folder().join("files").join(format!("{name}.caudal"));
        let seconds = attack["seconds"].as_f64().unwrap_or(0.0);
        let limits = Limits::new(attack["memory"].as_u64().unwrap_or(64 << 20), seconds);
        let opens = attack.get("open").is_none();
        let expected = if opens { &attack["call"] } else { &attack["open"] };
        let expected = expected.as_str().unwrap().replace("{file}", &path.display().to_string());
        let (result, peak) = allocator::peak(|| match opens {
            true => call(&path, &limits),
            false => save::open(&path, Some(&limits)).map(drop),
        });
        let found =
            result.map_or_else(|error| (format!("{:?}", error.code()), error.to_string()), |()| Default::default());
        let code = attack["code"].as_str().unwrap();
        if found.1 != expected || found.0.to_lowercase() != code {
            failures.push(format!("{name}\n  expected {code}: {expected}\n  found    {}: {}", found.0, found.1));
        }
        if peak > limits.budget().peak() + OVERHEAD {
            failures.push(format!("{name}: {peak} bytes were allocated, the budget has counted {:?}", limits.budget()));
        }
        names.push(format!("{name}.caudal"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let mut files: Vec<_> = std::fs::read_dir(folder().join("files"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    names.sort();
    assert_eq!(files, names, "files and attacks.json belong together");
    assert!(matches!(attacks, Json::Object(all) if all.len() > 100));
}
