// A step of Threefry.
fn mixed(x: vec2<u32>, rotation: u32) -> vec2<u32> {
    let sum = x.x + x.y;
    return vec2<u32>(sum, ((x.y << rotation) | (x.y >> (32u - rotation))) ^ sum);
}

// Four of them.
fn mixed_4(x: vec2<u32>, rotations: vec4<u32>) -> vec2<u32> {
    return mixed(mixed(mixed(mixed(x, rotations.x), rotations.y), rotations.z), rotations.w);
}

// Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC'11. The counter's high word comes first.
fn threefry(key: vec2<u32>, counter: vec2<u32>) -> vec2<u32> {
    let even = vec4<u32>(13u, 15u, 26u, 6u);
    let odd = vec4<u32>(17u, 29u, 16u, 24u);
    let last = key.x ^ key.y ^ 0x1bd11bdau;
    var x = counter + key;
    x = mixed_4(x, even) + vec2<u32>(key.y, last + 1u);
    x = mixed_4(x, odd) + vec2<u32>(last, key.x + 2u);
    x = mixed_4(x, even) + vec2<u32>(key.x, key.y + 3u);
    x = mixed_4(x, odd) + vec2<u32>(key.y, last + 4u);
    x = mixed_4(x, even) + vec2<u32>(last, key.x + 5u);
    return x;
}

// The words of the op random_bits.
fn random_u32(key: vec2<u32>, number: u32) -> u32 {
    let words = threefry(key, vec2<u32>(0u, number));
    return words.x ^ words.y;
}

fn random_u64(key: vec2<u32>, number: u32) -> vec2<u32> {
    return threefry(key, vec2<u32>(0u, number)).yx;
}
