//! Files: the bytes are one, or, where they begin with `{`, the text of the graphs of one whose digest is right.

#![no_main]

mod run;

use caudal::save;
use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};
use std::fmt::Write;

fn wrapped(graph: &[u8]) -> Vec<u8> {
    let mut digest = String::new();
    Sha256::digest(graph).iter().for_each(|byte| write!(digest, "{byte:02x}").unwrap());
    let header = format!(
        "{{\"__metadata__\":{{\"caudal\":\"{{\\\"digest\\\":\\\"sha256:{digest}\\\",\\\"format\\\":1,\\\"reader\\\":1}}\"}},\
         \"caudal.graph\":{{\"dtype\":\"U8\",\"shape\":[{0}],\"data_offsets\":[0,{0}]}}}}",
        graph.len()
    );
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), graph].concat()
}

fuzz_target!(|data: &[u8]| {
    let limits = run::limits();
    let file = if data.first() == Some(&b'{') { wrapped(data) } else { data.to_vec() };
    match save::read(&file, Some(&limits)) {
        Ok(program) => {
            let again = save::write(&program).expect("what was read can be written");
            assert_eq!(save::read(&again, None).expect("what was written can be read"), program);
            run::run(program, &limits, data.len() as i64 % 5);
        }
        Err(error) => run::blameless(&error),
    }
});
