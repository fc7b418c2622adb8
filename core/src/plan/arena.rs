//! Laying buffers with known lifetimes into one block of memory.

use crate::cpu::memory::ALIGNMENT;
use crate::error::{Error, Result};

/// Hands out and takes back parts of a block of memory whose size it finds out. Best fit; neighbours are joined.
#[derive(Default)]
pub struct Arena {
    /// Free parts (offset, bytes), by offset.
    free: Vec<(u64, u64)>,
    /// Bytes the block must have.
    pub bytes: u64,
}

/// Bytes rounded up to the alignment of buffers.
pub fn aligned(bytes: u64) -> Result<u64> {
    let unit = ALIGNMENT as u64;
    bytes.checked_next_multiple_of(unit).ok_or_else(|| Error::memory("a buffer is larger than memory can be"))
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
        let fitting = self.free.iter().enumerate().filter(|(_, (_, size))| *size >= bytes);
        if let Some(index) = fitting.min_by_key(|(_, (_, size))| *size).map(|(index, _)| index) {
            let (offset, size) = self.free[index];
            if size == bytes {
                self.free.remove(index);
            } else {
                self.free[index] = (offset + bytes, size - bytes);
            }
            return Ok(offset);
        }
        // A free part at the end grows.
        let offset = match self.free.last() {
            Some(&(offset, size)) if offset + size == self.bytes => {
                self.free.pop();
                offset
            }
            _ => self.bytes,
        };
        let end = offset.checked_add(bytes).filter(|&end| end <= isize::MAX as u64);
        self.bytes = end.ok_or_else(|| Error::memory("the plan needs more memory than there can be"))?;
        Ok(offset)
    }

    /// Takes a part back.
    pub fn give(&mut self, offset: u64, bytes: u64) {
        let Ok(bytes) = aligned(bytes) else { return };
        if bytes == 0 {
            return;
        }
        let index = self.free.partition_point(|(other, _)| *other < offset);
        self.free.insert(index, (offset, bytes));
        if self.free.get(index + 1).is_some_and(|next| next.0 == offset + bytes) {
            self.free[index].1 += self.free.remove(index + 1).1;
        }
        if index > 0 && self.free[index - 1].0 + self.free[index - 1].1 == offset {
            self.free[index - 1].1 += self.free.remove(index).1;
        }
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
}
