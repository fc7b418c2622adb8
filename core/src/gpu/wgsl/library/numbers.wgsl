// Comparisons of f32, which drivers get wrong for NaN but by its bits, and integers of 32 bits.

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// Whether neither is NaN.
fn are_ordered(x: f32, y: f32) -> bool {
    return max(bitcast<u32>(x) & 0x7fffffffu, bitcast<u32>(y) & 0x7fffffffu) <= 0x7f800000u;
}

fn equal_f32(x: f32, y: f32) -> bool {
    return are_ordered(x, y) && x == y;
}

fn not_equal_f32(x: f32, y: f32) -> bool {
    return !are_ordered(x, y) || x != y;
}

fn less_f32(x: f32, y: f32) -> bool {
    return are_ordered(x, y) && x < y;
}

fn less_equal_f32(x: f32, y: f32) -> bool {
    return are_ordered(x, y) && x <= y;
}

fn max_f32(x: f32, y: f32) -> f32 {
    return select(y, x, less_f32(y, x) || is_nan(x));
}

fn min_f32(x: f32, y: f32) -> f32 {
    return select(y, x, less_f32(x, y) || is_nan(x));
}

fn divide_u32(x: u32, y: u32) -> u32 {
    if (y == 0u) { return 0u; }
    return x / y;
}

fn divide_i32(x: i32, y: i32) -> i32 {
    if (y == 0i) { return 0i; }
    if (y == -1i) { return 0i - x; }
    return x / y;
}

fn remainder_u32(x: u32, y: u32) -> u32 {
    if (y == 0u) { return 0u; }
    return x % y;
}

fn remainder_i32(x: i32, y: i32) -> i32 {
    if (y == 0i) { return 0i; }
    let rest = x - (divide_i32(x, y) * y);
    return select(rest, rest + y, rest != 0i && (rest < 0i) != (y < 0i));
}

fn floor_divide_i32(x: i32, y: i32) -> i32 {
    let quotient = divide_i32(x, y);
    let is_above = y != 0i && (quotient * y) != x && (x < 0i) != (y < 0i);
    return select(quotient, quotient - 1i, is_above);
}

fn pow_u32(x: u32, y: u32) -> u32 {
    var product = 1u;
    var power = x;
    for (var rest = y; rest != 0u; rest >>= 1u) {
        if ((rest & 1u) == 1u) { product *= power; }
        power *= power;
    }
    return product;
}

// The whole part for y < 0, of 1 / 0 that is 0.
fn pow_i32(x: i32, y: i32) -> i32 {
    if (x == 1i || x == -1i) { return select(x, 1i, (y & 1i) == 0i); }
    if (y < 0i) { return 0i; }
    return bitcast<i32>(pow_u32(bitcast<u32>(x), bitcast<u32>(y)));
}

fn shift_left_u32(x: u32, y: u32) -> u32 {
    return select(0u, x << (y & 31u), y < 32u);
}

fn shift_left_i32(x: i32, y: i32) -> i32 {
    return bitcast<i32>(shift_left_u32(bitcast<u32>(x), bitcast<u32>(y)));
}

// Within a type of so many bits.
fn shift_right_u32(x: u32, y: u32, width: u32) -> u32 {
    return select(0u, x >> (y & 31u), y < width);
}

// Within a type of so many bits.
fn shift_right_i32(x: i32, y: i32, width: u32) -> i32 {
    return x >> select(31u, bitcast<u32>(y) & 31u, bitcast<u32>(y) < width);
}
