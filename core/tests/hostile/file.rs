//! A program file taken apart and put together again, whatever it says.

use caudal::json::{self, Json, Map};
use sha2::{Digest, Sha256};
use std::fmt::Write;

const PREFIX: usize = 8;
const GRAPH: &str = "caudal.graph";

/// The entries of a file's header in the order of their data, and the bytes of each.
#[derive(Clone)]
pub struct File {
    pub tensors: Vec<(String, Json, Vec<u8>)>,
    pub about: Map<String, Json>,
}

impl File {
    /// A file that caudal wrote.
    pub fn parse(bytes: &[u8]) -> File {
        let length = u64::from_le_bytes(bytes[..PREFIX].try_into().unwrap()) as usize;
        let base = PREFIX + length;
        let Json::Object(mut header) = json::parse(std::str::from_utf8(&bytes[PREFIX..base]).unwrap()).unwrap() else {
            panic!("the header is not an object");
        };
        let about = header.remove("__metadata__").unwrap();
        let Json::Object(about) = json::parse(about["caudal"].as_str().unwrap()).unwrap() else {
            panic!("the metadata is not an object");
        };
        let offset = |entry: &Json, end: usize| entry["data_offsets"][end].as_u64().unwrap() as usize;
        let mut tensors: Vec<_> = header
            .into_iter()
            .map(|(name, entry)| {
                let data = bytes[base + offset(&entry, 0)..base + offset(&entry, 1)].to_vec();
                (name, entry, data)
            })
            .collect();
        tensors.sort_by_key(|(_, entry, _)| (offset(entry, 0), offset(entry, 1)));
        File { tensors, about }
    }

    /// The text of the graphs; empty if the tensor was taken away.
    pub fn graph(&self) -> &str {
        let graph = self.tensors.iter().find(|(name, _, _)| name == GRAPH);
        graph.map_or("", |(_, _, bytes)| std::str::from_utf8(bytes).unwrap())
    }

    /// Puts another text in place of the graphs'; [`File::write`] makes the digest right.
    pub fn set_graph(&mut self, text: Vec<u8>) {
        let (_, entry, bytes) = self.tensors.iter_mut().find(|(name, _, _)| name == GRAPH).unwrap();
        entry["shape"] = Json::from(vec![Json::from(text.len())]);
        *bytes = text;
    }

    /// The file's bytes: offsets follow from the data, the digest from the graphs.
    pub fn write(&self) -> Vec<u8> {
        let mut header = Map::new();
        let mut at = 0;
        for (name, entry, bytes) in &self.tensors {
            let mut entry = entry.clone();
            entry["data_offsets"] = Json::from(vec![Json::from(at), Json::from(at + bytes.len())]);
            at += bytes.len();
            header.insert(name.clone(), entry);
        }
        let mut about = self.about.clone();
        about.insert("digest".into(), digest(self.graph().as_bytes()).into());
        let about = Map::from_iter([("caudal".to_string(), Json::Object(about).to_string().into())]);
        header.insert("__metadata__".into(), Json::Object(about));
        let mut header = Json::Object(header).to_string();
        while !(PREFIX + header.len()).is_multiple_of(64) {
            header.push(' ');
        }
        container(&header, self.tensors.iter().map(|(_, _, bytes)| &bytes[..]))
    }
}

fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    Sha256::digest(bytes).iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
    text
}

/// A safetensors file of this header and data.
pub fn container<'a>(header: &str, data: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    data.for_each(|part| bytes.extend_from_slice(part));
    bytes
}
