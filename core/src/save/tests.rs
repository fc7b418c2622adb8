use super::*;
use crate::graph::{Graph, text};
use crate::meter::Charge;
use crate::program::Function;

const TRAIN: &str = r#"graph(%0 x: float32[n, 2], %1 /w: float32[2], %2 /mask: bool[3]) {
  %3 = constant() {"value":{"data":[0,1,2,3,4,5,6,7,"9007199254740993"],"dtype":"int64","shape":[9]}} : int64[9]
  %4 = call(%1) [graph(%0 a: float32[2]) {
    %1 = constant() {"value":{"data":["nan",0.5],"dtype":"float32","shape":[2]}} : float32[2]
    %2 = mul(%0, %1) : float32[2]
    return %2
  }] : float32[2] @ "model.py":3
  %5 = add(%0, %4) : float32[n, 2] @ "model.py":4
  return %5, %4
}
"#;

fn graph(text: &str) -> Arc<Graph> {
    Arc::new(text::parse(text).unwrap())
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| name.to_string()).collect()
}

fn state(name: &str, role: Role, value: Tensor) -> State {
    State { name: name.into(), role, value }
}

pub(super) fn program() -> Program {
    let train = Function {
        name: "train_step".into(),
        doc: "One step.\n\"quoted\" é".into(),
        structure: json::parse("{\"tuple\":[0]}").unwrap(),
        inputs: names(&["x"]),
        outputs: names(&["output"]),
        reads: names(&["w", "mask"]),
        writes: names(&["w"]),
        graph: graph(TRAIN),
    };
    let predict = Function { name: "predict".into(), writes: vec![], outputs: names(&["a", "b/c"]), ..train.clone() };
    Program {
        functions: vec![train, predict],
        state: vec![
            state("w", Role::Parameter, Tensor::from_slice(DType::F32, &[2], &[f32::NAN, -0.0]).unwrap()),
            state("mask", Role::Other, Tensor::from_slice(DType::Bool, &[3], &[1u8, 0, 1]).unwrap()),
            state("random/key", Role::Random, Tensor::from_slice(DType::U32, &[2], &[7u32, 8]).unwrap()),
            state("optimizer/step", Role::Optimizer, Tensor::from_slice(DType::I64, &[], &[i64::MIN]).unwrap()),
            state("empty", Role::Statistic, Tensor::zeros(DType::F16, &[0, 5], None).unwrap()),
        ],
        metadata: json::parse("{\"labels\":[\"a\",\"b\"],\"scale\":0.1}").unwrap(),
        held: Charge::default(),
    }
}

pub(super) fn bytes() -> Vec<u8> {
    write(&program()).unwrap()
}

fn header_of(bytes: &[u8]) -> (usize, Json) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (8 + length, json::parse(std::str::from_utf8(&bytes[8..8 + length]).unwrap()).unwrap())
}

/// A safetensors file, whatever its header says.
pub(super) fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(data);
    bytes
}

/// The program's file with the text of `caudal.graph` and of the metadata changed, its digest put right.
fn edited(graph: impl Fn(String) -> String, about: impl Fn(String) -> String) -> Vec<u8> {
    let bytes = bytes();
    let (data, header) = header_of(&bytes);
    let container = safetensors::parse(&bytes[8..data], &Meter::default()).unwrap();
    let mut texts = BTreeMap::new();
    for slot in &container.tensors {
        let part = &bytes[slot.range.start as usize..slot.range.end as usize];
        let part = match slot.name == GRAPH {
            true => graph(String::from_utf8(part.to_vec()).unwrap()).into_bytes(),
            false => part.to_vec(),
        };
        texts.insert(slot.name.clone(), (slot.dtype, slot.sizes.clone(), part));
    }
    let mut entries: Vec<_> = texts
        .iter()
        .map(|(name, (dtype, sizes, bytes))| {
            let sizes = if name == GRAPH { vec![bytes.len()] } else { sizes.clone() };
            Entry { name: name.clone(), dtype: *dtype, sizes, bytes }
        })
        .collect();
    let mut metadata = header[safetensors::METADATA].as_object().unwrap().clone();
    let old = metadata["caudal"].as_str().unwrap().to_string();
    let digest_at = old.find("sha256:").unwrap();
    let right = digest(&texts[GRAPH].2);
    metadata.insert("caudal".into(), about(old.replace(&old[digest_at..digest_at + right.len()], &right)).into());
    let mut result = safetensors::header(&mut entries, metadata).unwrap();
    entries.iter().for_each(|entry| result.extend_from_slice(entry.bytes));
    result
}

