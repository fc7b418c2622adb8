//! Names the shared library and lays the header where maturin reads it.
//!
//! maturin makes the Python module from `<target>/header.h` with cffi, which takes declarations and integer constants
//! but no other directive; `include/caudal.h`, the header that C programmers include, is that file's only source.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The version in the shared library's name: raised only by a release that breaks the ABI.
const SO_VERSION: &str = "0";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=include/caudal.h");
    println!("cargo:rerun-if-env-changed=CARGO_TARGET_DIR");
    name_library(&variable("CARGO_CFG_TARGET_OS"));
    let header = Path::new(&variable("CARGO_MANIFEST_DIR")).join("include/caudal.h");
    let text = fs::read_to_string(&header).unwrap_or_else(|error| panic!("cannot read {}: {error}", header.display()));
    let destination = target_dir().join("header.h");
    let declarations = declarations(&text);
    // Left alone when equal: a changed modification time would make others build again.
    if fs::read_to_string(&destination).is_ok_and(|old| old == declarations) {
        return;
    }
    fs::write(&destination, declarations)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", destination.display()));
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}

/// Programs linked against the library ask for `libcaudal.so.0` (`libcaudal.0.dylib` on macOS) when they start.
fn name_library(os: &str) {
    match os {
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd" => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcaudal.so.{SO_VERSION}");
        }
        "macos" => {
            println!("cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libcaudal.{SO_VERSION}.dylib");
        }
        _ => {}
    }
}

/// The folder `target`, from `OUT_DIR`, which is `<target>/[<triple>/]<profile>/build/<package>-<hash>/out`.
fn target_dir() -> PathBuf {
    // A relative CARGO_TARGET_DIR counts from where cargo was started, which a build script is not told.
    if let Some(dir) = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute()) {
        return dir;
    }
    let out_dir = PathBuf::from(variable("OUT_DIR"));
    let above_profile = out_dir
        .ancestors()
        .skip_while(|dir| dir.file_name().is_none_or(|name| name != "build"))
        .nth(2)
        .unwrap_or_else(|| panic!("OUT_DIR {} has no folder build above it", out_dir.display()));
    let crossed = above_profile.file_name().is_some_and(|name| name.to_str() == Some(&variable("TARGET")));
    match above_profile.parent() {
        Some(parent) if crossed => parent.to_path_buf(),
        _ => above_profile.to_path_buf(),
    }
}

/// What cffi takes of a C header: no comments, no static asserts (one a line), nothing that is for C++ alone, and of the directives
/// only the integer constants.
fn declarations(header: &str) -> String {
    let code = without_comments(header).replace("\\\n", " ");
    let mut kept = String::with_capacity(code.len());
    // For each open conditional: is it about C++, and is its present branch for C++ alone?
    let mut conditionals: Vec<(bool, bool)> = Vec::new();
    for line in code.lines().map(str::trim) {
        let mut words = line.strip_prefix('#').unwrap_or("").split_whitespace();
        match words.next().unwrap_or("") {
            "if" | "ifdef" => conditionals.push((line.contains("__cplusplus"), line.contains("__cplusplus"))),
            "ifndef" => conditionals.push((line.contains("__cplusplus"), false)),
            "else" => {
                conditionals.iter_mut().last().into_iter().for_each(|(about, inside)| *inside = *about && !*inside)
            }
            "endif" => drop(conditionals.pop()),
            _ if conditionals.iter().any(|(_, inside)| *inside)
                || line.is_empty()
                || line.starts_with("_Static_assert") => {}
            "" => kept.extend([line, "\n"]),
            "define" => {
                let (name, value) = (words.next().unwrap_or(""), words.collect::<Vec<_>>());
                if let [value] = value[..]
                    && value.strip_prefix('-').unwrap_or(value).starts_with(|c: char| c.is_ascii_digit())
                {
                    kept.extend(["#define ", name, " ", value, "\n"]);
                }
            }
            _ => {}
        }
    }
    kept
}

/// The text with each comment as one space. The header has no string that looks like a comment.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("/*").into_iter().chain(rest.find("//")).min() {
        kept.push_str(&rest[..start]);
        let (end, length) = if rest[start..].starts_with("/*") { ("*/", 2) } else { ("\n", 0) };
        kept.push(' ');
        rest = rest[start + 2..].find(end).map_or("", |at| &rest[start + 2 + at + length..]);
    }
    kept.push_str(rest);
    kept
}
