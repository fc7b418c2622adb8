//! Laying buffers with known lifetimes into one block of memory.

use crate::cpu::memory::ALIGNMENT;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Hands out and takes back parts of a block of memory whose size it finds out. Best fit; neighbours are joined.
#[derive(Default)]
pub struct Arena {
    /// The bytes of each free part, by offset.
    free: BTreeMap<u64, u64>,
    /// The free parts (bytes, offset), by bytes.
    by_bytes: BTreeSet<(u64, u64)>,
    /// Bytes the block must have.
    pub bytes: u64,
}

/// Bytes rounded up to the alignment of buffers.
pub fn aligned(bytes: u64) -> Result<u64> {
    let unit = ALIGNMENT as u64;
    bytes.checked_next_multiple_of(unit).ok_or_else(|| Error::memory("a buffer is larger than memory can be"))
}

/// Where a part ends, on a machine that addresses `most` bytes.
fn end_of(offset: u64, bytes: u64, most: u64) -> Result<u64> {
    let end = offset.checked_add(bytes).filter(|&end| end <= most);
    end.ok_or_else(|| Error::memory(format!("the plan needs more than {most} bytes: {bytes} on top of {offset}")))
}

impl Arena {
    /// A part of `bytes` bytes; gives its offset.
    ///
    /// # Errors
    /// `memory`: the block would be larger than memory can be.
    pub fn take(&mut self, bytes: u64) -> Result<u64> {
        let bytes = aligned(bytes)?;
        if bytes == 0 {
            return Ok(0);
        }
        if let Some(&(size, offset)) = self.by_bytes.range((bytes, 0)..).next() {
            self.remove(offset, size);
            if size > bytes {
                self.insert(offset + bytes, size - bytes);
            }
            return Ok(offset);
        }
        // A free part at the end grows.
        let last = self.free.last_key_value().map(|(&offset, &size)| (offset, size));
        let last = last.filter(|(offset, size)| offset + size == self.bytes);
        let offset = last.map_or(self.bytes, |(offset, _)| offset);
        self.bytes = end_of(offset, bytes, isize::MAX as u64)?;
        if let Some((offset, size)) = last {
            self.remove(offset, size);
        }
        Ok(offset)
    }

    /// Takes a part back.
    pub fn give(&mut self, offset: u64, bytes: u64) {
        let Ok(bytes) = aligned(bytes) else { return };
        if bytes == 0 {
            return;
        }
        let (mut start, mut end) = (offset, offset + bytes);
        if let Some((&before, &size)) = self.free.range(..offset).next_back()
            && before + size == offset
        {
            self.remove(before, size);
            start = before;
        }
        if let Some(&size) = self.free.get(&end) {
            self.remove(end, size);
            end += size;
        }
        self.insert(start, end - start);
    }

    fn insert(&mut self, offset: u64, bytes: u64) {
        self.free.insert(offset, bytes);
        self.by_bytes.insert((bytes, offset));
    }

    fn remove(&mut self, offset: u64, bytes: u64) {
        self.free.remove(&offset);
        self.by_bytes.remove(&(bytes, offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_used_again_and_joined() {
        let mut arena = Arena::default();
        let (a, b, c) = (arena.take(64).unwrap(), arena.take(100).unwrap(), arena.take(64).unwrap());
        assert_eq!((a, b, c, arena.bytes), (0, 64, 192, 256));
        arena.give(a, 64);
        arena.give(b, 100);
        assert_eq!(arena.take(192).unwrap(), 0);
        arena.give(c, 64);
        assert_eq!(arena.take(128).unwrap(), 192);
        assert_eq!(arena.bytes, 320);
    }

    #[test]
    fn plans_do_not_wrap_where_addresses_have_32_bits() {
        let most = i32::MAX as u64;
        assert_eq!(end_of(1 << 30, (1 << 30) - 64, most), Ok((1 << 31) - 64));
        let error = end_of(3 << 30, 2 << 30, most).unwrap_err().to_string();
        assert_eq!(error, "the plan needs more than 2147483647 bytes: 2147483648 on top of 3221225472");
        assert!(end_of(u64::MAX - 1, 64, u64::MAX).is_err());
    }

    #[test]
    fn the_tightest_of_many_holes_is_taken() {
        let mut arena = Arena::default();
        let parts: Vec<_> =
            (1..=20_000u64).map(|n| (arena.take(64 * (n % 97 + 1)).unwrap(), 64 * (n % 97 + 1))).collect();
        let bytes = arena.bytes;
        parts.iter().step_by(2).for_each(|&(offset, size)| arena.give(offset, size));
        for &(_, size) in parts.iter().step_by(2) {
            arena.take(size).unwrap();
        }
        assert_eq!((arena.bytes, arena.free.len()), (bytes, 0));
    }
}