fn same(text: String) -> String {
    text
}

#[test]
fn a_program_survives_and_gives_the_same_bytes() {
    let (program, bytes) = (program(), bytes());
    let read_back = read(&bytes, None).unwrap();
    assert_eq!(read_back, program);
    assert_eq!(write(&read_back).unwrap(), bytes);
    assert_eq!(edited(same, same), bytes);
}

#[test]
fn without_lines_no_line_is_in_the_file() {
    let with_lines = String::from_utf8_lossy(&bytes()).contains("model.py");
    let without = write(&program().without_lines()).unwrap();
    assert!(with_lines && !String::from_utf8_lossy(&without).contains("model.py"));
    let read_back = read(&without, None).unwrap();
    assert!(read_back.functions[0].graph.nodes().iter().all(|node| node.location.is_none()));
}

#[test]
fn the_layout_is_that_of_safetensors() {
    let bytes = bytes();
    let (data, header) = header_of(&bytes);
    assert_eq!((data % 64, bytes[8]), (0, b'{'));
    let graph_length = header[GRAPH]["shape"][0].as_u64().unwrap();
    let constant = "{\"data_offsets\":[0,72],\"dtype\":\"I64\",\"shape\":[9]}";
    let table = [
        ("caudal.constant.0", constant.to_string()),
        ("optimizer/step", "{\"data_offsets\":[72,80],\"dtype\":\"I64\",\"shape\":[]}".into()),
        ("random/key", "{\"data_offsets\":[80,88],\"dtype\":\"U32\",\"shape\":[2]}".into()),
        ("w", "{\"data_offsets\":[88,96],\"dtype\":\"F32\",\"shape\":[2]}".into()),
        ("empty", "{\"data_offsets\":[96,96],\"dtype\":\"F16\",\"shape\":[0,5]}".into()),
        (
            GRAPH,
            format!("{{\"data_offsets\":[96,{0}],\"dtype\":\"U8\",\"shape\":[{graph_length}]}}", 96 + graph_length),
        ),
        (
            "mask",
            format!(
                "{{\"data_offsets\":[{0},{1}],\"dtype\":\"BOOL\",\"shape\":[3]}}",
                96 + graph_length,
                99 + graph_length
            ),
        ),
    ];
    assert_eq!(header.as_object().unwrap().len(), table.len() + 1);
    for (name, text) in table {
        assert_eq!(header[name].to_string(), text, "{name}");
    }
    assert_eq!(bytes[data + 88..data + 96], [0, 0, 0xc0, 0x7f, 0, 0, 0, 0x80]);
    assert_eq!(bytes.len() as u64, data as u64 + 99 + graph_length);
    let about = header[safetensors::METADATA]["caudal"].as_str().unwrap();
    let graph = &bytes[data + 96..data + 96 + graph_length as usize];
    assert_eq!(about, format!("{{\"digest\":\"{}\",\"format\":1,\"reader\":1}}", digest(graph)));
    assert_eq!(digest(b"abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn every_dtype_survives() {
    let tensors = DType::ALL.map(|dtype| Tensor::scalar(dtype, 1.0).unwrap().reshaped(&[1, 1]).unwrap());
    let state = tensors.into_iter().map(|value| state(value.dtype().name(), Role::Other, value.clone())).collect();
    let program = Program { functions: vec![], state, metadata: Json::Null, held: Charge::default() };
    assert_eq!(read(&write(&program).unwrap(), None).unwrap(), program);
}

#[test]
fn any_safetensors_file_is_a_program_with_state() {
    let header = "{\"b.weight\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},\
                  \"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[3,7]},\"__metadata__\":{\"format\":\"pt\"}}";
    let limits = Limits::none();
    let budget = limits.budget();
    let program = read(&file(header, &[1, 2, 3, 0, 0, 0x80, 0x3f]), Some(&limits)).unwrap();
    let found: Vec<_> =
        program.state.iter().map(|state| (state.name.as_str(), state.role, state.value.len())).collect();
    assert_eq!(found, [("a", Role::Parameter, 1), ("b.weight", Role::Parameter, 3)]);
    assert_eq!(program.state[0].value.elements::<f32>().unwrap(), [1.0]);
    assert!(program.functions.is_empty());
    // The file, and a copy of the tensor that lies unaligned in it.
    let whole = 8 + header.len() as u64 + 7 + program::state_cost("a") + program::state_cost("b.weight");
    assert!(budget.used() == whole || budget.used() == whole + 4, "{}", budget.used());
    drop(program);
    assert_eq!(budget.used(), 0);
}

#[test]
fn surplus_tensors_become_other_state() {
    let unnamed = |text: String| text.replace(",[\"empty\",\"statistic\",\"float16[0, 5]\"]", "");
    let program = read(&edited(unnamed, same), None).unwrap();
    let last = program.state.last().unwrap();
    assert_eq!((last.name.as_str(), last.role), ("empty", Role::Other));
}

#[test]
fn tensors_are_parts_of_one_buffer_that_the_budget_counts() {
    let bytes = bytes();
    let limits = Limits::none();
    let budget = limits.budget();
    let program = read(&bytes, Some(&limits)).unwrap();
    // The rest is graphs and names.
    assert!(budget.used() > bytes.len() as u64 && budget.used() < bytes.len() as u64 + 32_768, "{budget:?}");
    let kept = program.state[1].value.clone();
    drop(program);
    assert_eq!(budget.used(), bytes.len() as u64);
    drop(kept);
    assert_eq!(budget.used(), 0);
    for limit in [1, bytes.len() as u64 - 1, budget.peak() - 1] {
        let small = Limits::new(limit, 0.0);
        assert_eq!(read(&bytes, Some(&small)).unwrap_err().code(), Code::Memory);
        assert_eq!(small.budget().used(), 0);
    }
    assert!(read(&bytes, Some(&Limits::new(budget.peak(), 0.0))).is_ok());
}

#[test]
fn what_a_container_does_wrong_is_named() {
    let one = |fields: &str| file(&format!("{{\"w\":{{{fields}}}}}"), &[0; 8]);
    let two = |first: &str, second: &str| {
        let tensor = |offsets: &str| format!("{{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":{offsets}}}");
        file(&format!("{{\"a\":{},\"b\":{}}}", tensor(first), tensor(second)), &[0; 8])
    };
    let described = "tensor \"w\": it is described by dtype, shape and data_offsets, nothing else";
    let table = [
        (vec![1, 2, 3], "it has 3 bytes"),
        (b"<!DOCTYPE html><html>".to_vec(), "it begins with \"<!DOCTYP\""),
        (vec![0xff; 20], "its header would take 18446744073709551615 bytes"),
        (file("[]", &[]), "its header does not begin with `{`"),
        (file("{\"a\":}", &[]), "its header: JSON: expected value at line 1 column 6"),
        (
            file("{\"a\":1,\"a\":2}", &[]),
            "its header: JSON: the key \"a\" stands twice in one object at line 1 column 10",
        ),
        (file("{\"a\":1}", &[]), "tensor \"a\": its description is not an object"),
        (file("{\"__metadata__\":{\"a\":1}}", &[]), "its __metadata__ is not an object of texts"),
        (one("\"dtype\":\"U8\",\"shape\":[8]"), described),
        (one("\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[0,8],\"x\":1"), described),
        (
            one("\"dtype\":\"U8\",\"shape\":[-8],\"data_offsets\":[0,8]"),
            "tensor \"w\": its shape is not a list of sizes",
        ),
        (
            one("\"dtype\":\"U8\",\"shape\":[8],\"data_offsets\":[8,0]"),
            "tensor \"w\": its data_offsets are not a range",
        ),
        (
            one("\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[0,8]"),
            "tensor \"w\": float32 of shape [8] takes 32 bytes, its data_offsets span 8",
        ),
        (
            one("\"dtype\":\"F64\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]"),
            "tensor \"w\": a float64 tensor of shape [4294967296, 4294967296] is larger than memory can be",
        ),
        (one("\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]"), "4 bytes follow its last tensor"),
        (two("[0,4]", "[3,7]"), "tensor \"b\" overlaps the one before it"),
        (two("[0,4]", "[5,9]"), "tensor \"b\" follows a hole"),
        (
            file("{\"m\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[0,1]}}", &[2]),
            "tensor \"m\": a bool is neither 0 nor 1",
        ),
        (
            file("{\"a//b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", &[]),
            "state name \"a//b\" has an empty part or a control character",
        ),
        (
            file("{\"caudal.graph\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", &[]),
            "it has tensors of caudal and no caudal metadata",
        ),
    ];
    for (bytes, message) in table {
        let error = read(&bytes, None).unwrap_err();
        assert_eq!(error.to_string(), format!("the data is not a caudal file: {message}"));
        assert_eq!(error.code(), Code::Format);
    }
    let error = read(&one("\"dtype\":\"F8_E4M3\",\"shape\":[8],\"data_offsets\":[0,8]"), None).unwrap_err();
    let message = "the data: tensor \"w\" has the dtype \"F8_E4M3\"";
    assert_eq!((error.to_string().as_str(), error.code()), (message, Code::Unsupported));
}

#[test]
fn what_a_program_does_wrong_is_named() {
    let replaced = |from: &'static str, to: &'static str| {
        edited(
            move |text| {
                assert!(text.contains(from), "{text}");
                text.replacen(from, to, 1)
            },
            same,
        )
    };
    let table = [
        (replaced("\"name\":\"train_step\"", "\"name\":\"9\""), "function name \"9\" is not [A-Za-z_][A-Za-z0-9_]*"),
        (replaced("\"name\":\"train_step\"", "\"name\":\"predict\""), "two functions are named \"predict\""),
        (
            replaced("\"inputs\":[\"x\"]", "\"inputs\":[]"),
            "function \"train_step\": it has 0 inputs and 2 of state, its graph has 3",
        ),
        (replaced("\"reads\":[\"w\",", "\"reads\":[\"v\","), "function \"train_step\": there is no state \"v\""),
        (
            replaced("\"reads\":[\"w\",", "\"reads\":[\"empty\","),
            "function \"train_step\": the state \"empty\" is float16[0, 5], its graph says float32[2]",
        ),
        (replaced("\"graph\":1", "\"graph\":9"), "function \"train_step\": graph 9 is not in the table"),
        (replaced("[\"w\",\"parameter\"", "[\"w\",\"weight\""), "state \"w\" has the role \"weight\""),
        (replaced("[\"w\",\"parameter\"", "[\"u\",\"parameter\""), "the state \"u\" has no tensor"),
        (
            replaced("\"parameter\",\"float32[2]\"", "\"parameter\",\"float32[3]\""),
            "the state \"w\" is float32[3], its tensor is float32[2]",
        ),
        (
            replaced("\"metadata\":", "\"meta\":"),
            "caudal.graph has the key \"meta\"; known are functions, graphs, metadata, state",
        ),
        (replaced("\"op\":\"mul\"", "\"op\":\"div\""), "graph 0: node 1: the op \"div\" is not in the table of ops"),
        (replaced("{\"constant\":0}", "{\"constant\":1}"), "graph 1: node 0: the constant 1 is missing"),
    ];
    for (bytes, message) in table {
        let error = read(&bytes, None).unwrap_err();
        assert_eq!(error.to_string(), format!("the data is not a caudal file: {message}"));
        assert_eq!(error.code(), Code::Format);
    }
}

#[test]
fn newer_files_say_so_and_open_where_they_can() {
    let newer = |format: &'static str| edited(same, move |text| text.replace("\"format\":1,\"reader\":1", format));
    let error = read(&newer("\"format\":3,\"reader\":2"), None).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.code()), ("the data needs caudal format 2; this is 1", Code::Newer));
    let unknown = |text: String| text.replacen("\"functions\":", "\"another\":1,\"functions\":", 1);
    let file = edited(unknown, |text| text.replace("\"format\":1", "\"format\":2"));
    assert_eq!(read(&file, None), Ok(program()));
    assert!(read(&edited(unknown, same), None).is_err());
    let ops = edited(|text| text.replace("\"mul\":1", "\"mul\":2"), same);
    let error = read(&ops, None).unwrap_err();
    let message = "the data: it uses ops that this caudal does not have: mul v2 (this caudal has v1)";
    assert_eq!((error.to_string().as_str(), error.code()), (message, Code::Newer));
    let error = read(&newer("\"format\":1,\"reader\":\"x\""), None).unwrap_err();
    assert_eq!(error.text(), "the data is not a caudal file: its caudal metadata has a reader that is no number");
}

