// Integers of 64 bits, low word first; the names with `u64` serve both signs where the bits are the same.

fn add_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    let low = x.x + y.x;
    return vec2<u32>(low, x.y + y.y + select(0u, 1u, low < x.x));
}

fn sub_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(x.x - y.x, x.y - y.y - select(0u, 1u, x.x < y.x));
}

fn neg_u64(x: vec2<u32>) -> vec2<u32> {
    return sub_u64(vec2<u32>(0u, 0u), x);
}

fn abs_i64(x: vec2<u32>) -> vec2<u32> {
    return select(x, neg_u64(x), x.y >= 0x80000000u);
}

// The 64 bits of a product of 32.
fn wide_product(x: u32, y: u32) -> vec2<u32> {
    let low = (x & 0xffffu) * (y & 0xffffu);
    let left = (x >> 16u) * (y & 0xffffu);
    let right = (x & 0xffffu) * (y >> 16u);
    let middle = (low >> 16u) + (left & 0xffffu) + (right & 0xffffu);
    let high = ((x >> 16u) * (y >> 16u)) + (left >> 16u) + (right >> 16u) + (middle >> 16u);
    return vec2<u32>((middle << 16u) | (low & 0xffffu), high);
}

fn mul_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    let low = wide_product(x.x, y.x);
    return vec2<u32>(low.x, low.y + (x.x * y.y) + (x.y * y.x));
}

fn less_u64(x: vec2<u32>, y: vec2<u32>) -> bool {
    return x.y < y.y || (x.y == y.y && x.x < y.x);
}

fn less_i64(x: vec2<u32>, y: vec2<u32>) -> bool {
    return less_u64(vec2<u32>(x.x, x.y ^ 0x80000000u), vec2<u32>(y.x, y.y ^ 0x80000000u));
}

fn max_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    return select(x, y, less_u64(x, y));
}

fn max_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    return select(x, y, less_i64(x, y));
}

fn min_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    return select(x, y, less_u64(y, x));
}

fn min_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    return select(x, y, less_i64(y, x));
}

fn shift_left_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    if (y.y != 0u || y.x >= 64u) { return vec2<u32>(0u, 0u); }
    if (y.x >= 32u) { return vec2<u32>(0u, x.x << (y.x - 32u)); }
    if (y.x == 0u) { return x; }
    return vec2<u32>(x.x << y.x, (x.y << y.x) | (x.x >> (32u - y.x)));
}

// With what fills from above, 0 or all ones.
fn shift_right_filling(x: vec2<u32>, y: vec2<u32>, fill: u32) -> vec2<u32> {
    if (y.y != 0u || y.x >= 64u) { return vec2<u32>(fill, fill); }
    if (y.x == 0u) { return x; }
    if (y.x == 32u) { return vec2<u32>(x.y, fill); }
    if (y.x > 32u) { return vec2<u32>((x.y >> (y.x - 32u)) | (fill << (64u - y.x)), fill); }
    return vec2<u32>((x.x >> y.x) | (x.y << (32u - y.x)), (x.y >> y.x) | (fill << (32u - y.x)));
}

fn shift_right_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    return shift_right_filling(x, y, 0u);
}

fn shift_right_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    return shift_right_filling(x, y, select(0u, 0xffffffffu, x.y >= 0x80000000u));
}

// Quotient and remainder; of a division by 0 both 0.
fn division_u64(x: vec2<u32>, y: vec2<u32>) -> vec4<u32> {
    if ((y.x | y.y) == 0u) { return vec4<u32>(0u, 0u, 0u, 0u); }
    if ((x.y | y.y) == 0u) { return vec4<u32>(x.x / y.x, 0u, x.x % y.x, 0u); }
    // The dividend leaves at the top as the quotient enters below.
    var quotient = x;
    var rest = vec2<u32>(0u, 0u);
    for (var bit = 0u; bit < 64u; bit += 1u) {
        let carry = rest.y >> 31u;
        rest = vec2<u32>((rest.x << 1u) | (quotient.y >> 31u), (rest.y << 1u) | (rest.x >> 31u));
        quotient = vec2<u32>(quotient.x << 1u, (quotient.y << 1u) | (quotient.x >> 31u));
        if (carry == 1u || !less_u64(rest, y)) {
            rest = sub_u64(rest, y);
            quotient.x |= 1u;
        }
    }
    return vec4<u32>(quotient, rest);
}

fn divide_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    return division_u64(x, y).xy;
}

fn remainder_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    return division_u64(x, y).zw;
}

fn divide_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    let quotient = divide_u64(abs_i64(x), abs_i64(y));
    return select(quotient, neg_u64(quotient), ((x.y ^ y.y) >> 31u) == 1u);
}

fn remainder_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    let magnitude = remainder_u64(abs_i64(x), abs_i64(y));
    let rest = select(magnitude, neg_u64(magnitude), x.y >= 0x80000000u);
    let is_opposite = any(rest != vec2<u32>(0u, 0u)) && ((x.y ^ y.y) >> 31u) == 1u;
    return select(rest, add_u64(rest, y), is_opposite);
}

fn floor_divide_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    let both = division_u64(abs_i64(x), abs_i64(y));
    if (((x.y ^ y.y) >> 31u) == 0u) { return both.xy; }
    let is_exact = (both.z | both.w) == 0u;
    return neg_u64(select(add_u64(both.xy, vec2<u32>(1u, 0u)), both.xy, is_exact));
}

fn pow_u64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    var product = vec2<u32>(1u, 0u);
    var power = x;
    var rest = y;
    while ((rest.x | rest.y) != 0u) {
        if ((rest.x & 1u) == 1u) { product = mul_u64(product, power); }
        power = mul_u64(power, power);
        rest = vec2<u32>((rest.x >> 1u) | (rest.y << 31u), rest.y >> 1u);
    }
    return product;
}

// The whole part for y < 0, of 1 / 0 that is 0.
fn pow_i64(x: vec2<u32>, y: vec2<u32>) -> vec2<u32> {
    let is_one = all(x == vec2<u32>(1u, 0u));
    if (is_one || (x.x & x.y) == 0xffffffffu) { return select(x, vec2<u32>(1u, 0u), is_one || (y.x & 1u) == 0u); }
    if (y.y >= 0x80000000u) { return vec2<u32>(0u, 0u); }
    return pow_u64(x, y);
}
