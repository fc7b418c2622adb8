//! Functions in WGSL that shaders share: what is imported, with what it uses.
//!
//! They lie in files by subject. A blank line ends an item; the comment above an item is not printed.

use crate::dtype::DType;
use std::collections::{BTreeSet, HashMap};
use std::sync::OnceLock;

const FILES: &[&str] = &[
    include_str!("library/conversions.wgsl"),
    include_str!("library/numbers.wgsl"),
    include_str!("library/integers64.wgsl"),
    include_str!("library/indices.wgsl"),
    include_str!("library/pairs.wgsl"),
    include_str!("library/exponentials.wgsl"),
    include_str!("library/logarithms.wgsl"),
    include_str!("library/angles.wgsl"),
    include_str!("library/roots.wgsl"),
    include_str!("library/random.wgsl"),
];

/// A function, a constant or a variable.
struct Item {
    text: &'static str,
    /// The items that its text names, and all that those name.
    uses: Vec<usize>,
}

/// All items, and which has a name.
struct Items {
    items: Vec<Item>,
    names: HashMap<&'static str, usize>,
}

/// The functions that a shader has.
#[derive(Debug, Default)]
pub struct Library {
    items: BTreeSet<usize>,
}

impl Library {
    /// Adds a function and those that it calls. A name that is not there is the printer's own.
    pub fn import(&mut self, name: &str) {
        let all = items();
        if let Some(&index) = all.names.get(name) {
            self.items.insert(index);
            self.items.extend(&all.items[index].uses);
        }
    }

    /// Whether an item was imported.
    pub fn has(&self, name: &str) -> bool {
        items().names.get(name).is_some_and(|index| self.items.contains(index))
    }

    /// The text of what was imported.
    pub fn text(&self) -> String {
        self.items.iter().map(|&index| format!("{}\n", items().items[index].text)).collect()
    }

    /// The low bits of a word that a value of less than 32 bits is stored as.
    pub fn bits_of(&mut self, dtype: DType, value: &str) -> String {
        match dtype {
            DType::F16 => self.call("bits_of_f16", value),
            DType::BF16 => self.call("bits_of_bf16", value),
            DType::Bool => format!("select(0u, 1u, {value})"),
            DType::I8 | DType::I16 => format!("bitcast<u32>({value})"),
            _ => value.into(),
        }
    }

    /// The value that the low bits of a word store; those above are 0.
    pub fn of_bits(&mut self, dtype: DType, bits: &str) -> String {
        match dtype {
            DType::F16 => self.call("f16_of_bits", bits),
            DType::BF16 => format!("bitcast<f32>({bits} << 16u)"),
            DType::Bool => format!("({bits} != 0u)"),
            DType::I8 => format!("(bitcast<i32>({bits} << 24u) >> 24u)"),
            DType::I16 => format!("(bitcast<i32>({bits} << 16u) >> 16u)"),
            _ => bits.into(),
        }
    }

    fn call(&mut self, function: &str, argument: &str) -> String {
        self.import(function);
        format!("{function}({argument})")
    }
}

/// The items of all files.
fn items() -> &'static Items {
    static ITEMS: OnceLock<Items> = OnceLock::new();
    ITEMS.get_or_init(|| {
        let texts: Vec<_> = FILES.iter().flat_map(|file| file.trim_end().split("\n\n")).map(printed).collect();
        let texts: Vec<_> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        let names: HashMap<_, _> = texts.iter().enumerate().map(|(index, text)| (name(text), index)).collect();
        let named = |text: &'static str| words(text).filter_map(|word| names.get(word).copied()).collect::<Vec<_>>();
        let items = texts.iter().map(|&text| {
            let (mut uses, mut waiting) = (BTreeSet::new(), named(text));
            while let Some(index) = waiting.pop() {
                if uses.insert(index) {
                    waiting.extend(named(texts[index]));
                }
            }
            Item { text, uses: uses.into_iter().collect() }
        });
        Items { items: items.collect(), names }
    })
}

/// An item without the comment above it.
fn printed(text: &'static str) -> &'static str {
    let mut rest = text.trim();
    while rest.starts_with("//") {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    rest
}

/// The name that an item declares.
fn name(text: &'static str) -> &'static str {
    words(text).find(|word| !matches!(*word, "fn" | "const" | "var" | "private")).unwrap_or("")
}

fn words(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .filter(|word| !word.is_empty())
}