/// The bytes of `caudal.graph`.
fn edited_graph(bytes: &[u8], data: usize) -> Vec<u8> {
    let container = safetensors::parse(&bytes[8..data], &Meter::default()).unwrap();
    let slot = container.tensors.iter().find(|slot| slot.name == GRAPH).unwrap();
    bytes[slot.range.start as usize..slot.range.end as usize].to_vec()
}

#[test]
fn a_damaged_graph_is_found_by_its_digest() {
    let mut bytes = bytes();
    let (data, _) = header_of(&bytes);
    bytes[data + 96 + 10] ^= 1;
    let right = digest(&edited_graph(&bytes, data));
    let error = read(&bytes, None).unwrap_err().to_string();
    let message =
        format!("the data is not a caudal file: caudal.graph is damaged: its digest is {right}, the file says");
    assert!(error.starts_with(&message), "{error}");
}

#[test]
fn a_program_that_could_not_be_read_back_is_not_written() {
    let named = |name: &str| {
        let mut program = program();
        program.state[4].name = name.into();
        write(&program).unwrap_err()
    };
    for name in ["caudal.x", "__metadata__"] {
        let message = format!("state cannot be named {name:?}, which has a meaning of its own in files");
        assert_eq!((named(name).to_string(), named(name).code()), (message, Code::Argument));
    }
    assert_eq!(named("w").text(), "two states are named \"w\"");
    let mut deep = program();
    deep.metadata = json::parse(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap();
    assert_eq!(write(&deep).unwrap_err().text(), "metadata nests deeper than 64");
    deep.metadata = json::parse(&format!("{}{}", "[".repeat(64), "]".repeat(64))).unwrap();
    assert!(read(&write(&deep).unwrap(), None).is_ok());
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bytes = bytes();
    let (data, _) = header_of(&bytes);
    for length in 0..bytes.len() {
        let error = read(&bytes[..length], None).unwrap_err();
        let of = if length < data { data } else { bytes.len() };
        let message = match length {
            ..8 => format!("the data is not a caudal file: it has {length} bytes"),
            _ => format!("the data is cut short: {length} bytes of {of}"),
        };
        assert_eq!((error.to_string(), error.code()), (message, Code::Format));
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }
}

#[test]
fn no_changed_byte_panics() {
    let (bytes, mut random) = (bytes(), Random(1));
    for _ in 0..4000 {
        let mut changed = bytes.clone();
        for _ in 0..1 + random.below(3) {
            let index = random.below(changed.len());
            changed[index] = random.below(256) as u8;
        }
        let _ = read(&changed, None);
    }
}

#[test]
fn no_changed_graph_behind_a_right_digest_panics() {
    let state = std::cell::RefCell::new(Random(2));
    const PIECES: [&str; 14] =
        ["0", "1", "9", "-", "\"", "[", "]", "{", "}", ",", "null", "4294967295", "18446744073709551615", "n"];
    for _ in 0..3000 {
        let changed = edited(
            |mut text| {
                let mut random = state.borrow_mut();
                let at = random.below(text.len());
                if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                    text.replace_range(at..at + 1, PIECES[random.below(PIECES.len())]);
                }
                text
            },
            same,
        );
        if let Ok(program) = read(&changed, None) {
            assert_eq!(read(&write(&program).unwrap(), None), Ok(program));
        }
    }
}

