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

/// The devices of one test, which is one thread, and how many pipelines each had made when its shaders were written last.
struct Opened(Vec<(Arc<Device>, u64)>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.iter().for_each(|(device, _)| write(device));
    }
}

/// Writes the shaders that a device has.
fn write(device: &Device) {
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    for shader in device.shaders() {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&shader.text);
        if let (true, Some(folder)) = (written.insert(hash), &*FOLDER) {
            let file = folder.join(format!("{hash:016x}.wgsl"));
            std::fs::write(&file, &*shader.text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }
}

/// Has the folder that CAUDAL_SHADERS names, if it does, hold a file for each shader that the device has compiled by the
/// end of this test. A device lets go of old ones, so they are written now and then.
pub fn keep(device: &Arc<Device>) {
    if FOLDER.is_none() {
        return;
    }
    OPENED.with_borrow_mut(|Opened(devices)| {
        let count = device.work().pipelines;
        match devices.iter_mut().find(|(other, _)| Arc::ptr_eq(other, device)) {
            Some((_, last)) if count < *last + 128 => {}
            Some((_, last)) => {
                write(device);
                *last = count;
            }
            None => devices.push((device.clone(), count)),
        }
    });
}
