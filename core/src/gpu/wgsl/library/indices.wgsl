// The index of 32 bits nearest to one of 64: what is out of range stays so.
fn nearest_i32(x: vec2<u32>) -> i32 {
    let low = bitcast<i32>(x.x);
    let high = bitcast<i32>(x.y);
    return select((high >> 31u) ^ 0x7fffffff, low, high == (low >> 31u));
}

// Where an index in -size..size is; the largest word for any other.
fn position(index: i32, size: u32) -> u32 {
    let at = bitcast<u32>(index) + select(0u, size, index < 0);
    return select(0xffffffffu, at, at < size);
}