/// A folder of its own for a test; removed at its end.
pub(super) struct Folder(pub(super) std::path::PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("caudal-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn files(&self) -> usize {
        std::fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_are_replaced_whole() {
    let folder = Folder::new("save");
    let path = folder.0.join("mlp.caudal");
    std::fs::write(&path, "old").unwrap();
    save(&program(), &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), bytes());
    assert_eq!(open(&path, None), Ok(program()));
    let mut bad = program();
    bad.state[0].name = "caudal.x".into();
    assert_eq!(save(&bad, &path).unwrap_err().code(), Code::Argument);
    assert_eq!((std::fs::read(&path).unwrap(), folder.files()), (bytes(), 1));
    let error = save(&program(), &folder.0).unwrap_err();
    let message = format!("cannot save {}: it is not a regular file", folder.0.display());
    assert_eq!((error.to_string(), error.code()), (message, Code::Io));
    let nowhere = folder.0.join("missing/mlp.caudal");
    assert_eq!(save(&program(), &nowhere).unwrap_err().code(), Code::Io);
    assert_eq!(folder.files(), 1);
}

#[cfg(unix)]
#[test]
fn a_link_and_permissions_stay() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("link");
    let (path, link) = (folder.0.join("a.caudal"), folder.0.join("b.caudal"));
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    save(&program(), &link).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(open(&link, None), Ok(program()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn opening_names_the_file() {
    let folder = Folder::new("open");
    let path = folder.0.join("mlp.caudal");
    let shown = path.display();
    let error = open(&path, None).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot open {shown}: ")), "{error}");
    assert_eq!(error.code(), Code::Io);
    let bytes = bytes();
    let (data, _) = header_of(&bytes);
    let table = [
        (&bytes[..3], "is not a caudal file: it has 3 bytes".to_string()),
        (&bytes[..120], format!("is cut short: 120 bytes of {data}")),
        (&bytes[..data + 5], format!("is cut short: {} bytes of {}", data + 5, bytes.len())),
    ];
    for (part, message) in table {
        std::fs::write(&path, part).unwrap();
        assert_eq!(open(&path, None).unwrap_err().to_string(), format!("{shown} {message}"));
    }
    let error = open(&folder.0, None).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot open {}: it is not a regular file", folder.0.display()));
}

#[test]
fn a_file_in_a_tensor_is_read_without_a_copy() {
    let bytes = bytes();
    let file = || Tensor::from_slice(DType::U8, &[bytes.len()], &bytes).unwrap();
    let limits = Limits::new(1 << 20, 0.0);
    let mut held = file();
    let inside = held.bytes().as_ptr_range();
    let read = read_tensor(held.clone(), Some(&limits)).unwrap();
    assert_eq!(write(&read).unwrap(), bytes);
    assert!(read.state.iter().all(|state| state.value.is_empty() || inside.contains(&state.value.bytes().as_ptr())));
    assert!(held.bytes_mut().is_none(), "the program holds it");
    let used = limits.budget().used();
    assert!(used >= bytes.len() as u64, "{used}");
    drop((held, read));
    assert_eq!(limits.budget().used(), 0);

    let refused = |tensor, limits: &Limits| read_tensor(tensor, Some(limits)).unwrap_err().to_string();
    let words = Tensor::zeros(DType::I32, &[5], None).unwrap();
    assert_eq!(refused(words, &limits), "a file is bytes, a tensor of uint8, not of int32");
    let page = Tensor::from_slice(DType::U8, &[15], b"<!doctype html>").unwrap();
    assert!(refused(page, &limits).starts_with("the data is not a caudal file: "));
    assert!(refused(file(), &Limits::new(100, 0.0)).contains("pass the limit of 100 bytes"));
    assert_eq!(limits.budget().used(), 0);
}
