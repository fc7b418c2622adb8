// What the functions of f32 share: parts of numbers, and sums and products as pairs of a value and what it lacks.

// Is 0, but no compiler knows.
var<private> zero: u32;

// Keeps compilers from rewriting a sum or a product as if it were exact: from (x - y) + y, from x s + y s, whose factor s
// is there because x + y overflows, or from joining a product to a sum.
fn opaque(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ zero);
}

fn infinity() -> f32 {
    let bits = 0x7f800000u;
    return bitcast<f32>(bits);
}

fn not_a_number() -> f32 {
    let bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

fn is_negative(x: f32) -> bool {
    return bitcast<u32>(x) >= 0x80000000u;
}

// Not so for subnormal numbers, which drivers may compare as 0.
fn is_zero(x: f32) -> bool {
    return (bitcast<u32>(x) << 1u) == 0u;
}

fn is_infinite(x: f32) -> bool {
    return (bitcast<u32>(x) << 1u) == 0xff000000u;
}

fn copy_sign(x: f32, y: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(x) & 0x7fffffffu) | (bitcast<u32>(y) & 0x80000000u));
}

// 2^n for an integer n in -126..128.
fn power_of_two(n: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(i32(n) + 127i) << 23u);
}

// x 2^n for an integer n in -252..255, rounded once for x near 1.
fn scaled(x: f32, n: f32) -> f32 {
    let half = floor(n * 0.5);
    return opaque(x * power_of_two(half)) * power_of_two(n - half);
}

// a + b exactly, for |a| >= |b| or a = 0 (Dekker).
fn fast_two_sum(a: f32, b: f32) -> vec2<f32> {
    let sum = opaque(a + b);
    return vec2<f32>(sum, b - opaque(sum - a));
}

// a + b exactly (Knuth).
fn two_sum(a: f32, b: f32) -> vec2<f32> {
    let sum = opaque(a + b);
    let part = opaque(sum - a);
    return vec2<f32>(sum, opaque(a - opaque(sum - part)) + opaque(b - part));
}

// a b exactly where nothing overflows or underflows: the factors are cut into halves, whose products are exact.
fn two_product(a: f32, b: f32) -> vec2<f32> {
    let a_high = bitcast<f32>(bitcast<u32>(a) & 0xfffff000u);
    let b_high = bitcast<f32>(bitcast<u32>(b) & 0xfffff000u);
    let a_low = opaque(a - a_high);
    let b_low = opaque(b - b_high);
    let product = opaque(a * b);
    let rest = opaque(opaque(opaque((a_high * b_high) - product) + (a_high * b_low)) + (a_low * b_high));
    return vec2<f32>(product, rest + (a_low * b_low));
}

fn pair_sum(x: vec2<f32>, y: vec2<f32>) -> vec2<f32> {
    let sum = two_sum(x.x, y.x);
    return fast_two_sum(sum.x, sum.y + (x.y + y.y));
}

fn pair_product(x: vec2<f32>, y: vec2<f32>) -> vec2<f32> {
    let product = two_product(x.x, y.x);
    return fast_two_sum(product.x, product.y + ((x.x * y.y) + (x.y * y.x)));
}

fn pair_quotient(x: vec2<f32>, y: vec2<f32>) -> vec2<f32> {
    let quotient = opaque(x.x / y.x);
    let product = two_product(quotient, y.x);
    let rest = (opaque(x.x - product.x) - product.y) + (x.y - (quotient * y.y));
    return fast_two_sum(quotient, rest / y.x);
}

// For x >= 0.
fn pair_root(x: vec2<f32>) -> vec2<f32> {
    if (is_zero(x.x)) { return vec2<f32>(0.0, 0.0); }
    let root = opaque(sqrt(x.x));
    let square = two_product(root, root);
    let rest = (opaque(x.x - square.x) - square.y) + x.y;
    return fast_two_sum(root, (rest * 0.5) / root);
}

// c + x y, a step of Horner's scheme.
fn pair_step(c: vec2<f32>, x: vec2<f32>, y: vec2<f32>) -> vec2<f32> {
    return pair_sum(c, pair_product(x, y));
}
