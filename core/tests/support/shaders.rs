//! Keeps what tests have compiled, so that `js/test/shaders.test.mjs` can show it to Tint, the compiler of Chromium: wgpu
//! has shown it to Naga alone. The core's own tests have this file, too, and each names its `Device`.

use super::Device;
use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// The folder that CAUDAL_SHADERS names, made if it is not there.
static FOLDER: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let folder = PathBuf::from(std::env::var_os("CAUDAL_SHADERS").filter(|name| !name.is_empty())?);
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    Some(folder)
});

/// The hashes of the texts that this process has written.
static WRITTEN: LazyLock<Mutex<HashSet<u64>>> = LazyLock::new(Mutex::default);

thread_local! {
    static OPENED: RefCell<Opened> = const { RefCell::new(Opened(Vec::new())) };
}

/// The devices of one test, which is one thread.
struct Opened(Vec<Arc<Device>>);

impl Drop for Opened {
    fn drop(&mut self) {
        let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        for shader in self.0.iter().flat_map(|device| device.shaders()) {
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&shader.text);
            if let (true, Some(folder)) = (written.insert(hash), &*FOLDER) {
                let file = folder.join(format!("{hash:016x}.wgsl"));
                std::fs::write(&file, &*shader.text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            }
        }
    }
}

/// Has the folder that CAUDAL_SHADERS names, if it does, hold a file for each shader that the device has compiled by the
/// end of this test.
pub fn keep(device: &Arc<Device>) {
    if FOLDER.is_some() {
        OPENED.with_borrow_mut(|Opened(devices)| {
            if !devices.iter().any(|other| Arc::ptr_eq(other, device)) {
                devices.push(device.clone());
            }
        });
    }
}
